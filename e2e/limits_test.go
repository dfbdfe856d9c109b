package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// hub has the cases of each limit of one pod; here it is seen that the settings set it.
func TestLimitsOfAPod(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	for key, limit := range map[string]struct{ status, most int }{
		"limits.connections":           {http.StatusServiceUnavailable, 3},
		"limits.per_ip":                {http.StatusTooManyRequests, 3},
		"limits.handshakes_per_second": {http.StatusTooManyRequests, 3 * (2 + int(settle.Seconds()))},
	} {
		p := startPod(t, r, quick().with(key, "3", "limits.per_user", "0"))
		accepted := 0
		for refused := false; !refused && accepted <= limit.most; {
			c, a, err := tryDial(t, p.listen, "alice")
			if err != nil {
				t.Fatal(err)
			}
			if refused = c == nil; !refused {
				accepted++
				continue
			}
			wantRefusal(t, key, *a, limit.status)
			if a.header.Get("Retry-After") == "" {
				t.Errorf("%s: %d without Retry-After", key, a.status)
			}
		}
		if accepted < 3 || accepted > limit.most {
			t.Errorf("%s: %d accepted, want at least 3 and at most %d", key, accepted, limit.most)
		}
	}
}

func TestLimitPerUserOverAllPods(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	s := quick().with("limits.per_user", "3", "presence.ttl", "30s")
	a, b := startPod(t, r, s), startPod(t, r, s)
	one, two, three := dial(t, a, "alice"), dial(t, b, "alice"), dial(t, a, "alice")
	for range 2 {
		for _, p := range []*pod{a, b} {
			wantRefusal(t, "a fourth connection of alice's", exchange(t, p.listen, upgradeRequest("/ws?user=alice")), http.StatusTooManyRequests)
		}
	}
	dial(t, b, "bob").check("another user")
	wantEntries(t, db, "alice", settle, map[string]string{one.uuid: a.channel, two.uuid: b.channel, three.uuid: a.channel})

	two.leave()
	eventually(t, "one has left", settle, func() (bool, any) {
		c, answer, err := tryDial(t, b.listen, "alice")
		return c != nil, fmt.Sprint(answer, err)
	})
}

func TestOldestConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
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
