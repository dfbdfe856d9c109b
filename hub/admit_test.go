package hub

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	client "pushpod/clients/go"
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
