package e2e

import (
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestDeadPeerIsFound(t *testing.T) {
	t.Parallel()
	const bound = 2 * time.Second // conn.ping + conn.ping_timeout
	r := startRedis(t)
	p := startPod(t, r, quick().with("conn.ping", "1s", "conn.ping_timeout", "1s"))
	start := time.Now()
	dead, byApp := dial(t, p, "dead", mute()), dial(t, p, "dead", withQuery("ping", "app"))
	alive, rare := dial(t, p, "alive"), dial(t, p, "rare", withQuery("ping", "app,15"))
	if byApp.welcome.Ping != 1 || rare.welcome.Ping != 15 {
		t.Errorf("welcome says ping %d and %d, want 1 and 15", byApp.welcome.Ping, rare.welcome.Ping)
	}
	byApp.wantFrame("an app ping", "ping")
	if f, ok := dead.take(bound+slack, nothing); !ok || f.err != nil || f.opcode != ws.OpPing {
		t.Errorf("got %v (%v), want a ping", f, ok)
	}
	for _, c := range []*client{dead, byApp} {
		end := c.wantEnd("nobody answers", bound+slack)
		if took := end.at.Sub(start); took > bound+slack {
			t.Errorf("found after %v, want within conn.ping + conn.ping_timeout, %v", took, bound)
		}
	}
	wantEntries(t, asProducer(r), "dead", 5*time.Second+slack, nil)
	time.Sleep(time.Until(start.Add(3 * bound)))
	alive.check("one that answers pings")
	rare.check("one that is not asked yet")
	rare.wantNothing("no ping yet", 0)
	wantBooks(t, p, books{})
}

// conn.max_age spreads the load of long-lived connections.
func TestOldConnectionsAreRecycled(t *testing.T) {
	t.Parallel()
	const age = 2 * time.Second
	p := startPod(t, startRedis(t), quick().with("conn.max_age", age.String()))
	start := time.Now()
	c := dial(t, p, "alice")
	f := c.wantClose("conn.max_age", 1001)
	retryMillis(t, f.reason)
	if took := f.at.Sub(start); took < age*8/10 || took > age*11/10+slack {
		t.Errorf("closed after %v, want conn.max_age, %v, ± a tenth", took, age)
	}
	c.wantEnd("conn.max_age", settle)
	wantEntries(t, p.redisClient(), "alice", settle, nil)
}
