package conn

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/sendq"
	"pushpod/conn/internal/wire"
)

func eventsRequest(query string, more ...string) string {
	return "GET /sse" + query + " HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(more, "") + "\r\n"
}

const eventsHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store, no-transform\r\nVary: Origin\r\nX-Accel-Buffering: no\r\nConnection: close"

// openEvents is open for a client that gets events.
func (s *fakeServer) openEvents(user string) *fakeSocket {
	s.t.Helper()
	x := s.connect(eventsRequest("?user=" + user))
	name, _, _ := strings.Cut(user, "&")
	x.c = s.hub.told(name).conn
	if want := eventsHead + "\r\n\r\n" + string(eventOf(welcome)); string(x.got) != want {
		s.t.Fatalf("the answer is %q, want %q", x.got, want)
	}
	x.got, x.room = nil, 0
	return x
}

func eventOf(data string) []byte { return []byte("data: " + data + "\n\n") }

func closeEventOf(code Code, reason string) []byte {
	return fmt.Appendf(nil, "event: close\ndata: {\"type\":\"close\",\"code\":%d,\"reason\":%s}\n\n", code, reason)
}

func TestEveryKindOfMessageIsAnEvent(t *testing.T) {
	s := newFakeServer(t, Options{})
	a, b := s.openEvents("a"), s.open("b")
	private, shared := strings.Repeat("p", sendq.MaxPrivate), strings.Repeat("s", 5000)
	a.push("small", private)
	send(s.d, Push{Collapse: "k", At: 1}, []byte("to both"), a.c, b.c)
	send(s.d, Push{}, []byte(shared), b.c, a.c)
	send(s.d, Push{}, []byte("to all"))
	a.push("last")
	a.c.Send([]byte("no message"))
	a.want("events", eventOf("small"), eventOf(private), eventOf("to both"), eventOf(shared), eventOf("to all"), eventOf("last"), eventOf("no message"))
	b.want("frames", textOf("to both"), textOf(shared), textOf("to all"))
	if st := s.Stats(); st.Written != 9 || st.QueuedBytes != 0 || st.Open != 2 || st.OpenEvents != 1 || st.Handshakes[101] != 2 {
		t.Errorf("%+v", st)
	}
	a.end()
	if st := s.Stats(); st.Open != 1 || st.OpenEvents != 0 || st.Ended[CausePeer] != 1 {
		t.Errorf("%+v", st)
	}
}

func TestAMessageForAllIsAnEventWhereNothingWaits(t *testing.T) {
	s := newFakeServer(t, Options{})
	x, y := s.openEvents("x"), s.open("y")
	x.room, y.room = 1<<20, 1<<20
	for range 2 {
		send(s.d, Push{}, []byte("to all"))
		flushAll(s.d)
	}
	x.want("events", eventOf("to all"), eventOf("to all"))
	y.want("frames", textOf("to all"), textOf("to all"))
}

func TestALineBreakBeginsALineOfData(t *testing.T) {
	x := newFakeServer(t, Options{}).openEvents("u")
	for text, want := range map[string]string{
		"a\nb":          "data: a\ndata: b\n\n",
		"a\rb":          "data: a\ndata: b\n\n",
		"a\r\nb":        "data: a\ndata: b\n\n",
		"a\n\rb":        "data: a\ndata: \ndata: b\n\n",
		"{\n\n}\n":      "data: {\ndata: \ndata: }\ndata: \n\n",
		"\r\ndata: x\r": "data: \ndata: data: x\ndata: \n\n",
	} {
		x.got = nil
		x.push(text)
		x.message(Push{}, text)
		x.want(fmt.Sprintf("%q", text), []byte(want), []byte(want))
	}
}

// parseEvents reads a stream as WHATWG HTML sections 9.2.5 and 9.2.6 say, and returns the
// data of its events, each behind its name where it has one.
func parseEvents(stream string) (events []string) {
	stream = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(stream, "\ufeff"))
	name, data := "", ""
	for {
		line, rest, whole := strings.Cut(stream, "\n")
		if !whole {
			return events // what is not dispatched is thrown away
		}
		stream = rest
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && data != "":
			events = append(events, name+strings.TrimSuffix(data, "\n"))
			name, data = "", ""
		case field == "data":
			data += value + "\n"
		case field == "event":
			name = value
		}
	}
}

