package auth

import (
	"sync/atomic"
	"time"
)

// hookResult is how a question has ended.
type hookResult uint8

const (
	hookAllowed hookResult = iota
	hookRefused
	hookFailed
	hookTimedOut
	hookOpen
	hookBusy
	hookResults
)

// hookBounds is how many bounds HookStats.Latency has: 1 ms, doubling, to 16.384 s.
const hookBounds = 15

// HookStats is what a hook has been asked. The counters only grow.
type HookStats struct {
	Allowed, Refused uint64
	Failed           uint64 // answers of no use, or none
	TimedOut         uint64
	Open             uint64 // not asked: the circuit is open
	Busy             uint64 // not asked: too many wait

	CircuitOpen bool // or being tried

	Latency    [hookBounds + 1]uint64 // of those that were asked, by bound; the last is beyond all
	LatencySum float64                // seconds
}

// LatencyBounds are the bounds of Latency, in seconds.
func (HookStats) LatencyBounds() []float64 {
	all := make([]float64, hookBounds)
	for i := range all {
		all[i] = hookBound(i).Seconds()
	}
	return all
}

func hookBound(i int) time.Duration { return time.Millisecond << i }

// hookCounters may be read from any goroutine.
type hookCounters struct {
	results [hookResults]atomic.Uint64
	latency [hookBounds + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
	open    atomic.Bool
}

func (c *hookCounters) count(r hookResult) { c.results[r].Add(1) }

// took observes how long a question took that was asked then.
func (c *hookCounters) took(began time.Time) {
	d := time.Since(began)
	i := 0
	for i < hookBounds && d > hookBound(i) {
		i++
	}
	c.latency[i].Add(1)
	c.sum.Add(int64(d))
}

// Stats may be called at any time, from anywhere.
func (c *hookCounters) Stats() HookStats {
	s := HookStats{
		Allowed:     c.results[hookAllowed].Load(),
		Refused:     c.results[hookRefused].Load(),
		Failed:      c.results[hookFailed].Load(),
		TimedOut:    c.results[hookTimedOut].Load(),
		Open:        c.results[hookOpen].Load(),
		Busy:        c.results[hookBusy].Load(),
		CircuitOpen: c.open.Load(),
		LatencySum:  time.Duration(c.sum.Load()).Seconds(),
	}
	for i := range s.Latency {
		s.Latency[i] = c.latency[i].Load()
	}
	return s
}
