package presence

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// waits returns the live items of one of a queue's fifos, by operation.
func waits(f *fifo[*item]) map[operation]int {
	n := map[operation]int{}
	for _, it := range f.buf[f.head:] {
		n[it.op]++
	}
	delete(n, superseded)
	return n
}

// checkBooks compares what a queue counts with what waits in it.
func checkBooks(t *testing.T, q *queue) {
	t.Helper()
	joining, staying, leaving := waits(&q.joining), waits(&q.staying), waits(&q.leaving)
	if q.renewal != staying[renewing] || q.removal != leaving[unregistering] {
		t.Fatalf("%d renewals and %d removals are counted; there are %v and %v", q.renewal, q.removal, staying, leaving)
	}
	if n := joining[registering] + staying[renewing] + leaving[unregistering]; n != len(q.waiting) {
		t.Fatalf("%d UUIDs wait, and %d operations", len(q.waiting), n)
	}
	for u, it := range q.waiting {
		if it.entry.UUID != u {
			t.Fatalf("%v waits as %v", it.entry.UUID, u)
		}
	}
	if q.removal > q.backlog || q.renewal > q.backlog {
		t.Fatalf("%d renewals and %d removals wait; the bound is %d", q.renewal, q.removal, q.backlog)
	}
	free := map[*item]bool{}
	for _, it := range q.free {
		if free[it] {
			t.Fatal("an item is free twice")
		}
		free[it] = true
		if it.registered != nil || it.removed != nil || it.checked != nil || it.entry != (Entry{}) {
			t.Fatalf("a free item holds on to something: %+v", it)
		}
	}
}

// tell calls what waits to be called.
func (q *queue) tell() {
	for len(q.outcomes) > 0 {
		o := q.outcomes[0]
		q.outcomes = q.outcomes[1:]
		o.call()
	}
}

// Connections come, are renewed and go, while batches succeed, fail, or fail though Redis
// has carried them out. In the end Redis holds what the callers were told that it does.
func TestEveryoneIsAnsweredOnceWhateverBecomesOfABatch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	n := testNode(t, Options{})
	q := &n.q
	held, redis := map[UUID]bool{}, map[UUID]bool{}
	registrations, removals, checks := map[UUID]int{}, map[UUID]int{}, 0
	lost := errors.New("lost")
	ask := func(now time.Duration) {
		u := NewUUID(int64(now))
		if len(held) > 0 && random.IntN(5) > 0 {
			u = slices.Collect(maps.Keys(held))[random.IntN(len(held))]
		}
		e := Entry{User: "alice", UUID: u}
		switch {
		case random.IntN(8) == 0:
			checks++
			q.check(e, false, func(error) { checks-- }, now)
		case !held[u]:
			held[u] = true
			q.register(e, func(r Registered) {
				if registrations[u]++; r.Err != nil && !errors.Is(r.Err, ErrUnregistered) {
					delete(held, u)
				}
			}, now)
		case registrations[u] > 0 && random.IntN(2) == 0:
			q.renew(e, now)
		default:
			delete(held, u)
			removals[u] = 0
			q.unregister(e, func(error) { removals[u]++ }, now)
		}
	}
	// carryOut does what Redis does with an item.
	carryOut := func(it *item) {
		switch it.op {
		case registering, renewing:
			redis[it.entry.UUID] = true
		case unregistering:
			delete(redis, it.entry.UUID)
		}
	}
	succeed := func(it *item) {
		carryOut(it)
		switch it.op {
		case registering:
			n.registered(it, nil)
		case checking:
			q.checkedAs(it, nil)
		case unregistering:
			q.removed(it, nil)
		default:
			q.recycle(it)
		}
	}
	fail := func(it *item, sent, giveUp bool) {
		if sent {
			carryOut(it)
			it.sent = true
		}
		switch {
		case giveUp && (it.op == registering || it.op == checking):
			q.giveUp(it, lost)
		case giveUp && it.op == renewing:
			q.recycle(it)
		default:
			n.requeue(it, lost)
		}
	}
	for now := range time.Duration(20_000) {
		for range random.IntN(4) {
			ask(now)
		}
		batch := q.take(nil, random.IntN(8), random.IntN(3) > 0)
		for range random.IntN(4) { // while it is under way
			ask(now)
		}
		failed, sent, giveUp := random.IntN(3) == 0, random.IntN(2) == 0, random.IntN(4) == 0
		for _, it := range batch {
			if failed {
				fail(it, sent, giveUp)
			} else {
				succeed(it)
			}
		}
		switch random.IntN(64) {
		case 0:
			q.failJoining(now-2, lost)
		case 1:
			q.dropStaying()
		}
		checkBooks(t, q)
		q.tell()
	}
	for len(q.waiting) > 0 || q.joining.len() > 0 {
		for _, it := range q.take(nil, 100, true) {
			succeed(it)
		}
		q.tell()
	}
	if !maps.Equal(held, redis) {
		t.Errorf("%d entries stand in Redis, and %d connections are held", len(redis), len(held))
	}
	for u := range redis {
		if !held[u] {
			t.Errorf("an entry of nobody's stands (%d registrations told, removals %d)", registrations[u], removals[u])
			break
		}
	}
	for u, n := range registrations {
		if n != 1 {
			t.Fatalf("a registration of %v is answered %d times", u, n)
		}
	}
	for u := range held {
		if registrations[u] != 1 {
			t.Fatalf("a registration is answered %d times", registrations[u])
		}
	}
	for u, n := range removals {
		if n != 1 || registrations[u] != 1 {
			t.Fatalf("a removal is answered %d times, and its registration %d times", n, registrations[u])
		}
	}
	if checks != 0 {
		t.Errorf("%d checks are not answered", checks)
	}
	if q.dropped != 0 {
		t.Errorf("%d operations are dropped", q.dropped)
	}
}

