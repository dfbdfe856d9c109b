package presence

import (
	"slices"
	"testing"
	"time"
)

func TestOptionsThatAreNotGivenHaveTheirDefaults(t *testing.T) {
	o := Options{}.withDefaults()
	if o.TTL != 90*time.Second || o.Renew != 30*time.Second || o.Lease != 10*time.Second || o.Timeout != 3*time.Second ||
		o.Batch != 512 || o.Pace != 4*time.Millisecond || o.Backlog != 100_000 {
		t.Errorf("a store's: %+v", o)
	}
	given := Options{TTL: 1, Renew: 2, Lease: 3, Timeout: 4, Batch: 9, Pace: -1, Backlog: 6}
	if o := given.withDefaults(); o.TTL != 1 || o.Renew != 2 || o.Lease != 3 || o.Timeout != 4 || o.Batch != 9 || o.Pace != -1 || o.Backlog != 6 {
		t.Errorf("what is given: %+v", o)
	}
	if o := (Options{Batch: 1}).withDefaults(); o.Batch < 4 {
		t.Errorf("a batch of %d has no room for each kind of operation", o.Batch)
	}
	p := NewPods(PodsOptions{}).opt
	if p.Heartbeat != 3*time.Second || p.Lease != 10*time.Second || p.TTL != 90*time.Second || p.Timeout != 3*time.Second || p.Now == nil {
		t.Errorf("those of pods: %+v", p)
	}
}

func TestLatenciesAreCountedByTheirBounds(t *testing.T) {
	s := &Store{&shared{}}
	for _, took := range []time.Duration{100 * time.Microsecond, 101 * time.Microsecond, 204800 * time.Microsecond, time.Second} {
		s.count.batch(3, 7, took)
	}
	stats := s.Stats()
	h := stats.Latency
	if len(h.Bounds) != 12 || h.Bounds[0] != 0.0001 || h.Bounds[1] != 0.0002 || h.Bounds[11] != 0.2048 {
		t.Errorf("bounds: %v", h.Bounds)
	}
	if want := []uint64{1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3}; !slices.Equal(h.Counts, want) || h.Count != 4 {
		t.Errorf("counts: %v of %d, want %v of 4", h.Counts, h.Count, want)
	}
	if h.Sum < 1.2 || h.Sum > 1.21 {
		t.Errorf("sum: %v s", h.Sum)
	}
	if stats.Batches != 4 || stats.Entries != 12 || stats.Commands != 28 || stats.LastBatch != 3 {
		t.Errorf("%+v", stats)
	}
}

func TestWhatWaitsIsCounted(t *testing.T) {
	n := testNode(t, Options{})
	s := &Store{n.shared}
	n.q.renew(Entry{User: "alice", UUID: NewUUID(1)}, 0)
	n.q.chore("bob", nil, false)
	if n := s.Stats().Waiting; n != 2 {
		t.Errorf("%d operations wait, want 2", n)
	}
}
