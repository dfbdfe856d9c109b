package hub

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	client "pushpod/clients/go"
	"pushpod/conn"
	"pushpod/presence"
)

func TestOriginsAndUsersAtTheDoor(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	c, err := p.dial("alice", http.Header{"Origin": {"http://127.0.0.1:3000"}})
	if err != nil {
		t.Fatalf("a page of the same host: %v", err)
	}
	c.Close(1000, "")
	if _, err := p.dial("alice", http.Header{"Origin": {"http://example.com"}}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a page of another host: %v", err)
	}
	p.wantHandshakeRefused("", http.StatusUnauthorized)
	p.wantHandshakeRefused("}x", http.StatusBadRequest)
	p.wantHandshakeRefused(strings.Repeat("x", 257), http.StatusBadRequest)
	if got := p.get("alice"); got != http.StatusUpgradeRequired {
		t.Errorf("a plain GET, where all is well: %d", got)
	}
}

func TestConnectionsOfThePodAndOfOneAddressAreLimited(t *testing.T) {
	t.Parallel()
	for status, limit := range map[int]Limits{http.StatusServiceUnavailable: {Connections: 2}, http.StatusTooManyRequests: {PerIP: 2}} {
		p := startPod(t, set{hub: func(o *Options) { o.Limits = limit }})
		a := p.connect("alice")
		p.connect("bob")
		p.wantRefused("carol", status)
		a.close()
		p.eventually("one has left", func() bool { return p.Len() == 1 })
		p.connect("carol")
		p.wantRefused("dave", status)
	}
}

func TestConnectionsOfOneUserAreLimited(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{hub: func(o *Options) { o.Limits.PerIP = 10 }, presence: func(o *presence.Options) { o.PerUser = 2 }})
	a := p.connect("alice")
	p.connect("alice")
	for range 20 { // a refused one gives back what it had taken at the gate
		p.wantHandshakeRefused("alice", http.StatusTooManyRequests)
	}
	p.connect("bob")
	a.close()
	p.eventually("one has left", func() bool { return len(p.entries("alice")) == 1 })
	p.connect("alice")
}

// TestACrowdIsAnswered: many are registered by one pipeline, and some of them refused.
func TestACrowdIsAnswered(t *testing.T) {
	t.Parallel()
	const n = 200
	p := startPod(t, set{presence: func(o *presence.Options) { o.PerUser = 1 }})
	type answer struct {
		c   *client.Conn
		err error
	}
	answers := make(chan answer, n)
	for i := range n {
		go func() {
			c, err := p.dial(fmt.Sprint("u", i/2), nil)
			if err == nil {
				_, err = c.Welcome(t.Context())
			}
			answers <- answer{c, err}
		}()
	}
	welcomed := 0
	for range n {
		var refused *client.HandshakeError
		switch a := <-answers; {
		case a.err == nil:
			welcomed++
			p.clients = append(p.clients, &wsClient{Conn: a.c, t: t})
		case !errors.As(a.err, &refused) || refused.Status != http.StatusTooManyRequests:
			t.Error(a.err)
		}
	}
	if welcomed != n/2 {
		t.Errorf("%d of %d are welcomed, want one of each two", welcomed, n)
	}
}

func TestTheOldestConnectionOfAUserGivesWay(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{presence: func(o *presence.Options) { o.PerUser, o.OnExcess = 2, presence.OnExcessCloseOldest }})
	oldest := p.connect("alice")
	p.connect("alice")
	p.connect("alice")
	oldest.wantClosed(4501, "replaced by a newer connection")
	p.eventually("two are left", func() bool { return len(p.entries("alice")) == 2 && p.CountUser("alice") == 2 })
}

func TestHandshakesPerSecondAreLimited(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.1")
	g := newGate(Limits{HandshakesPerSecond: 3})
	for i := range 3 {
		if r := g.enter(ip); r != nil {
			t.Fatalf("handshake %d: %+v", i, r)
		}
	}
	r := g.enter(ip)
	if r == nil || r.Status != http.StatusTooManyRequests || r.RetryAfter == 0 {
		t.Fatalf("one too many: %+v", r)
	}
	if r := g.enter(ip); r == nil {
		t.Error("a plain GET is not told what the handshake is")
	}
	pass := func(d time.Duration) { g.handshakes.AllowN(time.Now().Add(d), 0) }
	pass(time.Second / 2)
	if r := g.enter(ip); r != nil {
		t.Errorf("after half a second: %+v", r)
	}
	if r := g.enter(ip); r == nil {
		t.Error("one and a half handshakes are two")
	}
	pass(time.Hour)
	for range 3 {
		g.enter(ip)
	}
	if r := g.enter(ip); r == nil {
		t.Error("what was not used in an hour comes all at once")
	}
	if g.total != 7 {
		t.Errorf("%d are in, want 7", g.total)
	}
}

