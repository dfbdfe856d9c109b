package presence

import (
	"fmt"
	"time"
)

// operation is what is to be done with an entry.
type operation uint8

const (
	superseded operation = iota // by a later operation while it waited
	registering
	checking // only asks what would speak against a registration; writes nothing
	renewing
	unregistering
)

// item is one operation on one entry. While it waits, it is in queue.waiting
// under its UUID, and no second one is: so operations of one UUID never overtake
// each other, and little piles up while Redis is away. One that only
// checks is not in it.
type item struct {
	entry   Entry
	op      operation
	sent    bool          // Redis may have it from an earlier attempt
	whole   bool          // a renewal that must write the entry, not only touch it
	repeat  bool          // an unregistration that was done before, repeated because of link.doubt
	cleanup bool          // an unregistration that the store itself makes
	at      string        // of a registration: the channel of the pod whose entry it replaces; "": not known yet
	unheard bool          // that pod has not heard of it
	queued  time.Duration // since the store's epoch

	// Of a registration; may be nil. An unregistration has it where it undoes a
	// registration that is refused, and its caller is still to be told why.
	registered func(Registered)
	why        error

	removed func(error) // of an unregistration; may be nil
	checked func(error) // of a check
	joins   bool        // of a check: its entry would be one more
}

// outcome is a callback that waits to be called by the store's goroutine.
type outcome struct {
	registered func(Registered)
	result     Registered
	removed    func(error)
	checked    func(error)
	err        error

	refused func(Entry, *Refused) // of an entry that stands
	entry   Entry
	by      *Refused
}

func (o outcome) call() {
	if o.checked != nil {
		o.checked(o.err)
	}
	if o.refused != nil {
		o.refused(o.entry, o.by)
	}
	if o.registered != nil {
		o.registered(o.result)
	}
	if o.removed != nil {
		o.removed(o.err)
	}
}

// queue holds what waits for the next batch. Its owner guards it.
type queue struct {
	backlog int // bound on renewals, on unregistrations, and on users to examine

	// What is in flight at another node than its slot is at now. It is passed over until it
	// is not; parked is what has been.
	held   *map[UUID]*node
	parked []*item

	waiting map[UUID]*item
	joining fifo[*item] // registrations and checks
	staying fifo[*item] // renewals
	leaving fifo[*item] // unregistrations
	renewal int         // live items in staying
	removal int         // live items in leaving
	free    []*item

	examined map[string]*exam
	exams    fifo[*exam] // those that a registration waits for
	chores   fifo[*exam] // heals and sweeps

	outcomes []outcome
	closed   bool

	dropped uint64 // operations given up because too many waited
}

func newQueue(backlog int, held *map[UUID]*node) queue {
	return queue{
		backlog:  backlog,
		held:     held,
		waiting:  make(map[UUID]*item),
		examined: make(map[string]*exam),
	}
}

func (q *queue) item(e Entry, op operation, now time.Duration) *item {
	var it *item
	if n := len(q.free); n > 0 {
		it, q.free = q.free[n-1], q.free[:n-1]
	} else {
		it = new(item)
	}
	it.entry, it.op, it.queued = e, op, now
	return it
}

const freeItems = 1024

// checkedAs ends a check.
func (q *queue) checkedAs(it *item, err error) {
	q.outcomes = append(q.outcomes, outcome{checked: it.checked, err: err})
	q.recycle(it)
}

func (q *queue) recycle(it *item) {
	if len(q.free) < freeItems {
		*it = item{}
		q.free = append(q.free, it)
	}
}

// tellRejected tells the caller of a registration that is being undone.
func (q *queue) tellRejected(it *item) {
	if it.op == unregistering && it.registered != nil {
		q.outcomes = append(q.outcomes, outcome{registered: it.registered, result: Registered{Err: it.why}})
		it.registered = nil
	}
}

// removed ends an unregistration that does not wait any more.
func (q *queue) removed(it *item, err error) {
	q.tellRejected(it)
	if it.removed != nil {
		q.outcomes = append(q.outcomes, outcome{removed: it.removed, err: err})
	}
	q.recycle(it)
}

func (q *queue) register(e Entry, done func(Registered), now time.Duration) {
	sent := false
	if old := q.waiting[e.UUID]; old != nil {
		q.replace(old)
		if old.op == registering && old.registered != nil { // asked twice: both hear of it
			first, second := old.registered, done
			done = func(r Registered) { first(r); outcome{registered: second, result: r}.call() }
		} else if old.op == unregistering {
			q.tellRejected(old)
			q.outcomes = append(q.outcomes, outcome{removed: old.removed})
		}
		sent, old.op = old.sent, superseded
	}
	it := q.item(e, registering, now)
	it.registered, it.sent = done, sent
	q.waiting[e.UUID] = it
	q.joining.push(it)
}

func (q *queue) check(e Entry, joins bool, done func(error), now time.Duration) {
	it := q.item(e, checking, now)
	it.checked, it.joins = done, joins
	q.joining.push(it)
}

func (q *queue) renew(e Entry, now time.Duration) {
	if q.waiting[e.UUID] != nil {
		return // it will be written, renewed or removed anyway
	}
	if q.renewal >= q.backlog {
		q.dropped++
		return
	}
	q.putRenewal(q.item(e, renewing, now))
}

func (q *queue) putRenewal(it *item) {
	q.waiting[it.entry.UUID] = it
	q.staying.push(it)
	q.renewal++
}

