package presence_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// BenchmarkHeartbeats has many pods on one Redis beat in turn, an operation being one
// heartbeat of each, until each has also read all pods once. percent-of-core is what Redis
// needs for them at the default of one heartbeat each 3 s; the more loaded Redis
// is otherwise, the less it is, since reads of several pods then come together.
func BenchmarkHeartbeats(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint("pods=", n), func(b *testing.B) { benchHeartbeats(b, n) })
	}
}

func benchHeartbeats(b *testing.B, n int) {
	const heartbeat, surveyEvery = 3 * time.Second, 4
	server := redistest.Start(b)
	client := redisconn.NewClient(redisconn.Options{Addresses: []string{server.Addr()}})
	b.Cleanup(func() { _ = client.Close() })
	pods := make([]*presence.Pods, n)
	each := func(do func(context.Context, *presence.Pods) error) {
		b.Helper()
		var next, failed atomic.Int64
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					if err := do(b.Context(), pods[i]); err != nil {
						failed.Add(1)
					}
				}
			})
		}
		running.Wait()
		if failed.Load() > 0 {
			b.Fatalf("%d of %d pods failed", failed.Load(), n)
		}
	}
	shared := redisconn.Of(client)
	for i := range pods {
		pods[i] = presence.NewPods(presence.PodsOptions{
			Redis: shared, Keys: presence.NewKeys("push:"), Pod: fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256), Version: "v1.2.3", Log: zerolog.Nop(),
		})
	}
	each(func(ctx context.Context, p *presence.Pods) error { return p.Claim(ctx) })
	each(func(ctx context.Context, p *presence.Pods) error { return p.Beat(ctx) }) // each knows all
	rounds := max(1, n/surveyEvery)
	var used time.Duration
	for b.Loop() {
		before := server.CPU()
		for range rounds {
			each(func(ctx context.Context, p *presence.Pods) error { return p.Beat(ctx) })
		}
		used += server.CPU() - before
	}
	beats := float64(b.N * rounds * n)
	perBeat := used.Seconds() / beats
	b.ReportMetric(perBeat*1e6, "µs-of-Redis/beat")
	b.ReportMetric(100*perBeat*float64(n)/heartbeat.Seconds(), "percent-of-core")
	if s := pods[0].Stats(); s.Alive != n {
		b.Errorf("a pod sees %d of %d pods", s.Alive, n)
	}
}