// queued is a queue with what its callers are told.
type queued struct {
	queue
	t    *testing.T
	told []string
}

func newQueued(t *testing.T, backlog int) *queued {
	return &queued{queue: newQueue(backlog, new(map[UUID]*node)), t: t}
}

func (q *queued) registration(who string) func(Registered) {
	return func(r Registered) { q.told = append(q.told, fmt.Sprint(who, ": ", r.Err)) }
}

func (q *queued) answer(who string) func(error) {
	return func(err error) { q.told = append(q.told, fmt.Sprint(who, ": ", err)) }
}

// want checks who was told what since the last time.
func (q *queued) want(why string, told ...string) {
	q.t.Helper()
	checkBooks(q.t, &q.queue)
	q.tell()
	if !slices.Equal(q.told, told) {
		q.t.Errorf("%s: told %q, want %q", why, q.told, told)
	}
	q.told = nil
}

// wantNext takes all that waits and checks what it is.
func (q *queued) wantNext(why string, wanted ...string) []*item {
	q.t.Helper()
	var got []string
	batch := q.take(nil, 100, true)
	for _, it := range batch {
		name := map[operation]string{registering: "register ", checking: "check ", renewing: "renew ", unregistering: "unregister "}[it.op]
		got = append(got, name+it.entry.User)
	}
	if !slices.Equal(got, wanted) {
		q.t.Errorf("%s: %q are next, want %q", why, got, wanted)
	}
	checkBooks(q.t, &q.queue)
	return batch
}

func of(user string) Entry { return Entry{User: user, UUID: UUID([]byte(fmt.Sprintf("%-16s", user)))} }

func TestALaterOperationTakesThePlaceOfTheOneThatWaits(t *testing.T) {
	q := newQueued(t, 100)
	q.renew(of("renewed"), 0)
	q.unregister(of("renewed"), q.answer("renewed"), 0)
	q.unregister(of("gone"), q.answer("gone"), 0)
	q.register(of("gone"), q.registration("gone and back"), 0)
	q.register(of("twice"), q.registration("first"), 0)
	q.register(of("twice"), q.registration("second"), 0)
	q.register(of("once, silently"), nil, 0)
	q.register(of("once, silently"), q.registration("loud"), 0)
	q.register(of("short-lived"), nil, 0)
	q.unregister(of("short-lived"), q.answer("short-lived"), 0)
	q.want("before anything was sent", "gone: <nil>", "short-lived: <nil>")
	for _, it := range q.wantNext("one for each",
		"register gone", "register twice", "register once, silently", "unregister renewed") {
		if it.op == registering {
			outcome{registered: it.registered, result: Registered{Err: ErrTooMany}}.call()
		}
	}
	all := ": " + ErrTooMany.Error()
	q.want("once it is done", "gone and back"+all, "first"+all, "second"+all, "loud"+all)
}

