package presence

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"
)

const (
	examsAtOnce   = 64   // hashes read in one pipeline, at most
	repairsAtOnce = 64   // users whose stale fields one pipeline removes, at most
	choreRate     = 5000 // heals, sweeps and adoptions a second, at most
)

// exam is the examination of one user's hash (HGETALL): for registrations that
// went over the limit, or as a chore, for which nobody waits: to heal misses, to
// sweep what dead pods left, or to adopt fields (give each an expiry of its own)
// that were written when the hash expired as a whole.
type exam struct {
	user      string
	newcomers []*item         // registrations that wait for it, in their order
	held      func(UUID) bool // of the latest Heal; nil: none was asked for
	adopt     bool            // fields that have no expiry of their own
	reply     *redis.MapStringStringCmd
}

// Heal reads the user's hash and removes the entries that name this pod and
// that held reports as not held: a message for one of them has missed. It may
// be asked for at every miss: while one waits for a user, another takes its
// place; beyond a bound on users, and on removals a second, it does nothing, and
// the next miss asks again.
//
// held is called from the store's goroutine. It must not block, nor call the
// store, and must report every UUID from before its Register to its Unregister.
func (s *Store) Heal(user string, held func(UUID) bool) {
	n := s.open(user)
	if n == nil {
		return
	}
	n.q.chore(user, held, false)
	n.queued(n.alarm.stay)
}

// chore asks for an examination that nobody waits for. It sweeps; where held is not
// nil it also heals, and with adopt it also adopts.
func (q *queue) chore(user string, held func(UUID) bool, adopt bool) {
	if e := q.examined[user]; e != nil {
		e.adopt = e.adopt || adopt
		if held != nil {
			e.held = held
		}
		return
	}
	if q.chores.len() >= q.backlog {
		q.dropped++
		return
	}
	e := &exam{user: user, held: held, adopt: adopt}
	q.examined[user] = e
	q.chores.push(e)
}

// examineFor asks for an examination on behalf of a registration.
func (q *queue) examineFor(it *item) {
	e := q.examined[it.entry.User]
	if e == nil || e.newcomers == nil {
		// A chore that waits for the user is left alone: it may wait for long.
		e = &exam{user: it.entry.User}
		q.examined[it.entry.User] = e
		q.exams.push(e)
	}
	e.newcomers = append(e.newcomers, it)
}

func (q *queue) takeExam(from *fifo[*exam]) *exam {
	e := from.pop()
	if q.examined[e.user] == e {
		delete(q.examined, e.user)
	}
	return e
}

// postpone puts back an examination.
func (q *queue) postpone(e *exam) {
	if len(e.newcomers) > 0 {
		q.exams.pushFront(e)
		return
	}
	if q.examined[e.user] == nil {
		q.examined[e.user] = e
		q.chores.pushFront(e)
	}
}

// failExams gives up the registrations that wait for an examination.
func (q *queue) failExams(cause error) {
	for q.exams.len() > 0 {
		for _, it := range q.takeExam(&q.exams).newcomers {
			q.giveUp(it, cause)
		}
	}
}

// postpone puts back an examination whose batch failed, at the node that has the user
// now. The caller holds n.mu.
func (n *node) postpone(e *exam) {
	owner := n.owner(e.user)
	owner.q.postpone(e)
	n.poke(owner)
}

// failNewcomers gives up the registrations that wait for an examination. The caller holds
// n.mu.
func (n *node) failNewcomers(e *exam, cause error) {
	for _, it := range e.newcomers {
		n.giveUp(it, cause)
	}
}

// examine judges the hashes that a batch has read. The pods in them are read first, but
// after the hashes.
func (n *node) examine(ctx context.Context) {
	b := &n.batch
	if len(b.exams) == 0 {
		return
	}
	trusted := n.judges(ctx)
	for _, e := range b.exams {
		fields, err := e.reply.Result()
		if err != nil {
			n.count.errors.Add(1)
			n.failExam(e, err)
			continue
		}
		n.examineOne(e, fields, trusted)
	}
}

