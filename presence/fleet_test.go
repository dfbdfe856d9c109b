package presence_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/presence"
	"pushpod/redisconn"
)

// A Redis that has been emptied knows of nobody at first: whoever is first back must not
// take itself for alone.
func TestThePodsThatThereAreAreRememberedWhereRedisForgetsThem(t *testing.T) {
	t.Parallel()
	const n, ttl = 3, 500 * time.Millisecond
	w := realWorld(t)
	var pods []*presence.Pods
	for i := range n {
		p := presence.NewPods(presence.PodsOptions{Redis: redisconn.Of(w.client(w.addr)), Keys: w.keys, Pod: fmt.Sprint("pod:", i), TTL: ttl, Log: zerolog.Nop()})
		if got := p.Fleet(); got != 1 {
			t.Errorf("before anything is known there are %d", got)
		}
		if err := p.Claim(t.Context()); err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	first := pods[0]
	beat := func() {
		t.Helper()
		if err := first.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	if got := first.Fleet(); got != n {
		t.Fatalf("%d pods, want %d", got, n)
	}
	w.admin.FlushAll(context.Background())
	seen := time.Now()
	beat()
	if got := first.Fleet(); got != n && time.Since(seen) < ttl {
		t.Errorf("%d pods once Redis was emptied, want %d still", got, n)
	}
	time.Sleep(ttl + 10*time.Millisecond)
	beat()
	if got := first.Fleet(); got != 1 {
		t.Errorf("%d pods after a TTL, want 1", got)
	}
}
