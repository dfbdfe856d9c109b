// Package wheel is a timing wheel. It says when something is due for a slot,
// which is a number that its owner reuses: a connection's place in its loop.
//
// The wheel counts ticks. It is told the time and never asks for it. It follows
// the time that it is told, but after a stall (a stopped process, a machine
// that slept) it makes up for one second only: what was due meanwhile is
// late, and nobody is called dead because the process itself was away.
package wheel

import "time"

const (
	firstTick = 1   // so that 0 means "none"
	buckets   = 512 // a power of two: one round is 51 s at 100 ms
	maxStall  = time.Second
)

// Wheel is a timing wheel. It must be made by [New], and is not safe for
// concurrent use.
type Wheel struct {
	tick time.Duration
	now  uint32
	last time.Time // up to here ticks have been counted
	owed int       // ticks whose slots are not done yet, now among them
	most int       // ticks that one look at the time may add

	// The first nodes are the buckets, the others the slots. Each bucket is a
	// ring: the bucket itself, then the slots in it. A slot that is in no
	// bucket has no due.
	nodes []node
}

type node struct{ due, next, prev uint32 }

// New makes a wheel of that tick which begins now.
func New(tick time.Duration, now time.Time) *Wheel {
	w := &Wheel{tick: tick, now: firstTick, last: now, most: max(1, int(maxStall/tick)), nodes: make([]node, buckets)}
	for i := range w.nodes {
		w.nodes[i].next, w.nodes[i].prev = uint32(i), uint32(i)
	}
	return w
}

// Now returns the current tick: 1 at first, then one more for each tick until
// 2^32, which at 100 ms is 13 years.
func (w *Wheel) Now() uint32 { return w.now }

// Ticks returns d in ticks, rounded up.
func (w *Wheel) Ticks(d time.Duration) uint32 { return uint32((max(0, d) + w.tick - 1) / w.tick) }

// After returns the first tick at which d has gone by since the time now: nothing is
// due too early, also where the wheel lags behind.
func (w *Wheel) After(d time.Duration, now time.Time) uint32 {
	behind := max(0, min(now.Sub(w.last), maxStall))
	return w.now + uint32(max(0, w.owed-1)) + w.Ticks(max(0, d)+behind)
}

// Set makes a slot due at that tick, in place of what was set before. What is
// not later than now is due at the next tick. A due of 0 is the same as
// [Wheel.Remove].
func (w *Wheel) Set(slot, due uint32) {
	n := buckets + slot
	switch {
	case int(n) >= len(w.nodes) && due != 0:
		w.grow(int(n) + 1)
	case int(n) >= len(w.nodes) || w.nodes[n].due == due:
		return
	default:
		w.unlink(n)
	}
	if due != 0 {
		w.link(n, due)
	}
}

// Remove takes a slot out, if it is in: nothing is due for it.
func (w *Wheel) Remove(slot uint32) { w.Set(slot, 0) }

// Resume continues after a time in which nothing asked for the wheel: that time
// is not made up for.
func (w *Wheel) Resume(now time.Time) { w.last = now }

// Advance brings the wheel to the time now and calls due for each slot that is
// due, after taking it out. The callback may set and remove any slot, its own
// too, but must not call Advance. Advance looks at budget slots at most, which
// must be positive; more says that there may be others: call it again.
func (w *Wheel) Advance(now time.Time, budget int, due func(slot uint32)) (more bool) {
	if w.owed == 0 {
		n := now.Sub(w.last) / w.tick
		if n <= 0 {
			return false
		}
		w.last = w.last.Add(n * w.tick)
		w.owed = int(min(n, time.Duration(w.most)))
		w.now++
	}
	for {
		if budget = w.turn(budget, due); budget == 0 {
			return true
		}
		if w.owed--; w.owed == 0 {
			return false
		}
		w.now++
	}
}

// turn does what is due in the bucket of this tick, and returns what is left of
// the budget. Nothing is put into this bucket meanwhile: see link.
func (w *Wheel) turn(budget int, due func(slot uint32)) int {
	bucket := w.now % buckets
	for ; budget > 0 && w.nodes[bucket].next != bucket; budget-- {
		n := w.nodes[bucket].next
		at := w.nodes[n].due
		w.unlink(n)
		if at > w.now {
			w.link(n, at)
		} else {
			due(n - buckets)
		}
	}
	return budget
}

// link puts a node into the bucket of its due. What is later than a round goes
// where the round ends, and is put in again from there.
func (w *Wheel) link(n, due uint32) {
	at := max(due, w.now+1)
	if at-w.now >= buckets {
		at = w.now + buckets - 1
	}
	bucket := at % buckets
	next := w.nodes[bucket].next
	w.nodes[n] = node{due: due, next: next, prev: bucket}
	w.nodes[bucket].next, w.nodes[next].prev = n, n
}

// unlink takes a node out, if it is in.
func (w *Wheel) unlink(n uint32) {
	if at := w.nodes[n]; at.due != 0 {
		w.nodes[at.prev].next, w.nodes[at.next].prev = at.next, at.prev
		w.nodes[n].due = 0
	}
}

func (w *Wheel) grow(n int) {
	w.nodes = append(w.nodes, make([]node, n-len(w.nodes))...)
}
