package presence

import (
	"hash/maphash"
	"time"

	"golang.org/x/time/rate"
)

// sweptUsers bounds how many users are remembered as swept in a phase.
const sweptUsers = 1 << 18

// sweeper decides when a renewal also looks for what dead pods left in the
// user's hash: where fields expire by themselves it never does. Owned by Run's
// goroutine.
//
// Reading every hash at every renewal would cost Redis a third more. So time is
// cut into phases of one and a half renewal periods, each user belongs to one of
// them, by hash, and is read once in it at most. Every live entry is renewed in
// every phase, so no dead pod's field outlives all of them; how many there may
// be follows from the promise that it is gone within ttl + renew + lease.
type sweeper struct {
	phase  time.Duration
	phases uint64
	index  uint64              // the phase that swept is about
	swept  map[uint64]struct{} // users, by hash

	crowded []crowd       // met by the batch's renewals
	repairs []*repair     // to be made
	chores  *rate.Limiter // of heals and sweeps

	verdict time.Duration // after which a suspected pod is dead or not
	doubts  fifo[doubt]   // by time
}

// doubt is a user in whose hash a suspected pod stands, to be examined again.
type doubt struct {
	user string
	at   time.Duration
}

// doubtsMost bounds how many users are remembered for a second examination; others are
// examined again in the next phase that is theirs.
const doubtsMost = 1 << 16

// crowd is a user's hash that holds several fields.
type crowd struct {
	user   string
	fields int64
}

func newSweeper(o Options) sweeper {
	phase := o.Renew + o.Renew/2
	// A death is known within two leases, of which one is in the promise.
	phases := max((o.TTL+o.Renew-o.Lease)/phase, 1)
	return sweeper{
		phase: phase, phases: uint64(phases), swept: make(map[uint64]struct{}),
		chores: rate.NewLimiter(choreRate, choreRate),
		// Two heartbeats: the last one of a pod, and the observer's.
		verdict: o.Lease + o.Lease/2,
	}
}

// again has a user be examined again once it is known whether a pod is dead.
func (w *sweeper) again(user string, now time.Duration) {
	if w.doubts.len() < doubtsMost {
		w.doubts.push(doubt{user, now + w.verdict})
	}
}

// sweepDoubts asks for the examinations whose time has come.
func (n *node) sweepDoubts(now time.Duration) {
	w := &n.sweeper
	for w.doubts.len() > 0 && w.doubts.front().at <= now {
		n.mu.Lock()
		n.q.chore(w.doubts.pop().user, nil, false)
		n.mu.Unlock()
	}
}

// take returns up to n of the repairs that wait.
func (w *sweeper) take(n int) []*repair {
	n = min(n, len(w.repairs))
	taken := w.repairs[:n:n]
	if w.repairs = w.repairs[n:]; len(w.repairs) == 0 {
		w.repairs = nil
	}
	return taken
}

// wants reports whether the user's hash is to be read in this phase, and remembers
// that it is.
func (w *sweeper) wants(hash uint64, now time.Duration) bool {
	index := uint64(now / w.phase)
	if index != w.index {
		w.index = index
		clear(w.swept)
	}
	if hash%w.phases != index%w.phases {
		return false
	}
	if _, done := w.swept[hash]; done || len(w.swept) >= sweptUsers {
		return false
	}
	w.swept[hash] = struct{}{}
	return true
}

// askSweeps asks for sweeps of the hashes that the batch's renewals met and that
// hold more fields than this pod holds connections of the user.
func (n *node) askSweeps(now time.Duration) {
	w := &n.sweeper
	for _, c := range w.crowded {
		if n.opt.Own != nil && int64(n.opt.Own(c.user)) >= c.fields {
			continue
		}
		if w.wants(maphash.String(n.seed, c.user), now) {
			n.mu.Lock()
			n.q.chore(c.user, nil, false)
			n.mu.Unlock()
		}
	}
	clear(w.crowded)
	w.crowded = w.crowded[:0]
}

// choreAt returns when the next heal or sweep may be done: now or later.
func (n *node) choreAt(now time.Duration) time.Duration {
	missing := 1 - n.sweeper.chores.TokensAt(n.epoch.Add(now))
	if missing <= 0 {
		return now
	}
	return now + time.Duration(missing/choreRate*float64(time.Second)) + time.Microsecond
}