func TestAParserGetsBackEachText(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	parts := []string{"\r", "\n", "\r\n", "\u2028", "\u0085", "\x00", "\ufeff", " ", "  ", ":", "data: ", "event: close", "id: 7", "retry: 1", "{}", "x", "ä"}
	x := newFakeServer(t, Options{}).openEvents("u")
	lines := strings.NewReplacer("\r\n", "\n", "\r", "\n")
	var want []string
	for i := range 300 {
		text := "{" // as all that is sent begins
		for range random.IntN(8) {
			text += parts[random.IntN(len(parts))]
		}
		if i%2 == 0 {
			x.push(text)
		} else {
			x.message(Push{}, text)
		}
		want = append(want, lines.Replace(text))
		if x.give(1 << 20); i%7 == 0 {
			x.s.tick(130) // a comment
		}
	}
	x.c.Close(4100, "a\nb\r"+strings.Repeat("\u2028", 50))
	x.give(1 << 20)
	want = append(want, `close{"type":"close","code":4100,"reason":"a\nb\r`+strings.Repeat(`\u2028`, 39)+`"}`) // 123 bytes before they are escaped
	if got := parseEvents(string(x.got)); !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("event %d is %q, want %q", i, got[i], want[i])
			}
		}
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	if bytes.Count(x.got, []byte("\n:\n\n")) < 10 {
		t.Error("there is hardly a comment")
	}
}

// A message for all is made as events once, however many get it.
func TestClientsShareAnEvent(t *testing.T) {
	s := newFakeServer(t, Options{})
	a, b := s.openEvents("a"), s.openEvents("b")
	f := s.d.Frame(Push{Expires: 1 << 60, At: 3, Collapse: "k"}, []byte("x"))
	s.d.To(a.c, f)
	s.d.All(f)
	flushAll(s.d)
	one, other := f.Other(appendEvents), f.Other(appendEvents)
	if one != other || one.Expires != f.Expires || one.At != f.At || one.Collapse != f.Collapse {
		t.Errorf("%+v and %+v", one, other)
	}
	one.Release()
	other.Release()
	f.Release()
	a.want("the second one in place of the first", eventOf("x"))
	b.want("one", eventOf("x"))

	many := []*fakeSocket{a, b}
	for range 48 {
		many = append(many, s.openEvents("c"))
	}
	n := testing.AllocsPerRun(100, func() {
		f := s.d.Frame(Push{}, []byte("x"))
		s.d.All(f)
		f.Release()
		flushAll(s.d)
		for _, x := range many {
			x.give(100)
		}
	})
	if most := 2.6 * float64(len(many)); n > most { // the test's own are 2 for each
		t.Errorf("%v allocations for %d clients, want %v at most", n, len(many), most)
	}
}

func TestTheEndIsAnEventAndThenTheEndOfTCP(t *testing.T) {
	for name, begin := range map[string]func(x *fakeSocket) []byte{
		"Close": func(x *fakeSocket) []byte { x.c.Close(4100, `a "b" ä`); return closeEventOf(4100, `"a \"b\" ä"`) },
		"a producer's message": func(x *fakeSocket) []byte {
			x.message(Push{Close: true, CloseCode: 4600, Reason: "r"}, "")
			return closeEventOf(4600, `"r"`)
		},
		"a message with data": func(x *fakeSocket) []byte {
			x.message(Push{Close: true, CloseCode: 4600}, "last words")
			return append(eventOf("last words"), closeEventOf(4600, `""`)...)
		},
		"a message for everyone": func(x *fakeSocket) []byte {
			send(x.s.d, Push{Close: true, CloseCode: 4700}, nil)
			flushAll(x.s.d)
			return closeEventOf(4700, `""`)
		},
		"a token that expires": func(x *fakeSocket) []byte {
			x.c.Last(time.Second)
			x.s.tick(12)
			return closeEventOf(CodeExpired, `"token expired"`)
		},
	} {
		for _, answered := range []bool{true, false} {
			s := newFakeServer(t, Options{})
			x := s.openEvents("u")
			x.push("before")
			send(s.d, Push{}, []byte("to all"))
			s.d.Flush() // it is in the log, and nobody has been brought up to date
			want := begin(x)
			x.push("behind")
			if x.finished || x.closed {
				t.Fatalf("%s: ended before it is written", name)
			}
			x.want(name, eventOf("before"), eventOf("to all"), want)
			if !x.finished || x.closed {
				t.Fatalf("%s: finished %v, closed %v", name, x.finished, x.closed)
			}
			x.arrive("nobody reads this")
			if answered {
				x.end()
			} else {
				s.tick(int(closeTimeout/netloop.Tick) + 12)
			}
			if !x.closed || s.hub.told("u").why != CauseServer {
				t.Errorf("%s, answered %v: closed %v, %v", name, answered, x.closed, s.hub.told("u").why)
			}
			if st := s.Stats(); st.Closed != 1 || st.OpenEvents != 0 {
				t.Errorf("%s: %+v", name, st)
			}
		}
	}
}