func TestEveryUnregistrationOfAUUIDIsAnswered(t *testing.T) {
	q := newQueued(t, 100)
	q.unregister(of("alice"), q.answer("first"), 0)
	q.unregister(of("alice"), nil, 0)
	q.unregister(of("alice"), q.answer("second"), 0)
	first := q.wantNext("one for all", "unregister alice")[0]
	q.unregister(of("alice"), q.answer("third"), 0)
	if q.again(first) {
		t.Error("two removals of one UUID wait")
	}
	q.removed(first, nil)
	q.want("another one waits")
	again := q.wantNext("the other one", "unregister alice")[0]
	if !q.again(again) {
		t.Error("a removal that failed is forgotten")
	}
	q.removed(q.wantNext("once more", "unregister alice")[0], nil)
	q.want("removed", "first: <nil>", "second: <nil>", "third: <nil>")

	q.unregister(of("bob"), q.answer("bob"), 0)
	gone := q.wantNext("bob goes", "unregister bob")[0]
	q.register(of("bob"), nil, 0)
	if q.again(gone) {
		t.Error("bob, who is back, is removed")
	}
	q.removed(gone, nil)
	q.want("back", "bob: <nil>")
}

// Who is refused hears of it when the entry is gone, or can't be removed for now.
func TestWhoIsRefusedHearsOfItOnce(t *testing.T) {
	q := newQueued(t, 100)
	refuse := func(user string) *item {
		q.register(of(user), q.registration(user), 0)
		it := q.wantNext("new", "register "+user)[0]
		it.op, it.cleanup, it.why = unregistering, true, ErrTooMany
		q.putRemoval(it)
		return it
	}
	refused := ": " + ErrTooMany.Error()
	refuse("alice")
	it := q.wantNext("refused", "unregister alice")[0]
	q.tellRejected(it)
	q.want("it can't be removed for now", "alice"+refused)
	q.again(it)
	q.removed(q.wantNext("once more", "unregister alice")[0], nil)
	q.want("told before")

	refuse("bob")
	q.register(of("bob"), q.registration("bob again"), 0)
	q.want("and asks again", "bob"+refused)
	q.wantNext("asked again", "register bob")
}

// What was sent and not answered may stand, whatever comes later.
func TestWhatRedisMayHaveIsRemoved(t *testing.T) {
	q := newQueued(t, 100)
	q.register(of("alice"), q.registration("alice"), 0)
	for _, it := range q.wantNext("new", "register alice") {
		it.sent = true
		q.again(it)
	}
	q.register(of("alice"), nil, 0)
	q.unregister(of("alice"), q.answer("alice's removal"), 0)
	q.want("not removed yet", "alice: "+ErrUnavailable.Error()+": "+ErrUnregistered.Error())
	for _, it := range q.wantNext("removed", "unregister alice") {
		q.removed(it, nil)
	}
	q.want("removed", "alice's removal: <nil>")

	q.register(of("bob"), q.registration("bob"), 0)
	q.register(of("carol"), q.registration("carol"), 0)
	q.joining.front().sent = true
	q.failJoining(0, errors.New("too long"))
	q.want("given up", "bob: too long", "carol: too long")
	for _, it := range q.wantNext("given up", "unregister bob") {
		if !it.cleanup {
			t.Error("the store's own removal is taken for a caller's")
		}
	}
}

func TestOnlyWhatWaitedForTooLongIsGivenUp(t *testing.T) {
	q := newQueued(t, 100)
	for i, user := range []string{"replaced", "a", "b", "c", "d"} {
		q.register(of(user), q.registration(user), time.Duration(i))
	}
	q.check(of("checked"), false, q.answer("checked"), 1)
	q.unregister(of("replaced"), nil, 0)
	q.want("replaced", "replaced: "+ErrUnavailable.Error()+": "+ErrUnregistered.Error())
	if queued, ok := q.oldestJoining(); !ok || queued != 1 {
		t.Errorf("the oldest came at %v, %v", queued, ok)
	}
	q.failJoining(2, errors.New("too long"))
	q.want("given up", "a: too long", "b: too long", "checked: too long")
	q.wantNext("kept, in order", "register c", "register d")
	if _, ok := q.oldestJoining(); ok {
		t.Error("somebody waits in an empty queue")
	}
	q.register(of("late"), nil, 7)
	if queued, ok := q.oldestJoining(); !ok || queued != 7 {
		t.Errorf("the only one came at %v, %v", queued, ok)
	}
}

