package presence

import (
	"sync/atomic"
	"time"
)

// Stats counts what a Store has done. The counters only grow.
type Stats struct {
	Registered   uint64 // entries written for a new connection
	Rejected     uint64 // registrations beyond Options.PerUser
	Refused      uint64 // registrations against which a key in Redis spoke
	Replaced     uint64 // entries whose place one for a new connection has taken
	Renewed      uint64
	Restored     uint64 // entries that a renewal found missing
	Unregistered uint64
	Stale        uint64 // fields of dead pods, and of connections not held, removed
	Dropped      uint64 // operations given up because too many waited
	Errors       uint64 // commands refused, and batches that failed on the way
	Batches      uint64 // round trips with entries
	Entries      uint64 // operations on entries in them
	Commands     uint64 // commands in them

	Waiting   int       // operations that wait for the next batch
	LastBatch int       // entries in the last batch
	Latency   Histogram // round trips with entries

	PerFieldExpiry bool // the server expires each field; else the whole hash
}

// Histogram is a latency histogram: Counts[i] observations took Bounds[i]
// seconds or less.
type Histogram struct {
	Bounds []float64 // seconds
	Counts []uint64  // cumulative
	Count  uint64    // all observations
	Sum    float64   // seconds
}

const latencyBounds = 12

// latencyBound returns the i-th bound: 100 µs, doubling, to 0.2 s.
func latencyBound(i int) time.Duration { return 100 * time.Microsecond << i }

// counters may be read from any goroutine.
type counters struct {
	registered, rejected, refused atomic.Uint64
	replaced                      atomic.Uint64
	renewed, restored             atomic.Uint64
	unregistered                  atomic.Uint64
	stale, errors                 atomic.Uint64
	batches, entries, commands    atomic.Uint64
	lastBatch                     atomic.Int64
	latency                       [latencyBounds + 1]atomic.Uint64 // not cumulative
	latencySum                    atomic.Int64                     // nanoseconds
	perField                      atomic.Bool
}

func (c *counters) batch(entries, commands int, took time.Duration) {
	c.batches.Add(1)
	c.entries.Add(uint64(entries))
	c.commands.Add(uint64(commands))
	c.lastBatch.Store(int64(entries))
	i := 0
	for i < latencyBounds && took > latencyBound(i) {
		i++
	}
	c.latency[i].Add(1)
	c.latencySum.Add(int64(took))
}

// Stats returns what has been counted so far.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	dropped, waiting := s.routes.dropped, 0
	for _, n := range s.routes.of {
		dropped += n.q.dropped
		waiting += len(n.q.waiting) + len(n.q.examined)
	}
	s.mu.Unlock()
	c := &s.count
	stats := Stats{
		Registered: c.registered.Load(), Rejected: c.rejected.Load(), Refused: c.refused.Load(),
		Replaced: c.replaced.Load(),
		Renewed:  c.renewed.Load(), Restored: c.restored.Load(), Unregistered: c.unregistered.Load(),
		Stale: c.stale.Load(), Dropped: dropped, Errors: c.errors.Load(),
		Batches: c.batches.Load(), Entries: c.entries.Load(), Commands: c.commands.Load(),
		Waiting: waiting, LastBatch: int(c.lastBatch.Load()),
		PerFieldExpiry: c.perField.Load(),
	}
	h := &stats.Latency
	for i := range c.latency {
		h.Count += c.latency[i].Load()
		if i < latencyBounds {
			h.Bounds = append(h.Bounds, latencyBound(i).Seconds())
			h.Counts = append(h.Counts, h.Count)
		}
	}
	h.Sum = time.Duration(c.latencySum.Load()).Seconds()
	return stats
}
