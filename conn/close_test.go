package conn

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/wire"
)

func owing(_ *Options, h *fakeHub) { h.owes = true }

// closes are all the ways to close an open connection. Each returns the code.
var closes = map[string]func(x *fakeSocket) Code{
	"Close": func(x *fakeSocket) Code { x.c.Close(4100, ""); return 4100 },
	"a producer's message": func(x *fakeSocket) Code {
		x.message(Push{Close: true, CloseCode: 4600}, "")
		return 4600
	},
	"a producer's message for everyone": func(x *fakeSocket) Code {
		send(x.s.d, Push{Close: true, CloseCode: 4700}, nil)
		flushAll(x.s.d)
		return 4700
	},
	"a token that expires": func(x *fakeSocket) Code { x.c.Last(time.Second); x.s.tick(12); return CodeExpired },
	"max age":              func(x *fakeSocket) Code { x.s.tick(40); return CodeGoingAway },
	"a wrong frame": func(x *fakeSocket) Code {
		x.arrive(string(raw(0x82, true, []byte{1}, "a")))
		return wire.CodeUnsupported
	},
	"too many frames": func(x *fakeSocket) Code {
		x.arrive(strings.Repeat(string(frame(ws.OpPong, true, nil)), 50))
		return wire.CodePolicy
	},
	"too slow": func(x *fakeSocket) Code {
		x.room = 1
		x.push(strings.Repeat("x", 1000), strings.Repeat("x", 1000))
		return wire.CodeTryAgain
	},
}

// closeFrom returns from where on b is a close frame with the code; len(b): there
// is none.
func closeFrom(b []byte, code Code) int {
	for i := 0; i < len(b); {
		h, _ := wire.ParseHeader(b[i:])
		end := i + int(h.Total())
		if h.OpCode == wire.OpClose {
			if got, _ := wire.ParseClose(b[i+h.Size : end]); got != code || end != len(b) {
				return -1
			}
			return i
		}
		i = end
	}
	return len(b)
}

func owingServer(t *testing.T) *fakeServer {
	return newFakeServer(t, Options{Settings: Settings{QueueBytes: 1000, FramesPerSecond: 10, MaxAge: 3 * time.Second, Ping: time.Second, Renew: time.Second}}, owing)
}

func TestACloseGoesOutBehindTheAnswersThatAreOwed(t *testing.T) {
	for name, begin := range closes {
		t.Run(name, func(t *testing.T) {
			x := owingServer(t).open("u")
			x.give(1 << 20)
			x.arrive(string(text("one")) + string(text("two")))
			code := begin(x)
			x.give(1 << 20)
			if closeFrom(x.got, code) != len(x.got) {
				t.Fatalf("closed before an answer: %q", x.got)
			}
			before := len(x.got)
			x.push("too late for a message")
			x.arrive(string(text("not read")))
			x.c.Answer([]byte("first"))
			x.c.Answer([]byte("second"))
			at := closeFrom(x.got, code)
			if got, want := string(x.got[before:max(at, before)]), string(textOf("first"))+string(textOf("second")); got != want || at == len(x.got) {
				t.Fatalf("written %q, then a close at %d of %d bytes", got, at, len(x.got))
			}
			if u := x.s.hub.told("u"); len(u.received) != 2 {
				t.Errorf("received %q", u.received)
			}
			x.arrive(string(closeFrame(code, "")))
			if st := x.s.Stats(); !x.closed || st.Closed == 0 || len(x.s.loops[0].closes) != 0 {
				t.Errorf("the socket is closed: %v, %+v", x.closed, st)
			}
			x.c.Answer([]byte("never asked for")) // harmless
		})
	}
}

func TestAnAnswerThatWasNotPromisedHoldsNothingUp(t *testing.T) {
	x := newFakeServer(t, Options{}).open("u")
	x.c.Answer([]byte("unasked"))
	x.c.Close(4100, "")
	x.want("both at once", textOf("unasked"), closeOf(4100, ""))
}

func TestACloseWaitsFiveSecondsForAnswers(t *testing.T) {
	for name, begin := range closes {
		t.Run(name, func(t *testing.T) {
			x := owingServer(t).open("u")
			x.give(1 << 20)
			x.arrive(string(text("one")))
			code := begin(x)
			x.give(1 << 20)
			before, renewals := len(x.got), x.s.hub.told("u").renewals
			x.s.tick(20)
			if got := x.s.hub.told("u").renewals; len(x.got) != before || got != renewals {
				t.Fatalf("written %q, and renewed %d times", x.got[before:], got-renewals)
			}
			x.s.tick(22)
			for range 9 { // ticks: then 5 s are over
				if closeFrom(x.got, code) == len(x.got) {
					x.s.tick(1)
				}
			}
			if closeFrom(x.got, code) == len(x.got) {
				t.Fatalf("not closed after 5 s: %q", x.got)
			}
			if x.c.Answer([]byte("too late")); closeFrom(x.got, code) < 0 || x.closed {
				t.Fatalf("written %q", x.got)
			}
			for range 12 { // ticks: the peer talks on, and does not answer
				x.arrive(string(frame(ws.OpPing, true, nil)))
				x.s.tick(1)
			}
			if !x.closed {
				t.Error("the peer does not answer, and TCP does not end")
			}
		})
	}
}