func TestABatchHasRoomForEveryKind(t *testing.T) {
	fill := func(joining, leaving, staying int) *queued {
		q := newQueued(t, 100)
		for i := range joining {
			q.register(of(fmt.Sprint("joining ", i)), nil, 0)
		}
		for i := range leaving {
			q.unregister(of(fmt.Sprint("leaving ", i)), nil, 0)
		}
		for i := range staying {
			q.renew(of(fmt.Sprint("staying ", i)), 0)
		}
		return q
	}
	for _, c := range []struct {
		joining, leaving, staying int
		mayLeave                  bool
		want                      [3]int
	}{
		{50, 50, 50, true, [3]int{8, 4, 4}},
		{50, 50, 50, false, [3]int{8, 0, 8}},
		{50, 50, 2, true, [3]int{10, 4, 2}},
		{2, 50, 2, true, [3]int{2, 12, 2}},
		{2, 50, 2, false, [3]int{2, 0, 2}},
	} {
		q, got := fill(c.joining, c.leaving, c.staying), [3]int{}
		batch := q.take(make([]*item, 3), 16, c.mayLeave)[3:]
		for _, it := range batch {
			got[map[operation]int{registering: 0, unregistering: 1, renewing: 2}[it.op]]++
		}
		if got != c.want {
			t.Errorf("of %d joining, %d leaving (%v), %d staying: %v, want %v", c.joining, c.leaving, c.mayLeave, c.staying, got, c.want)
		}
		if it := batch[0]; it.entry.User != "joining 0" {
			t.Errorf("%q is first", it.entry.User)
		}
	}
}

func TestBeyondTheBacklogOperationsAreDropped(t *testing.T) {
	q := newQueued(t, 2)
	for _, user := range []string{"a", "b", "c"} {
		q.renew(of(user), 0)
	}
	q.renew(of("a"), 0) // it waits already
	if q.dropped != 1 {
		t.Errorf("%d renewals are dropped, want 1", q.dropped)
	}
	q.wantNext("renewals", "renew a", "renew b")

	q.unregister(of("a"), q.answer("a"), 0)
	q.unregister(of("b"), q.answer("b"), 0)
	q.register(of("a"), nil, 0) // its removal does not count any more
	q.want("replaced", "a: <nil>")
	q.unregister(of("c"), q.answer("c"), 0)
	q.want("two wait")
	q.unregister(of("d"), nil, 0)
	q.want("the oldest", "b: "+ErrBacklog.Error())
	if q.dropped != 2 {
		t.Errorf("%d are dropped, want another", q.dropped)
	}
	q.wantNext("removals", "register a", "unregister c", "unregister d")
}

func TestAQueueThatIsClosedAnswersAll(t *testing.T) {
	q := newQueued(t, 100)
	q.register(of("a"), q.registration("a"), 0)
	q.check(of("b"), false, q.answer("b"), time.Hour)
	q.renew(of("c"), 0)
	q.unregister(of("d"), q.answer("d"), 0)
	q.unregister(of("e"), q.answer("e"), 0)
	q.register(of("f"), q.registration("f"), 0)
	for _, it := range q.take(nil, 8, true) {
		switch it.entry.User {
		case "f":
			q.examineFor(it)
		default:
			q.again(it)
		}
	}
	q.register(of("e"), q.registration("e"), 0)
	q.want("replaced", "e: <nil>")
	q.chore("g", nil, false)
	q.close(ErrClosed)
	unavailable := ErrUnavailable.Error() + ": " + ErrClosed.Error()
	q.want("closed", "b: "+unavailable, "a: "+unavailable, "e: "+unavailable, "d: "+ErrClosed.Error(), "f: "+unavailable)
	if q.joining.len()+q.staying.len()+q.leaving.len()+q.exams.len()+q.chores.len()+len(q.waiting)+len(q.examined) > 0 {
		t.Errorf("something is left: %+v", q.queue)
	}
	if !q.closed {
		t.Error("it is not closed")
	}
}
