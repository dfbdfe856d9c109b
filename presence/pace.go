package presence

import "time"

const (
	never = time.Duration(1<<63 - 1)

	// A round trip costs the pod and Redis far more than an entry in it, so that
	// under load pipelines start at a pace. Nobody waits for a renewal: where only
	// such wait, the pace is slower by this factor.
	renewalPace = 5

	// Registrations that are worth a pipeline before its time: this fraction of a
	// batch.
	joiningShare = 8
)

// alarm says until when the node sleeps, and when an operation that is queued
// meanwhile would be due, by its kind: one that is due later need not wake it.
// Guarded by node.mu.
type alarm struct {
	at      time.Duration // 0: it is awake, and looks at the queue before it sleeps
	join    time.Duration
	leave   time.Duration
	stay    time.Duration
	crowded bool // the node knew it before it slept
}

// crowded reports whether so much waits that the next pipeline does not.
func (n *node) crowded() bool {
	joining := n.q.joining.len()
	return joining >= n.opt.Batch/joiningShare || joining+n.q.staying.len()+n.q.leaving.len() >= n.opt.Batch
}

// due returns when the next turn can do something, which is never where nothing
// waits, and sets the alarm for it.
func (n *node) due(now time.Duration, ending bool) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	paced, slow := n.sent+n.opt.Pace, n.sent+renewalPace*n.opt.Pace
	crowded := n.crowded()
	if ending || crowded {
		paced, slow = 0, 0
	}
	a := alarm{
		join:    max(paced, n.link.until),
		leave:   max(paced, n.link.until, n.link.leaveAt),
		stay:    max(slow, n.link.until),
		crowded: crowded,
	}
	a.at = n.first(now, a, ending)
	if a.at > now {
		n.alarm = a
	} else {
		n.alarm = alarm{}
	}
	return a.at
}

// first returns the earliest time at which something that waits is due. The
// caller holds n.mu.
func (n *node) first(now time.Duration, a alarm, ending bool) time.Duration {
	at := never
	if len(n.q.outcomes) > 0 {
		return now
	}
	if n.q.joining.len() > 0 || n.q.exams.len() > 0 || len(n.sweeper.repairs) > 0 {
		at = min(at, a.join)
	}
	if n.q.leaving.len() > 0 {
		at = min(at, a.leave)
	}
	if n.q.staying.len() > 0 {
		at = min(at, a.stay)
	}
	if ending {
		return at
	}
	if n.q.chores.len() > 0 {
		at = min(at, max(a.stay, n.choreAt(now)))
	}
	if n.sweeper.doubts.len() > 0 {
		at = min(at, max(a.stay, n.sweeper.doubts.front().at))
	}
	if n.err() != nil {
		at = min(at, max(n.link.until, n.link.mendAt))
	}
	if n.link.doubt && n.link.settleAt != 0 {
		at = min(at, n.link.settleAt)
	}
	return at
}

// queued unlocks n.mu after something was queued that is due then. It wakes the
// node where that would sleep for longer.
func (n *node) queued(due time.Duration) {
	a := &n.alarm
	wake := a.at > due || a.at != 0 && (len(n.q.outcomes) > 0 || !a.crowded && n.crowded())
	if wake {
		a.at = 0
	}
	n.mu.Unlock()
	if wake {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}
