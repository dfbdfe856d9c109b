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

// link is how the way to Redis has been. Owned by the node's goroutine.
//
// A batch that failed on the way may have been received all the same, and be
// carried out later than the next one: its bytes lie in a connection that we
// have given up and that Redis, once it runs again, still reads. So an entry
// written in it may come to stand after its removal. Therefore all removals from
// such a failure on are noted, and are repeated when the link has been good for
// a while.
type link struct {
	failures int           // in a row, of the way: not replies
	until    time.Duration // no attempt before

	refusals int           // in a row: Redis answered, but refused to write
	mendAt   time.Duration // when to try whether it writes again

	kept    int           // in a row: Redis refused to remove
	leaveAt time.Duration // no removal before

	doubt    bool // a batch failed that may yet be carried out
	settleAt time.Duration
	removed  []Entry // while in doubt
}

func (l *link) failed(now time.Duration, sent bool) {
	l.failures++
	l.until = now + backoff.After(l.failures, firstBackoff, lastBackoff)
	l.mendAt, l.leaveAt = l.until, l.until
	if sent {
		l.doubt, l.settleAt = true, 0
	}
}

// answered takes in that a batch got all its replies.
func (l *link) answered(now time.Duration) {
	if l.failures > 0 {
		l.failures, l.until, l.mendAt, l.leaveAt = 0, 0, now, 0
	}
	if l.doubt && l.settleAt == 0 {
		l.settleAt = now + settle
	}
}

func (l *link) refused(now time.Duration) {
	l.refusals++
	l.mendAt = now + firstBackoff/2 + backoff.After(l.refusals+1, firstBackoff, lastBackoff)
}

func (l *link) mended() { l.refusals, l.mendAt, l.kept, l.leaveAt = 0, 0, 0, 0 }

// refusedRemoval takes in that Redis refused to remove entries. Those it may
// refuse while it writes, and the other way round: each waits for itself.
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