func TestTheGateForgetsAddressesThatHaveLeft(t *testing.T) {
	g := newGate(Limits{PerIP: 2, Connections: 3})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, ip := range []netip.Addr{a, b, a} {
		if r := g.enter(ip); r != nil {
			t.Fatalf("%v: %+v", ip, r)
		}
	}
	if r := g.enter(b); r == nil || r.Status != http.StatusServiceUnavailable {
		t.Errorf("the pod is full: %+v", r)
	}
	g.leave(b)
	if r := g.enter(a); r == nil || r.Status != http.StatusTooManyRequests {
		t.Errorf("the address is full: %+v", r)
	}
	g.leave(a)
	g.leave(a)
	if len(g.perIP) != 0 || g.total != 0 {
		t.Errorf("left: %v, %d", g.perIP, g.total)
	}
}

func TestALeavingPodTakesNobody(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	a := p.connect("alice")
	p.StartDraining()
	if !p.has("draining") || !p.Draining() {
		t.Error("a draining pod is ready")
	}
	p.connect("bob") // while balancers notice
	p.Refuse()
	p.wantRefused("carol", http.StatusServiceUnavailable)
	p.publish(`{"user":"alice","data":1}`)
	a.want("1")
}

func TestBalancersAreToldWhetherThePodIsReady(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	for _, want := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		r, err := http.Get("http://" + p.server.Addr().String() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		if r.Body.Close(); r.StatusCode != want {
			t.Errorf("/healthz: %d, want %d", r.StatusCode, want)
		}
		if s := p.Hub.Stats(); s.Ready != (want == http.StatusOK) || s.Draining == s.Ready {
			t.Errorf("%+v, where /healthz is %d", s, want)
		}
		p.StartDraining()
	}
}

func TestTheWelcomeIsExact(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{conn: func(o *conn.Options) { o.Settings.Ping = 20 * time.Second }})
	before := p.pods.NowMs()
	c, err := p.dial("al\"ice", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &wsClient{Conn: c, t: t}
	p.clients = append(p.clients, w)
	f := w.next("the welcome")
	var at int64
	if _, text, _ := strings.Cut(string(f.Raw), `"time":`); text != "" {
		_, _ = fmt.Sscan(text, &at)
	}
	if at < before || at > p.pods.NowMs() {
		t.Errorf("the welcome's time is %d", at)
	}
	want := fmt.Sprintf(`{"type":"welcome","uuid":"%s","user":"al\"ice","ping":20,"max_message":65536,"time":%d}`, f.UUID, at)
	if string(f.Raw) != want {
		t.Errorf("got %s, want %s", f.Raw, want)
	}
}

func TestRefusedHandshakesAreLogged(t *testing.T) {
	t.Parallel()
	var log logLines
	p := startPod(t, set{hub: func(o *Options) { o.Log = zerolog.New(&log) }})
	for _, origin := range []string{"http://example.com", "http://" + strings.Repeat("x", 2*maxOrigin)} {
		if _, err := p.dial("alice", http.Header{"Origin": {origin}}); err == nil {
			t.Fatalf("a page of %.30s is let in", origin)
		}
		want := fmt.Sprintf(`"status":403,"reason":"pages of this origin may not connect","origin":"%.*s","address":"127.0.0.1"`, maxOrigin, origin)
		p.eventually("it is logged: "+want, func() bool { return log.count(want) == 1 })
	}
	for range 20 {
		p.wantHandshakeRefused("", http.StatusUnauthorized)
	}
	if n := log.count("handshake refused"); n > 12 { // three a second
		t.Errorf("%d lines", n)
	}
}

func TestAClosedStoreLetsNobodyIn(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{hub: func(o *Options) { o.Presence = closedPresence{o.Presence} }})
	p.wantHandshakeRefused("alice", http.StatusServiceUnavailable)
	if n, in := p.Len(), p.atTheGate(); n != 0 || in != 0 {
		t.Errorf("%d connections are held, %d counted", n, in)
	}
}

// closedPresence takes nothing more.
type closedPresence struct{ Presence }

func (closedPresence) Register(presence.Entry, func(presence.Registered)) error {
	return presence.ErrClosed
}

// The store has removed the entry, where there was any.
func TestARefusedConnectionIsForgottenAtOnce(t *testing.T) {
	p := newVoidPod(t, 0, conn.Options{Loops: 1})
	p.connectVoid(0)
	p.presence.answerWith(presence.Registered{Err: presence.ErrTooMany})
	if p.Len() != 0 || p.CountUser(voidUser(0)) != 0 {
		t.Error("it is held")
	}
	if n := p.presence.unregistered.Load(); n != 0 {
		t.Errorf("unregistered %d times", n)
	}
}