// Whoever goes away is not kept by what is owed.
func TestAPeerThatClosesWaitsForNoAnswer(t *testing.T) {
	for name, leave := range map[string]func(*fakeSocket){
		"by its close": func(x *fakeSocket) { x.arrive(string(closeFrame(wire.CodeNormal, ""))) },
		"by TCP":       func(x *fakeSocket) { x.end() },
	} {
		for _, closing := range []bool{false, true} {
			x := owingServer(t).open("u")
			x.give(1 << 20)
			x.arrive(string(text("one")))
			if closing {
				x.message(Push{Close: true, CloseCode: 4600}, "last words")
			}
			leave(x)
			if st := x.s.Stats(); !x.closed || closing && st.Closed != 1 || x.s.hub.told("u").why != CausePeer {
				t.Errorf("%s, closing %v: the socket is closed: %v, %+v", name, closing, x.closed, st)
			}
		}
	}
}

func TestOneCloseIsSentWhereBothClose(t *testing.T) {
	x := owingServer(t).open("u")
	x.arrive(string(text("one")))
	x.message(Push{Close: true, CloseCode: 4600}, "")
	x.arrive(string(closeFrame(wire.CodeNormal, "")))
	x.c.Answer([]byte("not wanted"))
	x.want("the answer to the peer's", closeOf(wire.CodeNone, ""))
}

// What was not tried to be written yet must not cost an answer.
func TestAnAnswerThatACloseWaitsForIsSentBehindMuchThatWaits(t *testing.T) {
	x := owingServer(t).open("u")
	x.room = 1 << 20
	x.arrive(string(text("one")))
	send(x.s.d, Push{}, []byte(large), x.c)
	x.c.loop.mu.Lock()
	x.c.CloseLocked(4100, "")
	x.c.loop.mu.Unlock() // nothing is flushed
	x.c.Answer([]byte("answer"))
	x.want("all of it", textOf(large), textOf("answer"), closeOf(4100, ""))
}

// Frames that are no messages are dropped by no policy.
func TestControlFramesSurviveWhatIsDropped(t *testing.T) {
	for _, policy := range []Policy{DropOldest, DropNewest, Disconnect} {
		x := newFakeServer(t, Options{Settings: Settings{QueueBytes: 200, SlowConsumer: policy}}).open("u")
		x.push("begun")
		x.give(3)
		want := textOf("begun")
		for i := range byte(20) {
			if x.c.Send([]byte{i}); x.c.state == stateOpen {
				want = append(want, textOf(string(i))...)
			}
			x.push(strings.Repeat("x", 50))
		}
		x.give(1 << 20)
		got := bytes.ReplaceAll(x.got, textOf(strings.Repeat("x", 50)), nil)
		if policy == Disconnect {
			got = got[:closeFrom(got, wire.CodeTryAgain)]
		}
		if st := x.s.Stats(); !bytes.Equal(got, want) || st.Dropped == 0 {
			t.Errorf("policy %d: %q, want %q; %+v", policy, got, want, st)
		}
	}
}

func TestAMessageInFlightIsNeitherReplacedNorDropped(t *testing.T) {
	for name, second := range map[string]Push{"collapses": {Collapse: "k"}, "does not fit": {}} {
		x := newFakeServer(t, Options{Settings: Settings{QueueBytes: 20, SlowConsumer: DropOldest}}).open("u")
		x.room = 1 << 20
		l := x.c.loop
		l.mu.Lock()
		x.c.send(x.s.d.Frame(Push{Collapse: "k"}, []byte("in flight")))
		x.c.prepare()
		x.c.send(x.s.d.Frame(second, []byte("the second one")))
		x.c.flushPromptly()
		l.unlock()
		x.want(name, textOf("in flight"), textOf("the second one"))
		if st := x.s.Stats(); st.Written != 2 || st.QueuedBytes != 0 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

func TestNoMemoryIsTakenForWhatAPeerAnnounces(t *testing.T) {
	x := newFakeServer(t, Options{}).open("u")
	x.arrive(string(raw(0x81, true, []byte{127, 0, 0, 0, 0, 0, 1, 0, 0}, "abc")))
	if n := cap(x.c.in.buf); n > 100 {
		t.Errorf("%d bytes for 64 KiB that are announced, of which 3 have come", n)
	}
}

func TestCloseAllClosesThoseThatAreOpen(t *testing.T) {
	s := newFakeServer(t, Options{})
	gone, a, shaking, b := s.open("gone"), s.open("a"), s.connect("GET /ws"), s.open("b")
	gone.end()
	s.CloseAll(CodeGoingAway, func() string { return "bye" })
	a.want("open", closeOf(CodeGoingAway, "bye"))
	b.want("open", closeOf(CodeGoingAway, "bye"))
	shaking.want("in its handshake")
}

func TestACloseWhileItIsRegisteringComesBehindTheWelcome(t *testing.T) {
	s := newFakeServer(t, Options{}, func(_ *Options, h *fakeHub) { h.hold = make(chan struct{}) })
	x := s.connect(request("?user=u"))
	x.give(1 << 20)
	s.CloseAll(CodeGoingAway, func() string { return "bye" })
	close(s.hub.hold)
	s.hub.pending.Wait()
	if want := string(closeOf(CodeGoingAway, "bye")); !strings.Contains(string(x.got), "welcome") || !strings.HasSuffix(string(x.got), want) {
		t.Errorf("written %q", x.got)
	}
}

func TestACloseThatWaitsInVainEndsSoon(t *testing.T) {
	x := newFakeServer(t, Options{}, func(_ *Options, h *fakeHub) { h.owes = true }).open("u")
	x.give(1 << 20)
	x.arrive(string(text("ask")))
	x.c.Close(CodeGoingAway, "")
	x.s.tick(int((closeTimeout + leastClose) / netloop.Tick))
	if x.s.tick(2); !x.closed {
		t.Error("it is still open")
	}
}

func TestAServerMayBeClosedTwice(t *testing.T) {
	s := New(Options{Admitter: newFakeHub()})
	s.Close()
	s.Close()
}