func TestWhatComesBehindARequestForEventsIsThrownAway(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{QueueBytes: 1000, FramesPerSecond: 1}}, func(_ *Options, h *fakeHub) { h.hold = make(chan struct{}) })
	x := s.connect(eventsRequest("?user=u") + eventsRequest("?user=v") + string(text("a frame")))
	for range 10 {
		x.arrive(strings.Repeat("x", 500)) // more than a WebSocket may
	}
	close(s.hub.hold)
	s.hub.pending.Wait()
	x.c = s.hub.told("u").conn
	x.arrive(string(closeFrame(wire.CodeNormal, "")) + strings.Repeat(string(text("a frame")), 100))
	x.push("still open")
	x.want("the one answer", []byte(eventsHead+"\r\n\r\n"), eventOf(welcome), eventOf("still open"))
	if o := s.hub.told("u"); len(o.received) != 0 || o.closed || s.hub.told("v").conn != nil || x.c.in != nil {
		t.Errorf("%+v", o)
	}
	x.end()
	if s.hub.told("u").why != CausePeer || !x.closed {
		t.Error("a client that has ended its side is not gone")
	}
}

func TestACommentGoesOutEveryPing(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: 2 * time.Second, PingTimeout: time.Second}})
	x, app := s.openEvents("u"), s.openEvents("v&ping=app,15")
	if x.abandon != time.Second {
		t.Errorf("the socket fails after %v without an acknowledgement", x.abandon)
	}
	x.room, app.room = 1<<20, 1<<20
	s.change(func(s *Settings) { s.PingTimeout = 1500 * time.Millisecond })
	s.tick(201)
	if x.abandon != 1500*time.Millisecond {
		t.Errorf("with another time-out it fails after %v", x.abandon)
	}
	if n := bytes.Count(x.got, []byte(":\n\n")); n < 9 || n > 11 || len(x.got) != 3*n || x.closed {
		t.Errorf("in 20 s: %q", x.got)
	}
	if want := eventOf(`{"type":"ping"}`); !bytes.Equal(app.got, want) && !bytes.Equal(app.got, slices.Repeat(want, 2)) {
		t.Errorf("to a page that wants to see them: %q", app.got)
	}
}

func TestAClientThatTakesNothingIsDead(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: 2 * time.Second, PingTimeout: time.Second}})
	stuck, slow := s.openEvents("stuck"), s.openEvents("slow")
	slow.push(strings.Repeat("x", 900))
	for range 100 {
		slow.give(1)
		s.tick(1)
	}
	if !stuck.closed || s.hub.told("stuck").why != CauseDead {
		t.Error("one that takes nothing is open")
	}
	if slow.closed {
		t.Error("one that takes a little is closed")
	}
}

// The system says so where nothing of what was written is acknowledged.
func TestAClientThatAcknowledgesNothingIsDead(t *testing.T) {
	s := newFakeServer(t, Options{})
	for err, want := range map[error]Cause{syscall.ETIMEDOUT: CauseDead, syscall.ECONNRESET: CausePeer} {
		x := s.openEvents("u")
		x.fails = err
		s.net.to.Ready(x.ref, true, false)
		if why := s.hub.told("u").why; !x.closed || why != want {
			t.Errorf("%v: closed %v, %v, want %v", err, x.closed, why, want)
		}
	}
}

