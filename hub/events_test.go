package hub

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pushpod/presence"
)

// eventStream is one end user's stream of server-sent events.
type eventStream struct {
	t    *testing.T
	sock net.Conn
	br   *bufio.Reader
	head *http.Response
	uuid string
}

// events asks for server-sent events, and reads the welcome.
func (p *pod) events(query, user string, lines ...string) *eventStream {
	p.t.Helper()
	sock, err := net.Dial("tcp", p.server.Addr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	e := &eventStream{t: p.t, sock: sock}
	p.t.Cleanup(func() { sock.Close() })
	_ = sock.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(sock, "GET /sse?%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", query, strings.Join(append(lines, ""), "\r\n"))
	if e.head, err = http.ReadResponse(bufio.NewReader(sock), nil); err != nil || e.head.StatusCode != http.StatusOK {
		p.t.Fatalf("the answer to %s is %+v, %v", query, e.head, err)
	}
	e.br = bufio.NewReader(e.head.Body)
	var welcome struct{ Type, UUID, User string }
	if err := json.Unmarshal([]byte(e.next("message")), &welcome); err != nil || welcome.Type != "welcome" || welcome.User != user {
		p.t.Fatalf("the first event is %+v, want the welcome of %s", welcome, user)
	}
	e.uuid = welcome.UUID
	return e
}

// next returns the data of the next event, which has this name.
func (e *eventStream) next(name string) string {
	e.t.Helper()
	got, data := "message", []string(nil)
	for {
		line, err := e.br.ReadString('\n')
		line, whole := strings.CutSuffix(line, "\n")
		if err != nil || !whole {
			e.t.Fatalf("%q, %v, want an event", line, err)
		}
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case field == "event":
			got = value
		case field == "data":
			data = append(data, value)
		case line != "" && !strings.HasPrefix(line, ":"):
			e.t.Fatalf("a line %q", line)
		case line == "" && data != nil:
			if got != name {
				e.t.Fatalf("an event %s %q, want one named %s", got, data, name)
			}
			return strings.Join(data, "\n")
		}
	}
}

func (e *eventStream) want(data string) {
	e.t.Helper()
	if got, want := e.next("message"), `{"type":"message","data":`+data+`}`; got != want {
		e.t.Fatalf("%q, want %q", got, want)
	}
}

// wantClosed reads the last event, and the end behind it.
func (e *eventStream) wantClosed(code int, reason string) {
	e.t.Helper()
	if got, want := e.next("close"), fmt.Sprintf(`{"type":"close","code":%d,"reason":%q}`, code, reason); got != want {
		e.t.Fatalf("closed with %q, want %q", got, want)
	}
	if b, err := io.ReadAll(e.br); err != nil || len(b) > 0 {
		e.t.Fatalf("behind the close: %q, %v", b, err)
	}
	e.sock.Close()
}

func TestAStreamOfEventsIsASessionAsAnyOther(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	ws := p.connect("alice")
	e := p.events("user=alice", "alice", "Last-Event-ID: 17-0", "Origin: http://localhost:3000") // no position is known yet
	if got := e.head.Header.Get("Access-Control-Allow-Origin"); got != "http://localhost:3000" || !e.head.Close {
		t.Errorf("header %v", e.head.Header)
	}
	if all := p.entries("alice"); len(all) != 2 || all[e.uuid] != p.channel {
		t.Errorf("entries %v, want %s among two", all, e.uuid)
	}
	// To the connection, to the user, to everyone.
	p.publish(`{"to":"` + e.uuid + `","of":"alice","data":{"a":
 1}}`)
	e.want("{\"a\":\n 1}")
	p.publish(`{"user":"alice","data":2}`)
	p.publishAll(`{"all":true,"data":3}`)
	for _, data := range []string{"2", "3"} {
		e.want(data)
		ws.want(data)
	}
	p.publish(`{"to":"` + e.uuid + `","data":4,"close":{"code":4600,"reason":"why"}}`)
	e.want("4")
	e.wantClosed(4600, "why")
	p.eventually("its entry is removed", func() bool { return len(p.entries("alice")) == 1 })
	p.wantBooks(6, 0, 0)
}

