package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pushpod/auth"
	client "pushpod/clients/go"
	"pushpod/conn"
	"pushpod/presence"
)

// hookService is a hook's service, whose answer may change.
type hookService struct {
	*auth.Hook
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int32
	last   atomic.Pointer[auth.Question]
}

// startHook starts a hook and its service.
func startHook(t *testing.T, timeout time.Duration) *hookService {
	t.Helper()
	s := &hookService{}
	s.says(200, `{}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q auth.Question
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Errorf("the hook can't read the question: %v", err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		s.last.Store(&q)
		s.asked.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(server.Close)
	hook, err := auth.NewHook(auth.HookOptions{URL: server.URL, Timeout: timeout, ValidID: func(id string) bool { return presence.ValidUser(id) == nil }})
	if err != nil {
		t.Fatal(err)
	}
	s.Hook = hook
	ctx, cancel := context.WithCancel(context.Background())
	var runs sync.WaitGroup
	runs.Go(func() { hook.Run(ctx) })
	t.Cleanup(func() { cancel(); runs.Wait() })
	return s
}

func (s *hookService) does(answer http.HandlerFunc) { s.answer.Store(&answer) }

func (s *hookService) says(status int, body string) {
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// hangs has the service answer when it is released, or the asker has gone away.
func (s *hookService) hangs(body string) (release func()) {
	released := make(chan struct{})
	s.does(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
			_, _ = io.WriteString(w, body)
		case <-r.Context().Done():
		}
	})
	return sync.OnceFunc(func() { close(released) })
}

func startHookPod(t *testing.T, s *hookService) *pod {
	t.Helper()
	return startPod(t, set{
		hub:  func(o *Options) { o.Hook, o.Cookie = s.Hook, "session" },
		conn: func(o *conn.Options) { o.Headers = auth.HeaderFields() },
	})
}

func TestHookLetsIn(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startHookPod(t, s)
	p.welcomed("alice", "alice", nil).close()
	if q := *s.last.Load(); q != (auth.Question{User: "alice", IP: "127.0.0.1"}) {
		t.Errorf("asked %+v", q)
	}
	if got := p.get("alice&device=phone"); got != http.StatusUpgradeRequired {
		t.Errorf("a plain GET: %d", got)
	}
	if q := *s.last.Load(); q != (auth.Question{User: "alice", IP: "127.0.0.1", Device: "phone"}) {
		t.Errorf("asked %+v", q)
	}
	p.welcomed("alice", "alice", http.Header{"Cookie": {"session=opaque"}, "Origin": {"http://localhost:3000"}})
	if q := *s.last.Load(); q != (auth.Question{User: "alice", IP: "127.0.0.1", Token: "opaque", Origin: "http://localhost:3000"}) {
		t.Errorf("asked %+v", q)
	}
}

func TestHookNamesTheUser(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startHookPod(t, s)
	s.says(200, `{"user":"żółw","topics":["news"]}`)
	c := p.welcomed("alice", "żółw", nil)
	if e := p.entries("żółw"); len(e) != 1 || e[c.uuid] != p.channel || len(p.entries("alice")) != 0 || p.CountUser("żółw") != 1 || p.CountUser("alice") != 0 {
		t.Errorf("presence: %v", e)
	}
	p.publish(`{"user":"żółw","data":1}`)
	c.want("1")
	for _, user := range []string{`"}x"`, `""`, `"a\nb"`, `7`, `null`, `"` + strings.Repeat("u", 257) + `"`} {
		s.says(200, `{"user":`+user+`}`)
		p.wantRefused("alice", http.StatusServiceUnavailable)
	}
}

func TestHookRefuses(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startHookPod(t, s)
	for _, c := range []struct {
		status       int
		body, reason string
		want         int
		code         uint16 // with ?refuse=close
	}{
		{401, `{"reason":"no such session"}`, "no such session", 401, 4001},
		{403, `{"reason":"moved out"}`, "moved out", 403, 4003},
		{401, ``, "not accepted", 401, 4001},
		{403, `<html>`, "not allowed in", 403, 4003},
		{204, ``, "can't be asked", 503, 4053},
		{301, ``, "can't be asked", 503, 4053},
		{200, ``, "can't be asked", 503, 4053},
		{200, `{"expires":3600}`, "can't be asked", 503, 4053},
		{200, `{"expires":1600000000000}`, "over", 401, 4001},
		{500, `{"user":"alice"}`, "can't be asked", 503, 4053},
	} {
		s.says(c.status, c.body)
		p.wantRefused("alice", c.want)
		if status, body := p.getWith(nil); status != c.want || !strings.Contains(body, c.reason) {
			t.Errorf("%d %s: a plain GET: %d %s", c.status, c.body, status, body)
		}
		if code := p.refusedByClose("alice"); code != c.code {
			t.Errorf("%d %s: closed with %d, want %d", c.status, c.body, code, c.code)
		}
	}
	p.eventually("nobody is counted", func() bool { return p.atTheGate() == 0 })
}

// refusedByClose asks to be refused by a close frame, and returns its code.
func (p *pod) refusedByClose(user string) uint16 {
	p.t.Helper()
	raw, err := net.Dial("tcp", p.server.Addr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(raw, "GET %s?refuse=close&user=%s HTTP/1.1\r\nHost: pod\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", conn.Path, user)
	got, _ := io.ReadAll(raw) // it ends by itself
	_, frame, ok := strings.Cut(string(got), "\r\n\r\n")
	if !ok || !strings.HasPrefix(string(got), "HTTP/1.1 101 ") || len(frame) < 4 || frame[0] != 0x88 {
		p.t.Fatalf("got %q", got)
	}
	return uint16(frame[2])<<8 | uint16(frame[3])
}

func TestHookIsAskedAfterAllElse(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startPod(t, set{
		hub:  func(o *Options) { o.Hook, o.Limits = s.Hook, Limits{PerIP: 1} },
		conn: func(o *conn.Options) { o.Headers = auth.HeaderFields() },
	})
	p.wantHandshakeRefused("", http.StatusUnauthorized)
	p.wantHandshakeRefused("}x", http.StatusBadRequest)
	if _, err := p.dial("alice", http.Header{"Origin": {"http://example.com"}}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a page of another host: %v", err)
	}
	p.welcomed("alice", "alice", nil)
	p.wantRefused("bob", http.StatusTooManyRequests)
	p.Refuse()
	p.wantRefused("bob", http.StatusServiceUnavailable)
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the hook was asked %d times, want once", n)
	}
}

func TestHookEndsTheConnection(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startHookPod(t, s)
	ends := time.Now().Add(1500 * time.Millisecond)
	s.says(200, fmt.Sprintf(`{"expires":%d}`, ends.UnixMilli()))
	c := p.welcomed("alice", "alice", nil)
	c.wantClosed(4000, "token expired")
	notEarly(t, ends)
	p.eventually("what the hook said is forgotten", func() bool {
		p.verdicts.mu.Lock()
		defer p.verdicts.mu.Unlock()
		return len(p.verdicts.of) == 0
	})
}

// notEarly holds that it is not before a time, but for what a loop lags behind.
func notEarly(t *testing.T, at time.Time) {
	t.Helper()
	if early := time.Until(at); early > 500*time.Millisecond {
		t.Errorf("closed %v too early", early)
	}
}

// What ends sooner ends the connection; and a fresh token does not make it last longer
// than the hook has said.
func TestHookAndTokenEndTheConnectionTogether(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	i := newIssuer(t)
	p := startTokenPod(t, i, func(o *Options) { o.Hook = s.Hook })
	until := func(at time.Time) string {
		return hsToken(t, map[string]any{"sub": "alice", "exp": at.Unix()})
	}
	hour := time.Now().Add(time.Hour)

	soon := time.Now().Truncate(time.Second).Add(3 * time.Second)
	s.says(200, fmt.Sprintf(`{"expires":%d}`, hour.UnixMilli()))
	byToken := p.wantToken("alice", bearer(until(soon)))
	kept := p.wantToken("alice", bearer(until(soon)))
	s.says(200, fmt.Sprintf(`{"expires":%d}`, soon.UnixMilli()))
	byHook := p.wantToken("alice", bearer(until(hour)))
	byHookToo := p.wantToken("alice", bearer(i.token(t, "alice", time.Hour)))
	frame := func(c *wsClient, token, want string) {
		t.Helper()
		c.send(`{"type":"token","id":"1","token":"` + token + `"}`)
		if f := c.next("an answer"); f.Status+f.Error != want {
			t.Errorf("%s, want %s", f.Raw, want)
		}
	}
	frame(kept, until(hour), "accepted")
	frame(byHook, until(hour), "accepted")
	frame(byHookToo, i.token(t, "alice", time.Hour), "accepted")
	for name, c := range map[string]*wsClient{"token": byToken, "hook": byHook, "hook, tokens that take long": byHookToo} {
		c.wantClosed(4000, "token expired")
		t.Log(name)
		notEarly(t, soon)
	}
	p.publish(`{"user":"alice","data":1}`)
	kept.want("1")
	frame(kept, until(time.Now().Add(2*time.Second)), "accepted")
	kept.wantClosed(4000, "token expired")
}

func TestFreshTokensAreOfTheTokensUserNotTheHooks(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	i := newIssuer(t)
	p := startTokenPod(t, i, func(o *Options) { o.Hook = s.Hook })
	s.says(200, `{"user":"tenant-7:alice"}`)
	for _, token := range []func(user string) string{
		func(user string) string { return hsToken(t, map[string]any{"sub": user, "exp": inAnHour()}) },
		func(user string) string { return i.token(t, user, time.Hour) },
	} {
		c := p.wantToken("tenant-7:alice", bearer(token("alice")))
		if q := s.last.Load(); q.User != "alice" || q.Token == "" {
			t.Errorf("asked %+v", q)
		}
		for user, want := range map[string]string{"alice": "accepted", "tenant-7:alice": "rejectednot_allowed", "bob": "rejectednot_allowed"} {
			c.send(`{"type":"token","id":"1","token":"` + token(user) + `"}`)
			if f := c.next("an answer"); f.Status+f.Error != want {
				t.Errorf("a token of %s: %s, want %s", user, f.Raw, want)
			}
		}
		c.close()
	}
	asked := s.asked.Load()
	p.wantNoToken(bearer("x"), http.StatusUnauthorized, "malformed")
	p.wantNoToken(bearer(newIssuer(t).token(t, "bob", time.Hour)), http.StatusUnauthorized, "signature")
	if n := s.asked.Load(); n != asked {
		t.Error("the hook is asked about those whose tokens are bad")
	}
	s.says(403, `{"reason":"no"}`)
	p.wantNoToken(bearer(i.token(t, "alice", time.Hour)), http.StatusForbidden, "no")
}

// A handshake that waits for the hook holds nobody up.
func TestHandshakesWaitForTheHookOffTheLoops(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startHookPod(t, s)
	alice := p.welcomed("alice", "alice", nil)
	release := s.hangs(`{"user":"carol"}`)
	defer release()
	type answer struct {
		c   *client.Conn
		err error
	}
	answers := make(chan answer)
	const n = 20
	for range n {
		go func() {
			c, err := p.dial("bob", nil)
			answers <- answer{c, err}
		}()
	}
	p.eventually("all are asked about", func() bool { return s.asked.Load() == 1+n })
	p.publish(`{"user":["alice","bob","carol"],"data":1}`)
	alice.want("1")
	alice.request("r1", "1")
	if id, why := alice.receipt(); id != "r1" || why != "" {
		t.Errorf("receipt of %s: %s", id, why)
	}
	if p.Len() != 1 || len(p.entries("bob"))+len(p.entries("carol")) != 0 {
		t.Error("who is not let in is in presence")
	}
	release()
	for range n {
		a := <-answers
		if a.err != nil {
			t.Error(a.err)
			continue
		}
		c := &wsClient{Conn: a.c, t: t}
		p.clients = append(p.clients, c)
		if f := c.next("the welcome"); f.Type != "welcome" || f.User != "carol" {
			t.Errorf("%s", f.Raw)
		}
	}
}

// Who leaves while the hook is asked comes into presence neither then nor later, and who
// leaves before is not asked about.
func TestWhoLeavesWhileTheHookIsAskedIsForgotten(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startHookPod(t, s)
	release := s.hangs(`{"user":"carol","expires":9000000000000}`)
	defer release()
	var raw []net.Conn
	const asking, waiting = 64, 30 // the hook asks so many at once
	for i := range asking + waiting {
		c, err := net.Dial("tcp", p.server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		upgrade := "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		if i%3 == 0 {
			upgrade = "" // a plain GET
		}
		_, _ = fmt.Fprintf(c, "GET %s?user=bob HTTP/1.1\r\nHost: pod\r\n%s\r\n", conn.Path, upgrade)
		raw = append(raw, c)
	}
	p.eventually("all are at the gate, and those that may are asked about", func() bool {
		return p.atTheGate() == asking+waiting && s.asked.Load() == asking
	})
	for _, c := range raw {
		c.Close()
	}
	p.eventually("all have left", func() bool { return p.atTheGate() == 0 && p.server.Len() == 0 })
	release()
	s.says(200, `{}`)
	p.welcomed("alice", "alice", nil) // behind those that waited
	if n := s.asked.Load(); n != asking+1 {
		t.Errorf("the hook was asked %d times, want %d", n, asking+1)
	}
	if n := len(p.entries("bob")) + len(p.entries("carol")); n != 0 || p.Len() != 1 {
		t.Errorf("%d entries, %d connections", n, p.Len())
	}
}

func TestHookIsSlow(t *testing.T) {
	t.Parallel()
	s := startHook(t, 300*time.Millisecond)
	p := startHookPod(t, s)
	release := s.hangs(`{}`)
	defer release()
	c, err := p.dial("alice", nil)
	if err == nil {
		c.Close(0, "")
	}
	var refused *client.HandshakeError
	if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || refused.RetryAfter == 0 {
		t.Errorf("%v", err)
	}
	if st := p.Hub.Stats().Hook; st.TimedOut != 1 {
		t.Errorf("%+v", st)
	}
}

func TestPodEndsWhileItsHookIsAsked(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Hour)
	p := startHookPod(t, s)
	release := s.hangs(`{}`)
	defer release()
	refused := make(chan error)
	go func() {
		_, err := p.dial("alice", nil)
		refused <- err
	}()
	p.eventually("the hook is asked", func() bool { return s.asked.Load() == 1 })
	p.stop()
	if err := <-refused; err == nil {
		t.Error("a pod that has ended lets in")
	}
	// The hook ends with the test, which fails where that takes an hour.
}

// Blocks are of the user whom the hook names, and a token that it refuses is not used up.
func TestBlocksApplyToWhomTheHookNames(t *testing.T) {
	t.Parallel()
	s := startHook(t, time.Minute)
	p := startTokenPod(t, nil, func(o *Options) { o.Hook = s.Hook })
	block := func(user string) {
		t.Helper()
		if err := p.admin.Set(context.Background(), "push:block:{"+user+"}", "spam", time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	block("alice")
	block("carol")
	token := hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour()})
	p.wantNoToken(bearer(token), http.StatusForbidden, "blocked")
	s.says(200, `{"user":"carol"}`)
	p.wantNoToken(bearer(token), http.StatusForbidden, "blocked")
	s.says(200, `{"user":"bob"}`)
	p.wantToken("bob", bearer(token))

	once := "x&token=" + hsToken(t, map[string]any{"sub": "dave", "exp": inAnHour(), "jti": "once"})
	connect := func() (*client.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return client.Dial(ctx, client.Options{URL: "ws://" + p.server.Addr().String() + conn.Path + "?a=" + once})
	}
	s.says(403, ``)
	if _, err := connect(); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("refused by the hook: %v", err)
	}
	s.says(200, `{}`)
	c, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close(1000, "")
	if _, err := connect(); err == nil || !strings.Contains(err.Error(), "used") {
		t.Errorf("the second time: %v", err)
	}
}
