package conn

import "time"

const (
	tick           = 100 * time.Millisecond
	ticksPerSecond = 10
	wheelSlots     = 512 // 51 s; what is due later passes by and is put in again
	wheelNone      = ^uint32(0)
	maxCatchUp     = 10 // ticks for which a turn may make up
	sliceDue       = 64 // connections for which a loop's lock is held in one go
	wheelMask      = wheelSlots - 1
	firstTick      = 1 // so that 0 can mean "none"
	renewJitter    = 10
	maxAgeJitter   = 10
)

// wheel is a timing wheel over a loop's connections: each is in one bucket, by
// the first thing that is due for it, linked through its slots.
//
// Its time is the loop's own: it advances with the monotonic clock, but after
// a stall (a stopped process, a machine that slept) it makes up for one second
// only. So nobody is called dead because the pod itself was away.
type wheel struct {
	now     uint32
	last    time.Time // when now was last advanced
	owed    int       // ticks that are not done yet, now among them
	buckets [wheelSlots]uint32
}

func (w *wheel) init() {
	w.now = firstTick
	for i := range w.buckets {
		w.buckets[i] = wheelNone
	}
	w.resume()
}

// resume starts the clock after a time in which it was not needed.
func (w *wheel) resume() { w.last = time.Now() }

// insert puts c where it belongs by c.due, which is 0 for nothing.
func (w *wheel) insert(l *Loop, c *Conn) {
	at := c.due
	if at <= w.now {
		at = w.now + 1
	}
	if at-w.now >= wheelSlots {
		at = w.now + wheelSlots - 1
	}
	b := &w.buckets[at&wheelMask]
	c.wheelPrev, c.wheelNext = at&wheelMask, *b
	c.set(flagInWheel)
	if *b != wheelNone {
		l.slots[*b].wheelPrev = wheelSlots + c.slot
	}
	*b = c.slot
}

// remove takes c out, if it is in. wheelPrev below wheelSlots names a bucket.
func (w *wheel) remove(l *Loop, c *Conn) {
	if !c.has(flagInWheel) {
		return
	}
	c.clear(flagInWheel)
	if c.wheelPrev < wheelSlots {
		w.buckets[c.wheelPrev] = c.wheelNext
	} else {
		l.slots[c.wheelPrev-wheelSlots].wheelNext = c.wheelNext
	}
	if c.wheelNext != wheelNone {
		l.slots[c.wheelNext].wheelPrev = c.wheelPrev
	}
}

// advance does what is due, for so many connections at most; more: there are others.
func (w *wheel) advance(l *Loop, budget int, due func(*Conn)) (more bool) {
	if w.owed == 0 {
		t := time.Now()
		n := int(t.Sub(w.last) / tick)
		if n <= 0 {
			return false
		}
		w.last = w.last.Add(time.Duration(n) * tick)
		w.owed = min(n, maxCatchUp)
		w.now++
	}
	for {
		if budget = w.turn(l, budget, due); budget == 0 {
			return true
		}
		if w.owed--; w.owed == 0 {
			return false
		}
		w.now++
	}
}

// turn does what is due in the bucket of this tick, and returns what is left of the
// budget. A due connection may end, and with it others; none is put into this bucket
// meanwhile.
func (w *wheel) turn(l *Loop, budget int, due func(*Conn)) int {
	b := &w.buckets[w.now&wheelMask]
	for ; budget > 0 && *b != wheelNone; budget-- {
		c := l.slots[*b]
		w.remove(l, c)
		if c.due <= w.now {
			due(c)
		}
		if c.state != stateClosed && !c.has(flagInWheel) && c.due != 0 {
			w.insert(l, c)
		}
	}
	return budget
}

// schedule finds out what is due first for c, and moves it there.
func (c *Conn) schedule() {
	due := c.pingAt
	for _, at := range [...]uint32{c.renewAt, c.endAt} {
		if at != 0 && (due == 0 || at < due) {
			due = at
		}
	}
	w := &c.loop.wheel
	if c.due == due && c.has(flagInWheel) {
		return
	}
	w.remove(c.loop, c)
	c.due = due
	if due != 0 {
		w.insert(c.loop, c)
	}
}
