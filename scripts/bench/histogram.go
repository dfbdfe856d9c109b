//go:build linux

package main

import (
	"math/bits"
	"time"
)

const (
	subBits = 7 // 128 steps for each power of two: at most 0.8 % off
	subs    = 1 << subBits
	octaves = 64 - subBits
)

// histogram counts durations in bounded memory. The zero value is empty. It is
// not safe for use by several goroutines.
type histogram struct {
	counts [(octaves + 1) * subs]uint32
	n      uint64
	max    int64 // ns
}

// slot is where v is counted. Values below subs have a slot each; above, the
// highest set bit chooses the octave and the next subBits bits the step.
func slot(v uint64) int {
	if v < subs {
		return int(v)
	}
	octave := bits.Len64(v) - subBits - 1
	return (octave+1)*subs + int(v>>octave) - subs
}

// middle is the value in the middle of a slot.
func middle(i int) int64 {
	if i < subs {
		return int64(i)
	}
	octave := i/subs - 1
	low := uint64(i%subs+subs) << octave
	return int64(low + (uint64(1)<<octave)/2)
}

// add counts one duration. A negative one counts as 0: clocks of two machines
// differ.
func (h *histogram) add(ns int64) {
	ns = max(ns, 0)
	h.counts[slot(uint64(ns))]++
	h.n++
	h.max = max(h.max, ns)
}

// quantile returns the duration that the fraction q of all, from 0 to 1, does
// not exceed; 0 where the histogram is empty.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := min(uint64(q*float64(h.n)), h.n-1)
	var seen uint64
	for i, c := range h.counts {
		seen += uint64(c)
		if seen > rank {
			return time.Duration(min(middle(i), h.max))
		}
	}
	return time.Duration(h.max)
}
