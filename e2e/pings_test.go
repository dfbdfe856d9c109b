package e2e

import (
	"strings"
	"testing"
	"time"
)

// pinging are settings under which a dead peer is found in two seconds.
func pinging() settings {
	return quick().with("conn.ping", "1s", "conn.ping_timeout", "1s")
}

const pingBound = 2 * time.Second // conn.ping + conn.ping_timeout

func TestDeadPeerIsFound(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, pinging())
	start := time.Now()
	dead, alive := dial(t, p, "dead", mute()), dial(t, p, "alive")
	if f, ok := dead.take(pingBound+slack, nothing); !ok || f.err != nil || f.opcode != opPing {
		t.Errorf("got %v (%v), want a ping", f, ok)
	}
	if f, ok := dead.take(pingBound+slack, pings); !ok {
		t.Fatal("the dead peer is neither told nor cut off")
	} else if f.err == nil && f.opcode != opClose {
		t.Fatalf("got %v, want the end", f)
	}
	took := time.Since(start)
	t.Logf("found after %v", took.Round(time.Millisecond))
	if took > pingBound+slack {
		t.Errorf("found after %v, want within conn.ping + conn.ping_timeout, %v", took, pingBound)
	}
	wantEntries(t, db, "dead", 5*time.Second+slack, nil)
	dead.wantEnd("nobody is there", 5*time.Second+slack)

	time.Sleep(time.Until(start.Add(3 * pingBound)))
	alive.check("one that answers pings")
	n := 0
	alive.mu.Lock()
	for _, f := range alive.got {
		if f.err == nil && f.opcode == opPing {
			n++
		}
	}
	alive.mu.Unlock()
	if n < 3 || n > 10 {
		t.Errorf("%d pings in %v, want about one each conn.ping, 1s", n, 3*pingBound)
	}
	wantBooks(t, p, books{})
}

// Many that die one behind the other, amid their renewals: none is renewed
// after its end.
func TestDeadPeersLeaveNothing(t *testing.T) {
	t.Parallel()
	const peers = 800
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, pinging().with("presence.renew", "100ms", "presence.ttl", "60s"))
	for i := range peers {
		m, err := joinCrowd(p.listen, i)
		if err != nil {
			t.Fatal(err)
		}
		defer m.conn.Close()
		time.Sleep(4 * time.Millisecond)
	}
	p.wantMetric("all are found dead", 0, "pushpod_connections")
	eventually(t, "no entry is left", settle, func() (bool, any) {
		keys := db.Keys(t.Context(), userKey("*")).Val()
		return len(keys) == 0, keys
	})
	time.Sleep(300 * time.Millisecond) // three renewals later
	if keys := db.Keys(t.Context(), userKey("*")).Val(); len(keys) != 0 {
		t.Errorf("entries of the dead: %v", keys)
	}
}

// With ?ping=app the server pings by a message, and a proxy's pong is no answer.
func TestAppPing(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), pinging())
	answering, talking := dial(t, p, "alice", withQuery("ping", "app")), dial(t, p, "bob", withQuery("ping", "app"))
	silent := dial(t, p, "carol", withQuery("ping", "app"))
	rare := dial(t, p, "dave", withQuery("ping", "app,15"))
	if answering.welcome.Ping != 1 || rare.welcome.Ping != 15 {
		t.Errorf("welcome says ping %d and %d, want 1 and 15", answering.welcome.Ping, rare.welcome.Ping)
	}
	start := time.Now()
	for range 3 {
		for _, c := range []*client{answering, talking} {
			if f, ok := c.take(pingBound+slack, nothing); !ok || f.err != nil || f.opcode != opText || !strings.Contains(f.text, `"ping"`) {
				t.Fatalf("%s got %v (%v), want a ping message", c.name, f, ok)
			}
		}
		answering.say(`{"type":"pong"}`)
		talking.check("any frame is an answer")
	}
	silent.wantFrame("app ping", "ping")
	f, ok := silent.take(time.Until(start.Add(pingBound+slack)), func(f received) bool { return f.err == nil && f.opcode != opClose })
	if !ok {
		t.Fatalf("one that does not answer is still there after %v", time.Since(start))
	}
	t.Logf("found after %v: %v", time.Since(start).Round(time.Millisecond), f)
	wantEntries(t, p.redisClient(), "carol", 5*time.Second+slack, nil)
	if f, ok := rare.take(0, nothing); ok {
		t.Errorf("with ping=app,15: got %v after %v, want no ping yet", f, time.Since(start))
	}
	rare.check("with ping=app,15")
	dial(t, p, "erin", withQuery("ping", "app,300")).check("the longest")
}

func TestClientPingIsAnswered(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), pinging())
	for _, options := range [][]dialOption{nil, {withQuery("ping", "app")}} {
		c := dial(t, p, "alice", options...)
		c.send(control(opPing, "are you there").bytes())
		c.wantPong("a WebSocket ping", "are you there")
		c.say(`{"type":"ping","id":"p"}`)
		c.wantReceipt("an app ping", "p", "accepted", "")
	}
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
