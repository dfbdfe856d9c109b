//go:build linux

package main

import "time"

// plan is how long and how hard each stage works. Where messages are large,
// rates are lowered to what loopback and one core can carry, and the table
// says which rate it was.
type plan struct {
	phase      time.Duration // each paced stretch of load
	limitPhase time.Duration // the same, for a limit
	settle     time.Duration // until memory is looked at again
	idle       time.Duration

	broadcasts    int     // at once
	broadcastRate float64 // paced, 1/s
	rates         []rate  // of single pushes
	flat          int     // single pushes, flat out
}

// rate is how fast single pushes are published.
type rate struct {
	nominal int     // what it is called
	actual  float64 // 1/s
}

const (
	broadcastsAtOnce = 100
	broadcastPace    = 6.0
	flatPushes       = 300_000
	fairnessRate     = 2000

	envelopeBytes  = 40      // around the data
	queueShare     = 192_000 // bytes for each connection at once: less than conn.queue_bytes
	flatBytes      = 200e6   // in one flat run, to single users
	fanOutBytes    = 4e9     // in one flat run, to all
	fanOutBytesPer = 200e6   // bytes/s, paced to all
	singleBytesPer = 100e6   // bytes/s, paced to single users
)

// nominalRates are the rates of single pushes.
func nominalRates() []int { return []int{200, 2000, 10_000} }

func newPlan(o options) plan {
	p := plan{phase: 10 * time.Second, limitPhase: 5 * time.Second, settle: 5 * time.Second, idle: 30 * time.Second, flat: flatPushes}
	if o.quick {
		p = plan{phase: 500 * time.Millisecond, limitPhase: 300 * time.Millisecond, settle: 300 * time.Millisecond, idle: time.Second, flat: flatPushes / 20}
	}
	each := float64(max(o.size, minSize) + envelopeBytes)
	all := each * float64(o.connections)
	p.broadcasts = int(max(1, min(broadcastsAtOnce, queueShare/each, fanOutBytes/all)))
	p.broadcastRate = min(broadcastPace, fanOutBytesPer/all)
	p.flat = int(max(1, min(float64(p.flat), flatBytes/each)))
	for _, n := range nominalRates() {
		r := rate{n, min(float64(n), singleBytesPer/each)}
		if len(p.rates) == 0 || p.rates[len(p.rates)-1].actual < r.actual {
			p.rates = append(p.rates, r)
		}
	}
	return p
}

// count is how many messages a stretch of load takes; at least 2, so that a
// rate means something.
func count(rate float64, d time.Duration) int {
	return max(2, int(rate*d.Seconds()))
}
