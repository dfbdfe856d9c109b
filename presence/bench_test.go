package presence_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// benchStore returns a running store over a loopback Redis.
func benchStore(b *testing.B) *presence.Store {
	server := redistest.Start(b)
	client := redisconn.NewClient(redisconn.Options{Addresses: []string{server.Addr()}, NoRetry: true})
	b.Cleanup(func() { _ = client.Close() })
	keys := presence.NewKeys("push:")
	pods := presence.NewPods(presence.PodsOptions{Redis: redisconn.Of(client), Keys: keys, Pod: "127.0.0.1:1", Log: zerolog.Nop()})
	if err := pods.Claim(b.Context()); err != nil {
		b.Fatal(err)
	}
	store := presence.NewStore(presence.Options{Redis: redisconn.Of(client), Keys: keys, Pod: "127.0.0.1:1",
		Pods: pods, Limit: presence.Limit{PerUser: 100}, Log: zerolog.Nop()})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = store.Run(ctx) })
	b.Cleanup(func() { cancel(); running.Wait() })
	return store
}

func benchEntries(n int) []presence.Entry {
	entries := make([]presence.Entry, n)
	for i := range entries {
		u := presence.NewUUID(int64(i) + 1<<40)
		entries[i] = presence.Entry{User: "user-" + presence.FormatUUID(u)[24:], UUID: u}
	}
	return entries
}

// report prints what a store did for each entry.
func report(b *testing.B, before, after presence.Stats) {
	n := float64(after.Entries - before.Entries)
	b.ReportMetric(float64(after.Commands-before.Commands)/n, "commands/entry")
	b.ReportMetric(n/float64(after.Batches-before.Batches), "entries/batch")
}

// BenchmarkRegister registers and unregisters connections as fast as 512 at a
// time can be: an operation is one of each.
func BenchmarkRegister(b *testing.B) {
	store := benchStore(b)
	entries := benchEntries(4096)
	slots := make(chan struct{}, 512)
	b.ReportAllocs()
	before := store.Stats()
	b.ResetTimer()
	registered := func(r presence.Registered) {
		if r.Err != nil {
			b.Error(r.Err)
		}
		<-slots
	}
	for i := range b.N {
		slots <- struct{}{}
		e := entries[i%len(entries)]
		store.Register(e, registered)
		if i >= 2048 {
			store.Unregister(entries[(i-2048)%len(entries)], nil)
		}
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
	b.StopTimer()
	report(b, before, store.Stats())
}

// BenchmarkRenew renews connections as fast as the store takes them.
func BenchmarkRenew(b *testing.B) {
	store := benchStore(b)
	entries := benchEntries(4096)
	b.ReportAllocs()
	before := store.Stats()
	b.ResetTimer()
	for i := 0; i < b.N; i += 512 {
		for j := range 512 {
			store.Renew(entries[(i+j)%len(entries)])
		}
		for store.Stats().Waiting > 1024 {
			time.Sleep(time.Millisecond)
		}
	}
	for store.Stats().Renewed-before.Renewed < uint64(b.N)/512*512 {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	report(b, before, store.Stats())
}

func BenchmarkUUID(b *testing.B) {
	pods := presence.NewPods(presence.PodsOptions{})
	b.ReportAllocs()
	for b.Loop() {
		_ = pods.NewUUID()
	}
}
