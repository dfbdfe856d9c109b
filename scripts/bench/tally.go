//go:build linux

package main

import (
	"sync"
	"time"
)

// tally is what the clients have received since it was last reset. All methods
// may be called from any goroutine.
type tally struct {
	mu    sync.Mutex // protects what follows; the clients' loop takes it once a batch
	since int64      // messages published before are an earlier stage's
	kinds [kinds]received
	other uint64 // frames without a stamp: welcome, receipts
	late  uint64 // messages of an earlier stage
}

// received is about the messages of one kind.
type received struct {
	n     uint64
	first int64 // Unix ns of the first receipt and the last; 0: there was none
	last  int64
	age   histogram // from PUBLISH to receipt
}

// reset begins anew: only messages that are published from now on count.
func (t *tally) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = time.Now().UnixNano()
	t.kinds = [kinds]received{}
	t.other, t.late = 0, 0
}

// add counts a frame that was received at now. The caller holds mu.
func (t *tally) add(head []byte, now int64) {
	at, k := stamp(head)
	switch {
	case at == 0:
		t.other++
		return
	case at < t.since:
		t.late++
		return
	}
	r := &t.kinds[k]
	if r.n == 0 {
		r.first = now
	}
	r.n++
	r.last = now
	r.age.add(now - at)
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

// of returns a copy of what is known about a kind.
func (t *tally) of(k kind) received {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kinds[k]
}
