package e2e

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// A client that moves from pod to pod is found at any moment, once, and gets each push once.
func TestAConnectionThatMovesIsAlwaysFoundOnce(t *testing.T) {
	t.Parallel()
	const moves = 12
	r := startRedis(t)
	s := quick().with("presence.renew", "10s", "presence.ttl", "60s", "limits.per_user", "1")
	pods := []*pod{startPod(t, r, s), startPod(t, r, s)}
	c := dial(t, pods[0], "alice")

	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel()
	var looks atomic.Int64
	looking.Go(func() {
		db := asProducer(r)
		for ctx.Err() == nil {
			found, err := db.HGetAll(context.Background(), userKey("alice")).Result()
			if err != nil || len(found) != 1 {
				t.Errorf("a look-up names %v, %v; want one", found, err)
				return
			}
			looks.Add(1)
		}
	})
	push := func(why string, to *client, n int) {
		t.Helper()
		data := fmt.Sprint(n)
		if n := luaPush(t, r, "alice", data); n != 1 {
			t.Errorf("%s: push.lua returned %d, want 1", why, n)
		}
		to.wantMessage(why, data)
	}
	for i := range moves {
		old, from, to := c, pods[i%2], pods[(i+1)%2]
		push("before", old, i)
		c = dial(t, to, "alice", withQuery("replaces", old.uuid))
		push("after", c, i)
		// Who looked it up just before publishes to the old one still.
		asProducer(r).Publish(ctx, from.channel, fmt.Sprintf(`{"to":%q,"of":"alice","data":%q}`, old.uuid, "late"))
		old.wantMessage("addressed to the old one", `"late"`)
		old.leave()
	}
	cancel()
	looking.Wait() // one that is refused stands for a moment
	if _, refused, err := tryDial(t, pods[0].listen, "alice"); err != nil || refused == nil || refused.status != 429 {
		t.Errorf("one more: %+v, %v; want 429", refused, err)
	}
	c.wantNothing("each push comes once", 50*time.Millisecond)
	t.Logf("%d look-ups during %d moves", looks.Load(), moves)
}

// Who has asked for it hears of a drain in time to connect elsewhere, and the pod leaves
// within shutdown.drain all the same.
func TestADrainThatIsAnnouncedLosesNothing(t *testing.T) {
	t.Parallel()
	const drain = 5 * time.Second
	r := startRedis(t)
	leaving, stays := startPod(t, r, quick().with("shutdown.drain", drain.String())), startPod(t, r, quick())
	asks := withQuery("goaway", "1")
	db := asProducer(r)
	lua, err := os.ReadFile(script("push.lua"))
	if err != nil {
		t.Fatal(err)
	}
	push := func(user, data string) int { // there is no time to start a redis-cli
		n, err := db.Eval(t.Context(), string(lua), []string{userKey(user)}, data).Int()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var plain, waiting, moving []*client
	for i := range 4 {
		plain = append(plain, dial(t, leaving, fmt.Sprint("plain-", i)))
		waiting = append(waiting, dial(t, leaving, fmt.Sprint("waiting-", i), asks))
		moving = append(moving, dial(t, leaving, fmt.Sprint("moving-", i), asks))
	}
	left := time.Now()
	leaving.sigterm()
	for _, c := range moving {
		c.wantFrame("told", "goaway")
		if n := push(c.user, `1`); n != 1 {
			t.Errorf("%s: a push after goaway is addressed to %d", c.name, n)
		}
		c.wantMessage("after goaway", `1`)
		next := dial(t, stays, c.user, asks, withQuery("replaces", c.uuid))
		if n := push(c.user, `2`); n != 1 {
			t.Errorf("%s: a push after it has moved is addressed to %d", c.name, n)
		}
		next.wantMessage("on the other pod", `2`)
		c.leave()
	}
	for _, c := range waiting {
		f := c.wantText("told")
		if f.text != `{"type":"goaway","within_ms":3000}` {
			t.Errorf("%s: got %v", c.name, f)
		}
		messages, closed := c.wantClosed("3 s later", 1001, settle)
		if took := closed.at.Sub(f.at); len(messages) > 0 || took < 2500*time.Millisecond || retryMillis(t, closed.reason) > 1000 {
			t.Errorf("%s: closed after %v, %q, with %v before it", c.name, took, closed.reason, messages)
		}
	}
	for _, c := range plain {
		if messages, _ := c.wantClosed("who has not asked", 1001, settle); len(messages) > 0 {
			t.Errorf("%s: got %v", c.name, messages)
		}
	}
	leaving.wantExit("drained", 0, time.Until(left.Add(drain+6*time.Second)))
}

// With the times that are the defaults behind a balancer, and clients that answer nothing,
// announced or not, a pod is gone within the 30 s that Kubernetes gives it.
func TestFaultsADrainByDefaultFitsThirtySeconds(t *testing.T) {
	redistest.Faults(t)
	t.Parallel()
	p := startPod(t, startRedis(t), patient().with("shutdown.delay", "5s", "shutdown.drain", "15s"))
	for i := range 20 {
		dial(t, p, fmt.Sprint("plain-", i), mute())
		dial(t, p, fmt.Sprint("asks-", i), mute(), withQuery("goaway", "1"))
	}
	left := time.Now()
	p.sigterm()
	p.wantExit("drained", 0, 30*time.Second)
	t.Logf("gone after %v", time.Since(left).Round(10*time.Millisecond))
}