// judges reports whether it can be said now which entries are stale: the pods in the
// hashes have been read after them.
func (n *node) judges(ctx context.Context) bool {
	if n.opt.Pods == nil {
		return false
	}
	if err := n.opt.Pods.Look(ctx, channelsIn(n.batch.exams)); err != nil {
		n.count.errors.Add(1)
		return false
	}
	return true
}

func (n *node) failExam(e *exam, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if isBrokenOff(err) || isRedirected(err) {
		n.postpone(e)
		return
	}
	n.failNewcomers(e, fmt.Errorf("%w: count connections: %w", ErrUnavailable, err))
}

func (n *node) examineOne(e *exam, fields map[string]string, trusted bool) {
	var stale []string
	suspected := false
	for field, channel := range fields {
		u, ok := ParseUUID(field)
		l := Located{UUID: u, Channel: channel}
		switch {
		case channel == n.channel && ok && e.held != nil && !n.holds(u, e.held):
			stale = append(stale, field)
		case trusted && ok && n.opt.Pods.Stale(l), trusted && !ok && n.opt.Pods.Dead(channel):
			stale = append(stale, field)
		case trusted && n.opt.Pods.Suspected(channel):
			suspected = true
		}
	}
	if suspected {
		n.sweeper.again(e.user, n.now())
	}
	for _, field := range stale {
		delete(fields, field)
	}
	if len(stale) > 0 {
		n.sweeper.repairs = append(n.sweeper.repairs, &repair{user: e.user, fields: stale})
	}
	if e.adopt && len(fields) > 0 {
		all := slices.Collect(maps.Keys(fields))
		n.sweeper.repairs = append(n.sweeper.repairs, &repair{user: e.user, fields: all, kind: fixAdopt})
	}
	if len(e.newcomers) > 0 {
		n.admit(e.newcomers, locate(fields))
	}
}

// holds reports whether this pod holds the connection, or is about to.
func (n *node) holds(u UUID, held func(UUID) bool) bool {
	if held(u) {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	it := n.q.waiting[u] // the heal waited at the node that has the user
	return it != nil && it.op != unregistering
}

// admit decides about registrations and checks that went over the user's limit, one
// after the other, by the user's live entries.
func (n *node) admit(newcomers []*item, live []Located) {
	all := make(map[UUID]Located, len(live)+len(newcomers))
	for _, l := range live {
		all[l.UUID] = l
	}
	for _, it := range newcomers {
		delete(all, it.entry.UUID)
		delete(all, it.entry.Replaces)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, it := range newcomers {
		over := n.batch.limit.excess(len(all) + 1)
		switch excluded := over > 0 && n.batch.limit.rejects(); {
		case excluded && it.op == checking:
			n.q.checkedAs(it, ErrTooMany)
			continue
		case it.op == checking:
			n.q.checkedAs(it, nil)
			continue
		case excluded:
			n.count.rejected.Add(1)
			n.reject(it, ErrTooMany)
			continue
		}
		var excess []Located
		if over > 0 {
			excess = slices.SortedFunc(maps.Values(all), func(a, b Located) int {
				return slices.Compare(a.UUID[:], b.UUID[:])
			})
			excess = excess[:min(over, len(excess))]
			for _, l := range excess {
				delete(all, l.UUID)
			}
		}
		all[it.entry.UUID] = Located{UUID: it.entry.UUID, Channel: n.channel}
		n.admitted(it, excess)
	}
}

// reject removes a registration's entry again; the caller hears why when the
// entry is gone, or cannot be removed for now. The caller holds n.mu.
func (n *node) reject(it *item, why error) {
	it.op, it.cleanup, it.why = unregistering, true, why
	owner := n.owner(it.entry.User)
	if owner.q.waiting[it.entry.UUID] != nil { // somebody has it removed already
		n.q.removed(it, nil)
		return
	}
	owner.q.putRemoval(it)
	n.poke(owner)
}
