//go:build linux

package main

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest bounds what is counted as a message's age.
const longest = 10 * time.Minute

// tally is what the clients have received since it was last reset. All methods
// may be called from any goroutine.
type tally struct {
	mu    sync.Mutex // protects what follows; the clients' loop takes it once a batch
	since int64      // messages published before (Unix ns) are an earlier load's
	kinds [kinds]*received
	other uint64 // frames without a stamp: welcome, receipts
}

// received is about the messages of one kind.
type received struct {
	n    uint64
	last int64                   // Unix ns of the last receipt; 0: there was none
	age  *hdrhistogram.Histogram // from PUBLISH to receipt, ns
}

func newTally() *tally {
	t := new(tally)
	t.reset()
	return t
}

// reset begins anew: only messages that are published from now on count. It
// returns what there was.
func (t *tally) reset() [kinds]*received {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.kinds
	t.since = time.Now().UnixNano()
	t.other = 0
	for k := range t.kinds {
		t.kinds[k] = &received{age: hdrhistogram.New(1, int64(longest), 3)}
	}
	return was
}

// add counts a frame that was received at now. The caller holds mu.
func (t *tally) add(frame []byte, now int64) {
	at, k := stamp(frame)
	if at == 0 {
		t.other++
	}
	if at < t.since {
		return
	}
	r := t.kinds[k]
	r.n++
	r.last = now
	// Clocks of two machines differ: an age below 0 is 0.
	_ = r.age.RecordValue(min(max(now-at, 0), int64(longest)))
}

// count returns how many messages of a kind have come.
func (t *tally) count(k kind) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kinds[k].n
}

// unstamped returns how many frames have come that are no messages.
func (t *tally) unstamped() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.other
}

// figures is what one load gave.
type figures struct {
	received
	expected uint64        // receipts
	unheard  int           // messages that Redis had no subscriber for
	took     time.Duration // from the first PUBLISH to the last receipt
	cpu      time.Duration // of the server; 0 where it is not known
	redisCPU time.Duration // 0 where it was not taken
}

// cpuEach is the server's CPU time for each receipt, in seconds.
func (f figures) cpuEach() float64 { return f.cpu.Seconds() / float64(max(f.n, 1)) }

// rate is receipts per second.
func (f figures) rate() float64 { return float64(f.n) / max(f.took.Seconds(), 1e-9) }

// ageAt is a percentile of the time from PUBLISH to receipt, in seconds.
func (f figures) ageAt(percentile float64) float64 {
	return time.Duration(f.age.ValueAtQuantile(percentile)).Seconds()
}
