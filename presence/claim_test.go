package presence

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// refusingPods has a Redis that refuses this command, of all of its kind, and those behind it.
func refusingPods(t *testing.T, command string, from int64) *Pods {
	t.Helper()
	m := miniredis.RunT(t)
	var asked atomic.Int64
	m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd != command || asked.Add(1) < from {
			return false
		}
		c.WriteError("OOM command not allowed")
		return true
	})
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{m.Addr()}, NoRetry: true})
	t.Cleanup(func() { _ = c.Close() })
	return NewPods(PodsOptions{Redis: redisconn.Of(c), Keys: NewKeys("push:"), Pod: "a:1"})
}

// Another process may write the same milliseconds: it must not be taken for this one.
func TestAScoreThatRedisRefusedIsNotOnesOwn(t *testing.T) {
	p := refusingPods(t, "ZADD", 1)
	watch := claim{lease: time.Hour, maxGap: time.Hour}
	watch.write(5)
	if done, err := p.claimOnce(t.Context(), &watch); done || err == nil {
		t.Fatalf("claimed: %v, %v", done, err)
	}
	if len(watch.mine) != 1 || watch.mine[0] != 5 {
		t.Errorf("taken for one's own: %v, want 5 alone", watch.mine)
	}
}

// The score of the claim stands: entries may rest on it before the first heartbeat has succeeded.
func TestAPodIsClaimedThoughItsFirstHeartbeatFails(t *testing.T) {
	p := refusingPods(t, "ZADD", 2)
	if err := p.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, ok := p.ownScore(); !ok || text == "0" || p.score != float64(p.Started()) {
		t.Errorf("own score %q, started %d", text, p.Started())
	}
}

func TestAClaimThatCannotReadItsScoreSaysSo(t *testing.T) {
	p := refusingPods(t, "ZSCORE", 1)
	if done, err := p.claimOnce(t.Context(), &claim{lease: time.Hour}); done || !redis.HasErrorPrefix(err, "OOM") {
		t.Errorf("claimed: %v, %v", done, err)
	}
}
