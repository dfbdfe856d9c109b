package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// The connections to Redis are cut in the middle of replies, over and over: no
// wrong message comes of it, each gap is counted, and pushes flow again.
func TestRedisRepliesCutAtRandomBytes(t *testing.T) {
	t.Parallel()
	const cuts = 25
	r := startRedis(t)
	db := r.Client()
	proxy := redistest.NewProxy(t, r.Addr())
	p := startPod(t, r, quick().with("redis.addresses", proxy.Addr()))
	c := dial(t, p, "alice")
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, seed))
	t.Logf("seed %d", seed)

	load := startPublisher(r.Client(), p.channel, `{"to":"`+c.uuid+`","data":`, `}`, 2*time.Millisecond)
	defer load.cancel()
	for i := range cuts {
		proxy.CutAfter(int64(random.IntN(3000)))
		eventually(t, fmt.Sprint("cut ", i), settle, func() (bool, any) { return proxy.Cuts() > i, proxy.Cuts() })
		p.waitReady()
	}
	proxy.CutAfter(-1)
	// The pod may not have noticed the last cut yet, and be ready still.
	time.Sleep(500 * time.Millisecond)
	p.waitReady()
	published := len(load.stop(t))
	publish(t, db, p.channel, to(`-1`, c))

	last, got := -1, 0
	for {
		m := c.wantFrame("between cuts", "message")
		if string(m.Data) == `-1` {
			break
		}
		var n int
		if _, err := fmt.Sscan(string(m.Data), &n); err != nil || n <= last || n >= published {
			t.Fatalf("got %s behind %d: not what was published", m.Data, last)
		}
		last = n
		got++
	}
	all, err := p.scrape()
	if err != nil {
		t.Fatal(err)
	}
	gaps := sum(all, "pushpod_subscription_gaps_total")
	b := readBooks(all)
	t.Logf("%d of %d messages, %v gaps in %d cuts", got, published, gaps, proxy.Cuts())
	if lost := published - got; lost > 0 && gaps == 0 {
		t.Errorf("%d messages lost and no gap counted", lost)
	}
	if gaps > float64(proxy.Cuts()) {
		t.Errorf("%v gaps, but only %d cuts", gaps, proxy.Cuts())
	}
	if want := (books{published: got + 1, written: got + 1}); b != want {
		t.Errorf("books %+v, want %+v: half a reply is no message", b, want)
	}
	c.check("it never noticed")
	wantEntries(t, db, "alice", settle, map[string]string{c.uuid: p.channel})
}

// Redis is reachable and silent: a half-open connection.
func TestSilentConnectionToRedis(t *testing.T) {
	t.Parallel()
	const probe, timeout = 500 * time.Millisecond, time.Second
	r := startRedis(t)
	proxy := redistest.NewProxy(t, r.Addr())
	p := startPod(t, r, quick().with("redis.addresses", proxy.Addr()))
	c := dial(t, p, "alice")
	proxy.Stall(true)
	p.wantNotReady("silence", probe+timeout+slack)
	c.check("while Redis is silent")
	c.say(`{"type":"request","id":"r1","data":1}`)
	c.wantReceipt("while Redis is silent", "r1", "rejected", "unavailable")
	proxy.Stall(false)
	p.waitReady()
	if n := luaPush(t, r, "alice", `1`); n < 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	c.wantMessage("after the silence", `1`)
	c.wantNothing("once", 100*time.Millisecond)
}