func TestSlowConsumersOfEventsAreTreatedAsOthers(t *testing.T) {
	long := func(i int) string { return fmt.Sprint(i, strings.Repeat("x", 1000)) }
	for policy, kept := range map[Policy][]int{DropNewest: {0, 1}, DropOldest: {0, 5}, Disconnect: {0}} {
		s := newFakeServer(t, Options{Settings: Settings{QueueBytes: 4500, SlowConsumer: policy}})
		x := s.openEvents("u")
		x.give(1)
		var want []byte
		for i := range 6 {
			x.message(Push{}, long(i))
			if slices.Contains(kept, i) {
				want = append(want, eventOf(long(i))...)
			}
		}
		x.give(1 << 20)
		got := x.got
		if at := bytes.Index(got, []byte("event: close\ndata: {\"type\":\"close\",\"code\":1013,\"reason\":\"retry_ms=")); at >= 0 == (policy == Disconnect) && at >= 0 {
			got = got[:at]
		}
		st := s.Stats()
		if !bytes.Equal(got, want) || st.Written != uint64(len(kept)) || st.Written+st.Dropped+st.Closed != 6 || st.QueuedBytes != 0 || st.SlowConsumers != map[Policy]uint64{Disconnect: 1}[policy] {
			t.Errorf("policy %d: %d bytes, want %d; %+v", policy, len(got), len(want), st)
		}
	}
}

// Texts for one client alone wait in blocks, and are bounded there, before the welcome too.
func TestWhatWaitsForAStreamTakesTheMemoryOfWhatWaitsForAWebSocket(t *testing.T) {
	waiting := func(request string, registering bool) (bytes int64, dropped uint64) {
		s := newFakeServer(t, Options{Settings: Settings{QueueBytes: 8 << 10, SlowConsumer: DropOldest}}, func(_ *Options, h *fakeHub) { h.hold = make(chan struct{}) })
		x := s.connect(request)
		x.c = s.hub.told("u").conn
		if !registering {
			close(s.hub.hold)
			s.hub.pending.Wait()
			x.room = 0
		}
		for range 60 {
			x.push(strings.Repeat("x", 92))
		}
		bytes = s.Stats().QueuedBytes
		for range 60 {
			x.push(strings.Repeat("x", 92))
		}
		dropped = s.Stats().Dropped
		if registering {
			close(s.hub.hold)
			s.hub.pending.Wait()
		}
		return bytes, dropped
	}
	for _, registering := range []bool{false, true} {
		frames, lost := waiting(request("?user=u"), registering)
		events, lostEvents := waiting(eventsRequest("?user=u"), registering)
		if events > frames*5/4 || lostEvents < lost || lostEvents > lost+20 || lost == 0 {
			t.Errorf("registering %v: %d bytes, and %d dropped; for a WebSocket %d, and %d", registering, events, lostEvents, frames, lost)
		}
	}
}

func TestWaitingEventsCollapseAndExpire(t *testing.T) {
	now := int64(1000)
	s := newFakeServer(t, Options{Now: func() int64 { return now }})
	x := s.openEvents("u")
	x.push("begun")
	x.give(1)
	x.message(Push{Collapse: "k"}, "old")
	x.message(Push{Expires: 1500}, "late")
	x.message(Push{Collapse: "k"}, "new")
	now = 2000
	x.want("what is left", eventOf("begun"), eventOf("new"))
	if st := s.Stats(); st.Written != 2 || st.Collapsed != 1 || st.Expired != 1 {
		t.Errorf("%+v", st)
	}
}

