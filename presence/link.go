package presence

import (
	"time"

	"pushpod/internal/backoff"
)

// Between attempts that fail; see backoff.After.
const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = time.Second
)

// settle is how long the link to Redis must have been good before doubtful
// removals are repeated, and may be forgotten.
const settle = time.Second

// link is the state of the connection to Redis: what has failed, and when to try
// again. Owned by the node's goroutine.
//
// A batch whose replies did not come may have been received all the same, and be
// executed later than the next one: its bytes lie in a connection that we have
// given up, and that Redis still reads once it runs again. So an entry may be
// written behind its removal. While that is possible (doubt), removals are noted,
// and they are repeated when the link has been good for a while.
type link struct {
	failures int           // in a row, of the connection: Redis did not answer
	until    time.Duration // nothing is sent before

	refusals int           // in a row: Redis answered, but refused to write
	mendAt   time.Duration // when to try whether it writes again

	kept    int           // in a row: Redis refused to remove
	leaveAt time.Duration // no removal before

	doubt    bool // a batch failed that may yet be executed
	settleAt time.Duration
	removed  []Entry // while in doubt
}

// failed records that a batch got no replies. sent says that Redis may have received it.
func (l *link) failed(now time.Duration, sent bool) {
	l.failures++
	l.until = now + backoff.After(l.failures, firstBackoff, lastBackoff)
	l.mendAt, l.leaveAt = l.until, l.until
	if sent {
		l.doubt, l.settleAt = true, 0
	}
}

// failedElsewhere records that a command which was sent on to another server got no reply:
// it may be done later.
func (l *link) failedElsewhere() {
	if !l.doubt {
		l.doubt, l.settleAt = true, 0
	}
}

// answered records that a batch got all its replies.
func (l *link) answered(now time.Duration) {
	if l.failures > 0 {
		l.failures, l.until, l.mendAt, l.leaveAt = 0, 0, now, 0
	}
	if l.doubt && l.settleAt == 0 {
		l.settleAt = now + settle
	}
}

// refused records that Redis answered, and refused to write.
func (l *link) refused(now time.Duration) {
	l.refusals++
	l.mendAt = now + firstBackoff/2 + backoff.After(l.refusals+1, firstBackoff, lastBackoff)
}

// mended records that Redis writes again.
func (l *link) mended() { l.refusals, l.mendAt, l.kept, l.leaveAt = 0, 0, 0, 0 }

// refusedRemoval records that Redis refused to remove entries. It may refuse that
// and still write, or the other way round, so that each is tried again by itself.
func (l *link) refusedRemoval(now time.Duration) {
	l.kept++
	l.leaveAt = now + firstBackoff/2 + backoff.After(l.kept+1, firstBackoff, lastBackoff)
}

// note remembers a removal that may have to be repeated. Beyond the bound they
// are left to healing by misses, and to their expiry.
func (l *link) note(e Entry, bound int) {
	if l.doubt && len(l.removed) < bound {
		l.removed = append(l.removed, e)
	}
}

// settled reports whether the doubt is over.
func (l *link) settled(now time.Duration) bool {
	return l.doubt && l.settleAt != 0 && now >= l.settleAt
}

// takeRemoved ends the doubt and returns the removals to repeat.
func (l *link) takeRemoved() []Entry {
	removed := l.removed
	l.removed, l.doubt, l.settleAt = nil, false, 0
	return removed
}