func (q *queue) unregister(e Entry, done func(error), now time.Duration) {
	if old := q.waiting[e.UUID]; old != nil {
		if old.op == unregistering {
			old.removed = both(old.removed, done)
			return
		}
		q.replace(old)
		never := old.op == registering && !old.sent
		if old.registered != nil {
			err := fmt.Errorf("%w: %w", ErrUnavailable, ErrUnregistered)
			q.outcomes = append(q.outcomes, outcome{registered: old.registered, result: Registered{Err: err}})
		}
		old.op = superseded
		if never { // Redis never had it
			q.outcomes = append(q.outcomes, outcome{removed: done})
			return
		}
	}
	it := q.item(e, unregistering, now)
	it.removed = done
	q.putRemoval(it)
}

func (q *queue) putRemoval(it *item) {
	for q.removal >= q.backlog {
		oldest := q.leaving.pop()
		if oldest.op == unregistering {
			q.replace(oldest)
			q.dropped++
			q.removed(oldest, ErrBacklog)
			continue
		}
		q.recycle(oldest)
	}
	q.waiting[it.entry.UUID] = it
	q.leaving.push(it)
	q.removal++
}

// replace takes an item out of waiting and the counts. In its fifo it stays: the
// caller takes it out of there, or marks it as superseded.
func (q *queue) replace(it *item) {
	if it.op == checking {
		return
	}
	delete(q.waiting, it.entry.UUID)
	switch it.op {
	case renewing:
		q.renewal--
	case unregistering:
		q.removal--
	}
}

func both(first, second func(error)) func(error) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(err error) { first(err); second(err) }
}

// again puts back an item that a batch could not finish, unless a later operation
// on its UUID waits. It reports whether the item waits now.
func (q *queue) again(it *item) bool {
	if it.op == checking {
		q.joining.pushFront(it)
		return true
	}
	if later := q.waiting[it.entry.UUID]; later != nil {
		if it.op == unregistering && later.op == unregistering {
			later.removed = both(it.removed, later.removed)
			it.removed = nil
		}
		return false
	}
	switch it.op {
	case registering:
		q.waiting[it.entry.UUID] = it
		q.joining.pushFront(it)
	case renewing:
		q.putRenewal(it)
	case unregistering:
		q.putRemoval(it)
	}
	return true
}

// take moves up to n waiting items to batch. Registrations come first, since a
// handshake waits for each, but leave room for the others. Unregistrations are
// left out where leaving is false.
func (q *queue) take(batch []*item, n int, leaving bool) []*item {
	full := len(batch) + n
	batch = q.pull(batch, len(batch)+n/2, &q.joining)
	if leaving {
		batch = q.pull(batch, len(batch)+n/4, &q.leaving)
	}
	batch = q.pull(batch, full, &q.staying)
	batch = q.pull(batch, full, &q.joining)
	if leaving {
		batch = q.pull(batch, full, &q.leaving)
	}
	return batch
}

func (q *queue) pull(batch []*item, full int, from *fifo[*item]) []*item {
	for len(batch) < full && from.len() > 0 {
		it := from.pop()
		if it.op == superseded {
			q.recycle(it)
			continue
		}
		if len(*q.held) > 0 && it.op != checking && (*q.held)[it.entry.UUID] != nil {
			q.parked = append(q.parked, it)
			continue
		}
		q.replace(it)
		batch = append(batch, it)
	}
	return batch
}

// oldestJoining returns when the registration that has waited longest was
// queued.
func (q *queue) oldestJoining() (queued time.Duration, ok bool) {
	for q.joining.len() > 0 {
		it := q.joining.front()
		if it.op != superseded {
			return it.queued, true
		}
		q.recycle(q.joining.pop())
	}
	return 0, false
}

// failJoining gives up all waiting registrations that were queued before.
// Those that Redis may have are unregistered.
func (q *queue) failJoining(before time.Duration, err error) {
	var kept []*item
	for q.joining.len() > 0 {
		it := q.joining.pop()
		switch {
		case it.op == superseded:
			q.recycle(it)
		case it.queued > before:
			kept = append(kept, it)
		default:
			q.replace(it)
			q.giveUp(it, err)
		}
	}
	for _, it := range kept {
		q.joining.push(it)
	}
}

// giveUp ends a registration or a check that does not wait any more. An entry that
// Redis may have is removed.
func (q *queue) giveUp(it *item, err error) {
	q.outcomes = append(q.outcomes, outcome{registered: it.registered, result: Registered{Err: err}, checked: it.checked, err: err})
	if it.sent && q.waiting[it.entry.UUID] == nil {
		it.op, it.registered, it.removed, it.cleanup = unregistering, nil, nil, true
		q.putRemoval(it)
		return
	}
	q.recycle(it)
}

// dropStaying gives up all waiting renewals: the next period brings them again.
func (q *queue) dropStaying() {
	for q.staying.len() > 0 {
		it := q.staying.pop()
		if it.op != superseded {
			q.replace(it)
		}
		q.recycle(it)
	}
}

// close gives up everything, with err.
func (q *queue) close(err error) {
	q.closed = true
	q.unpark()
	q.failJoining(1<<63-1, fmt.Errorf("%w: %w", ErrUnavailable, err))
	q.dropStaying()
	for q.leaving.len() > 0 {
		it := q.leaving.pop()
		if it.op != superseded {
			q.removed(it, err)
		}
	}
	for q.exams.len() > 0 {
		for _, it := range q.exams.pop().newcomers {
			q.outcomes = append(q.outcomes, outcome{registered: it.registered,
				result: Registered{Err: fmt.Errorf("%w: %w", ErrUnavailable, err)}})
		}
	}
	clear(q.waiting)
	clear(q.examined)
	q.chores, q.leaving = fifo[*exam]{}, fifo[*item]{}
	q.renewal, q.removal = 0, 0
}