func TestAStreamOfEventsShowsItsTokenAsAWebSocketDoes(t *testing.T) {
	t.Parallel()
	p := startTokenPod(t, nil, nil)
	token := func(jti string) string {
		return hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour(), "jti": jti})
	}
	once := "token=" + token("once")
	for _, e := range []*eventStream{
		p.events("", "alice", "Authorization: Bearer "+token("a")),
		p.events("", "alice", "Cookie: a=b; session="+token("b")),
		p.events(once, "alice"),
	} {
		p.publish(`{"to":"` + e.uuid + `","data":1}`)
		e.want("1")
		e.sock.Close()
	}
	if a := p.exchange("GET /sse?" + once + " HTTP/1.1\r\nHost: localhost\r\n\r\n"); a.status != http.StatusUnauthorized {
		t.Errorf("a token that is used up: %d", a.status)
	}
}

func TestAStreamOfEventsTakesAPlace(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{presence: func(o *presence.Options) { o.PerUser = 1 }})
	old := p.events("user=alice", "alice")
	next := p.events("user=alice&replaces="+old.uuid, "alice")
	if all := p.entries("alice"); len(all) != 1 || all[next.uuid] != p.channel {
		t.Errorf("entries %v", all)
	}
	p.publish(`{"to":"` + old.uuid + `","data":"still on its way"}`)
	old.want(`"still on its way"`)
	old.sock.Close()
	next.sock.Close()
	p.eventually("both have gone", func() bool { return len(p.entries("alice")) == 0 })
}

func TestALeavingPodClosesStreamsOfEvents(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	e := p.events("user=alice", "alice")
	p.server.CloseAll(1001, func() string { return "retry_ms=7" })
	e.wantClosed(1001, "retry_ms=7")
}

func TestAStreamOfEventsGivesWayAsAnyOther(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{presence: func(o *presence.Options) { o.PerUser, o.OnExcess = 2, presence.OnExcessCloseOldest }})
	oldest := p.events("user=alice", "alice")
	ws := p.connect("alice")
	p.connect("alice")
	oldest.wantClosed(4501, "replaced by a newer connection")
	last := p.events("user=alice", "alice")
	ws.wantClosed(4501, "replaced by a newer connection")
	last.sock.Close()
}

func TestAStreamOfEventsIsRenewedAndRevokedAsAnyOther(t *testing.T) {
	t.Parallel()
	p := startPod(t, renewing())
	e := p.events("user=alice", "alice")
	p.del(p.keys.User("alice"))
	p.eventually("its entry is there again", func() bool { return p.entries("alice")[e.uuid] == p.channel })
	p.set("push:block:{alice}", "spam")
	e.wantClosed(4500, "blocked: spam")
	p.eventually("it is not present", func() bool { return len(p.entries("alice")) == 0 })
	if a := p.exchange("GET /sse?user=alice HTTP/1.1\r\nHost: localhost\r\n\r\n"); a.status != http.StatusForbidden || !strings.Contains(a.rest, "spam") {
		t.Errorf("%d %s", a.status, a.rest)
	}
}

func TestAHookDecidesAboutStreamsOfEvents(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startHookPod(t, s)
	s.says(200, `{"user":"bob"}`)
	e := p.events("user=alice&device=tv", "bob")
	if q := s.last.Load(); q.User != "alice" || q.Device != "tv" {
		t.Errorf("asked %+v", q)
	}
	p.publish(`{"user":"bob","data":1}`)
	e.want("1")
	e.sock.Close()
	s.says(403, `{"reason":"why"}`)
	if a := p.exchange("GET /sse?user=alice HTTP/1.1\r\nHost: localhost\r\n\r\n"); a.status != http.StatusForbidden || !strings.Contains(a.rest, "why") {
		t.Errorf("%d %s", a.status, a.rest)
	}
}

func TestPagesMayAskWhetherTheyMayHaveAStream(t *testing.T) {
	t.Parallel()
	p := startTokenPod(t, nil, nil)
	ask := func(origin string) exchanged {
		return p.exchange("OPTIONS /sse HTTP/1.1\r\nHost: localhost\r\nOrigin: " + origin + "\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n")
	}
	a := ask("http://localhost:3000")
	if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" || a.header.Get("Access-Control-Allow-Credentials") != "true" ||
		a.header.Get("Access-Control-Allow-Headers") != "Authorization, Last-Event-ID" || a.header.Get("Access-Control-Allow-Methods") != "GET" ||
		a.header.Get("Vary") != "Origin" || a.header.Get("Access-Control-Max-Age") == "" || a.rest != "" || !a.closed {
		t.Errorf("%+v", a)
	}
	if a := ask("http://example.com"); a.status != http.StatusMethodNotAllowed || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another page: %+v", a)
	}
	if got := p.gate.total; got != 0 {
		t.Errorf("%d places are taken", got)
	}
}