func TestADrainTellsAndClosesClientsOfEvents(t *testing.T) {
	s := newFakeServer(t, Options{})
	asked, plain := s.openEvents("asked&goaway=1"), s.openEvents("plain")
	asked.room, plain.room = 1<<20, 1<<20
	d := s.drain(0)
	eventually(t, "both have got something", func() bool {
		l := s.loops[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(asked.got) > 0 && len(plain.got) > 0
	})
	asked.want("told", eventOf(`{"type":"goaway","within_ms":3000}`))
	const gone = "event: close\ndata: {\"type\":\"close\",\"code\":1001,\"reason\":\"retry_ms="
	if !bytes.HasPrefix(plain.got, []byte(gone)) || !plain.finished {
		t.Errorf("written %q", plain.got)
	}
	s.tick(noticeTicks + 2)
	if !bytes.Contains(asked.got, []byte("\n\n"+gone)) || !asked.finished {
		t.Errorf("written %q", asked.got)
	}
	plain.end()
	asked.end()
	if err := <-d.result; err != nil {
		t.Error(err)
	}
}

func TestMessagesWaitForTheWelcomeOfEvents(t *testing.T) {
	s := newFakeServer(t, Options{}, func(_ *Options, h *fakeHub) { h.hold = make(chan struct{}) })
	x := s.connect(eventsRequest("?user=u"))
	x.c = s.hub.told("u").conn
	x.push("early")
	send(s.d, Push{}, []byte("to all"))
	flushAll(s.d)
	close(s.hub.hold)
	s.hub.pending.Wait()
	x.want("the welcome is first", []byte(eventsHead+"\r\n\r\n"), eventOf(welcome), eventOf("early"), eventOf("to all"))
}

func TestAStreamThatIsClosedBeforeItsWelcomeEndsBehindIt(t *testing.T) {
	for name, tc := range map[string]struct {
		begin   func(x *fakeSocket)
		written uint64
	}{
		"Close":                {func(x *fakeSocket) { x.c.Close(4600, "r") }, 1},
		"a producer's message": {func(x *fakeSocket) { x.message(Push{Close: true, CloseCode: 4600, Reason: "r"}, "") }, 2},
	} {
		s := newFakeServer(t, Options{}, func(_ *Options, h *fakeHub) { h.hold = make(chan struct{}) })
		x := s.connect(eventsRequest("?user=u") + "more")
		x.c = s.hub.told("u").conn
		x.push("early")
		tc.begin(x)
		x.push("late")
		close(s.hub.hold)
		s.hub.pending.Wait()
		x.want(name, []byte(eventsHead+"\r\n\r\n"), eventOf(welcome), eventOf("early"), closeEventOf(4600, `"r"`))
		if st := s.Stats(); !x.finished || st.Written != tc.written || st.Closed != 1 || st.OpenEvents != 1 {
			t.Errorf("%s: %v %+v", name, x.finished, st)
		}
		x.end()
		if st := s.Stats(); !x.closed || st.OpenEvents != 0 || st.Open != 0 || s.hub.told("u").why != CauseServer {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// As an event a text may be too long for a block of a queue that is none as a frame.
func TestTextsOfAnyLengthAreQueuedWithTheirAge(t *testing.T) {
	const now = 1_700_000_000_000
	s := newFakeServer(t, Options{Now: func() int64 { return now }}, func(_ *Options, h *fakeHub) { h.hold = make(chan struct{}) })
	x := s.connect(eventsRequest("?user=u"))
	x.c = s.hub.told("u").conn
	var want []byte
	written := 0
	send := func() {
		for _, n := range []int{1, 100, sendq.MaxPrivate - 9, sendq.MaxPrivate - 8, sendq.MaxPrivate - 7, sendq.MaxPrivate - 4} { // "data: " and an empty line take 8
			for _, text := range []string{strings.Repeat("x", n), strings.Repeat("\n", n)} {
				s.d.Plain(x.c, now-1, []byte(text))
				want = append(want, []byte("data: "+strings.ReplaceAll(text, "\n", "\ndata: ")+"\n\n")...)
				written++
			}
		}
		flushAll(s.d)
	}
	send()
	close(s.hub.hold)
	s.hub.pending.Wait()
	x.got = bytes.TrimPrefix(x.got, slices.Concat([]byte(eventsHead+"\r\n\r\n"), eventOf(welcome)))
	x.room = 0
	send()
	x.want("texts", want)
	if st := s.Stats(); st.Written != uint64(written) || st.Latency[0] != st.Written || st.LatencySum != float64(written)/1000 || st.QueuedBytes != 0 {
		t.Errorf("%d are written, want %d; by age %d, in all %v s; %d bytes are left", st.Written, written, st.Latency, st.LatencySum, st.QueuedBytes)
	}
}

func TestAStreamOfEventsComesThroughAProxy(t *testing.T) {
	s := newFakeServer(t, Options{}, proxied(peers), func(_ *Options, h *fakeHub) {
		h.check = func(r *Request) *Refusal {
			if from := r.From.Unmap().String(); from != "203.0.113.7" {
				return &Refusal{Status: http.StatusForbidden, Error: "forbidden", Reason: from}
			}
			return nil
		}
	})
	x := s.connect(proxyV1 + eventsRequest("?user=u") + "more")
	x.want("behind its header", []byte(eventsHead+"\r\n\r\n"), eventOf(welcome))
}

func TestPagesOfOtherOriginsMayReadEventsWhereTheyAreAllowed(t *testing.T) {
	s := newFakeServer(t, Options{})
	const cors = "\r\nAccess-Control-Allow-Origin: http://good\r\nAccess-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: Retry-After"
	good := s.connect(eventsRequest("?user=u", "Origin: http://good\r\n"))
	good.want("allowed", []byte(eventsHead+cors+"\r\n\r\n"), eventOf(welcome))
	bad := s.connect(eventsRequest("?user=v", "Origin: http://bad\r\n"))
	bad.want("another", []byte(eventsHead+"\r\n\r\n"), eventOf(welcome))

	preflight := strings.Replace(eventsRequest("?user=u", "Origin: http://good\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n"), "GET", "OPTIONS", 1)
	asks := s.connect(preflight)
	want := "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nVary: Origin\r\nConnection: close\r\nAccess-Control-Allow-Methods: GET\r\n" +
		"Access-Control-Allow-Headers: Authorization, Last-Event-ID\r\nAccess-Control-Max-Age: 600" + cors + "\r\n\r\n"
	if got := string(asks.got); got != want || !asks.finished {
		t.Errorf("asked before: %q, want %q", got, want)
	}
	if st := s.Stats(); st.Handshakes[204]+st.Handshakes[405] != 0 || st.Handshakes[101] != 2 || st.Pending != 0 {
		t.Errorf("to ask is no handshake: %+v", st)
	}
	for _, refused := range []string{
		strings.Replace(preflight, "http://good", "http://bad", 1), strings.Replace(preflight, "/sse", "/ws", 1),
		strings.Replace(preflight, "Origin: http://good\r\n", "", 1), strings.Replace(preflight, "OPTIONS", "HEAD", 1),
	} {
		if got := s.connect(refused).got; !bytes.HasPrefix(got, []byte("HTTP/1.1 405 ")) {
			t.Errorf("%q: %q", refused, got)
		}
	}
}

// What has not come as a whole is granted nothing.
func TestAPreflightThatDoesNotEndIsRefused(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{HandshakeTimeout: time.Second}})
	const begun = "OPTIONS /sse HTTP/1.1\r\nHost: localhost\r\nOrigin: http://good\r\n"
	for more, status := range map[string]string{
		"X: ":                               "408 ",
		"X: a\nb":                           "400 ",
		"X: " + strings.Repeat("x", 16<<10): "431 ",
	} {
		x := s.connect(begun + more)
		s.tick(12)
		if got := string(x.got); !strings.HasPrefix(got, "HTTP/1.1 "+status) || !strings.Contains(got, "\r\nAccess-Control-Allow-Origin: http://good\r\n") {
			t.Errorf("%.20q: %q, want %s", more, got, status)
		}
	}
}

func TestARequestForEventsIsRefusedByAnAnswer(t *testing.T) {
	s := newFakeServer(t, Options{}, func(_ *Options, h *fakeHub) {
		h.check = func(*Request) *Refusal {
			return &Refusal{Status: http.StatusTooManyRequests, Error: "rate", Reason: "why", RetryAfter: 3}
		}
	})
	x := s.connect(eventsRequest("?user=u&refuse=close", "Upgrade: websocket\r\n"))
	if got := string(x.got); !strings.HasPrefix(got, "HTTP/1.1 429 ") || !strings.Contains(got, "\r\nRetry-After: 3\r\n") || !strings.HasSuffix(got, `{"error":"rate","reason":"why"}`) {
		t.Errorf("%q", got)
	}
	if st := s.Stats(); st.Handshakes[429] != 1 || st.Pending != 0 {
		t.Errorf("%+v", st)
	}
}

func TestEventsOverEveryNetwork(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		c := s.dial(t)
		c.send([]byte(eventsRequest("?user=u") + "more"))
		if status, header := c.head(); status != 200 || header["content-type"] != "text/event-stream" {
			t.Fatalf("%d %v", status, header)
		}
		s.push(t, Push{}, large, "u")
		s.flush()
		s.push(t, Push{Close: true, CloseCode: 4600}, "bye", "u")
		s.flush()
		got, err := io.ReadAll(c.br)
		want := slices.Concat(eventOf(welcome), eventOf(large), eventOf("bye"), closeEventOf(4600, `""`))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %.300q, %v", got, err)
		}
		c.conn.Close()
		s.hub.wantCause(t, "u", CauseServer)
	})
}
