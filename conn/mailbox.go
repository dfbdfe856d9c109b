package conn

import (
	"sync"
	"sync/atomic"

	"pushpod/conn/internal/sendq"
)

// batch is messages for connections of one loop, in order.
type batch struct {
	items []item
	texts []byte // of those that are plain, one behind the other
	bytes int    // of all of them
}

// item is a message in a batch: a frame for c, or for everyone where there is no
// c; or, without a frame, a plain text for c, which ends at the byte end of texts.
type item struct {
	c   *Conn
	f   *sendq.Frame
	at  int64
	end int
}

func (b *batch) add(i item, size int) {
	i.end = len(b.texts)
	b.items = append(b.items, i)
	b.bytes += size
}

// reset empties b, and keeps its room.
func (b *batch) reset() {
	clear(b.items)
	b.items, b.texts, b.bytes = b.items[:0], b.texts[:0], 0
}

// queueItems queues the items from number from on: most of them at most. It
// returns the number of the first that is left.
func (l *Loop) queueItems(b *batch, from, most int) int {
	start := 0
	if from > 0 {
		start = b.items[from-1].end
	}
	to := min(len(b.items), from+most)
	for i := from; i < to; i++ {
		x := &b.items[i]
		switch {
		case x.f == nil:
			x.c.sendPlain(b.texts[start:x.end], x.at)
			x.c.markDirty()
		case x.c != nil:
			x.c.send(x.f)
			x.c.markDirty()
		default:
			l.everyone.append(x.f)
		}
		start = x.end
	}
	return to
}

// mailbox takes batches to a loop that is at work on another core: the Deliverer
// must not wait while a loop is locked for a slice of a fan-out.
type mailbox struct {
	waiting atomic.Int32 // batches in it, and the one that the worker has in hand
	busy    atomic.Bool  // the loop's worker is at work

	mu      sync.Mutex // protects following; held for an append or a swap
	batches []batch    // in order
	free    []batch    // room for others
}

// freeBatches are kept for the next ones.
const freeBatches = 4

// put takes b, and leaves room for another one in its place.
func (m *mailbox) put(b *batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting.Add(1)
	m.batches = append(m.batches, *b)
	*b = batch{}
	if n := len(m.free); n > 0 {
		*b, m.free = m.free[n-1], m.free[:n-1]
	}
}

// take returns the oldest batch; false: there is none.
func (m *mailbox) take() (b batch, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.batches) == 0 {
		return b, false
	}
	b = m.batches[0]
	n := copy(m.batches, m.batches[1:])
	m.batches[n] = batch{}
	m.batches = m.batches[:n]
	return b, true
}

// done takes back a batch all of which is queued.
func (m *mailbox) done(b batch) {
	b.reset()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting.Add(-1)
	if len(m.free) < freeBatches {
		m.free = append(m.free, b)
	}
}

// trim gives up room that is not in use.
func (m *mailbox) trim() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.batches) == 0 {
		clear(m.free)
		m.free = m.free[:0]
	}
}

// work brings out what the Deliverer leaves to the loop's worker, until the
// server is closed.
func (l *Loop) work() {
	for {
		select {
		case <-l.wake:
		case <-l.srv.closing:
			return
		}
		l.box.busy.Store(true)
		for more := true; more; l.life.rounds.Add(1) {
			more = l.sweep(sliceWrites)
		}
		l.box.busy.Store(false)
		// What was put in since the last look may have been left to us.
		if l.box.waiting.Load() > 0 {
			l.wakeWorker()
		}
	}
}

func (l *Loop) wakeWorker() {
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

const (
	sliceWrites = 64  // writes while a loop's lock is held in one go
	sliceQueued = 512 // messages that are queued in one such go
)

// sweep queues what is in the mailbox, and writes to connections: budget of them
// at most. more says that some are left.
func (l *Loop) sweep(budget int) (more bool) {
	l.lock()
	defer l.unlock()
	left := l.collect()
	// Pushes without end do not hold a broadcast up.
	l.sweepLog(max(l.flushDirty(budget), budget/4))
	return left || !l.swept()
}

// collect queues messages of the mailbox, and reports whether some are left.
func (l *Loop) collect() (left bool) {
	for most := sliceQueued; most > 0; {
		if l.queued == len(l.queuing.items) {
			if l.queued > 0 {
				l.box.done(l.queuing)
				l.queuing, l.queued = batch{}, 0
			}
			var ok bool
			if l.queuing, ok = l.box.take(); !ok {
				return false
			}
			l.taken += int64(l.queuing.bytes)
		}
		from := l.queued
		l.queued = l.queueItems(&l.queuing, from, most)
		most -= l.queued - from
	}
	return true
}

// swept reports whether nothing is left for a sweep.
func (l *Loop) swept() bool {
	if l.dirtyAt < len(l.dirty) || l.everyone.base != l.everyone.end {
		return false
	}
	l.srv.behind.Add(-l.taken)
	l.taken = 0
	return true
}
