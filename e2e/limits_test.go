package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// wantLimited checks that a handshake is refused for a limit.
func wantLimited(t *testing.T, why string, p *pod, user string, statuses []int, options ...dialOption) {
	t.Helper()
	c, a, err := tryDial(t, p.listen, user, options...)
	switch {
	case err != nil:
		t.Errorf("%s: %v, want %v", why, err, statuses)
	case c != nil:
		t.Errorf("%s: accepted, want %v", why, statuses)
	default:
		wantRefusal(t, why, *a, statuses...)
	}
}

func TestLimitOfConnections(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("limits.connections", "3"))
	first := dial(t, p, "alice")
	dial(t, p, "bob")
	dial(t, p, "carol")
	for range 3 {
		wantLimited(t, "a fourth connection", p, "dave", []int{http.StatusServiceUnavailable, http.StatusTooManyRequests})
	}
	first.leave()
	eventually(t, "a place is free again", settle, func() (bool, any) {
		c, a, err := tryDial(t, p.listen, "dave")
		return c != nil, fmt.Sprint(a, err)
	})
	wantLimited(t, "again a fourth connection", p, "erin", []int{http.StatusServiceUnavailable, http.StatusTooManyRequests})
	p.wantMetric("no more than the limit", 3, "pushpod_connections")
}

func TestLimitPerUserOverAllPods(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	s := quick().with("limits.per_user", "3", "presence.ttl", "30s")
	a, b := startPod(t, r, s), startPod(t, r, s)
	one, two, three := dial(t, a, "alice"), dial(t, b, "alice"), dial(t, a, "alice")
	for range 2 {
		wantLimited(t, "a fourth connection of alice's", a, "alice", []int{http.StatusTooManyRequests})
		wantLimited(t, "a fourth connection of alice's", b, "alice", []int{http.StatusTooManyRequests})
	}
	dial(t, b, "bob").check("another user")
	wantEntries(t, db, "alice", settle, map[string]string{one.uuid: a.channel, two.uuid: b.channel, three.uuid: a.channel})

	two.leave()
	eventually(t, "one has left", settle, func() (bool, any) {
		c, answer, err := tryDial(t, b.listen, "alice")
		return c != nil, fmt.Sprint(answer, err)
	})

	// A dead pod's entries do not count, though they are still there.
	killed := time.Now()
	a.sigkill()
	eventually(t, "the dead pod's entries no longer count", time.Second+settle, func() (bool, any) {
		c, answer, err := tryDial(t, b.listen, "alice")
		return c != nil, fmt.Sprint(answer, err)
	})
	t.Logf("accepted %v after the kill; presence.ttl is 30s", time.Since(killed).Round(time.Millisecond))
}

func TestOldestConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	s := quick().with("limits.per_user", "2", "limits.on_excess", "close_oldest")
	a, b := startPod(t, r, s), startPod(t, r, s)
	connect := func(p *pod) *client {
		t.Helper()
		time.Sleep(5 * time.Millisecond) // the oldest is so by its UUID's millisecond
		return dial(t, p, "alice")
	}
	one, two := connect(a), connect(b)
	bob := dial(t, a, "bob")
	three := connect(b)
	one.wantClose("the oldest, on the other pod", 4501)
	one.wantEnd("replaced", settle)
	wantEntries(t, db, "alice", settle, map[string]string{two.uuid: b.channel, three.uuid: b.channel})
	four := connect(b)
	two.wantClose("the oldest, on the same pod", 4501)
	wantEntries(t, db, "alice", settle, map[string]string{three.uuid: b.channel, four.uuid: b.channel})
	for _, c := range []*client{three, four, bob} {
		c.check("not replaced")
	}
}

func TestLimitPerAddress(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("limits.per_ip", "2"))
	first := dial(t, p, "alice", from("127.0.0.2"))
	dial(t, p, "bob", from("127.0.0.2"))
	wantLimited(t, "a third connection from one address", p, "carol", []int{http.StatusTooManyRequests}, from("127.0.0.2"))
	dial(t, p, "carol", from("127.0.0.3")).check("from another address")
	first.leave()
	eventually(t, "a place is free again", settle, func() (bool, any) {
		c, a, err := tryDial(t, p.listen, "dave", from("127.0.0.2"))
		return c != nil, fmt.Sprint(a, err)
	})
}

func TestLimitOfHandshakes(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("limits.handshakes_per_second", "5", "limits.per_user", "0"))
	accepted, refused := 0, 0
	start := time.Now()
	for range 60 {
		c, a, err := tryDial(t, p.listen, "alice")
		switch {
		case err != nil:
			t.Fatal(err)
		case c != nil:
			accepted++
		default:
			refused++
			wantRefusal(t, "a handshake too many", *a, http.StatusTooManyRequests, http.StatusServiceUnavailable)
			if a.header.Get("Retry-After") == "" {
				t.Errorf("%d without Retry-After", a.status)
			}
		}
	}
	seconds := time.Since(start).Seconds()
	if most := int(5*(seconds+2)) + 1; accepted > most || accepted == 0 || refused == 0 {
		t.Errorf("%d accepted, %d refused in %.1f s, want some of both and at most %d accepted", accepted, refused, seconds, most)
	}
	eventually(t, "accepted later", settle, func() (bool, any) {
		c, a, err := tryDial(t, p.listen, "bob")
		return c != nil, fmt.Sprint(a, err)
	})
}
