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

// alarm says when Run wakes up by itself, and when it would for an operation
// that is queued meanwhile: most need not wake it. Guarded by Store.mu.
type alarm struct {
	at      time.Duration // 0: Run is awake, and looks before it sleeps
	join    time.Duration
	leave   time.Duration
	stay    time.Duration
	crowded bool // known already
}

// crowded reports whether so much waits that the next pipeline does not.
func (s *Store) crowded() bool {
	joining := s.q.joining.len()
	return joining >= s.opt.Batch/joiningShare || joining+s.q.staying.len()+s.q.leaving.len() >= s.opt.Batch
}

// due returns when the next turn can do something, which is never where nothing
// waits, and sets the alarm for it.
func (s *Store) due(now time.Duration, ending bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	paced, slow := s.sent+s.opt.Pace, s.sent+renewalPace*s.opt.Pace
	crowded := s.crowded()
	if ending || crowded {
		paced, slow = 0, 0
	}
	a := alarm{
		join:    max(paced, s.link.until),
		leave:   max(paced, s.link.until, s.link.leaveAt),
		stay:    max(slow, s.link.until),
		crowded: crowded,
	}
	a.at = s.first(now, a, ending)
	if a.at > now {
		s.alarm = a
	} else {
		s.alarm = alarm{}
	}
	return a.at
}

// first returns the earliest time at which something that waits is due. The
// caller holds s.mu.
func (s *Store) first(now time.Duration, a alarm, ending bool) time.Duration {
	at := never
	if len(s.q.outcomes) > 0 {
		return now
	}
	if s.q.joining.len() > 0 || s.q.exams.len() > 0 || len(s.sweeper.repairs) > 0 {
		at = min(at, a.join)
	}
	if s.q.leaving.len() > 0 {
		at = min(at, a.leave)
	}
	if s.q.staying.len() > 0 {
		at = min(at, a.stay)
	}
	if ending {
		return at
	}
	if s.q.chores.len() > 0 {
		at = min(at, max(a.stay, s.sweeper.chores.next(now)))
	}
	if s.Err() != nil {
		at = min(at, max(s.link.until, s.link.mendAt))
	}
	if s.link.doubt && s.link.settleAt != 0 {
		at = min(at, s.link.settleAt)
	}
	return at
}

// queued unlocks s.mu, and wakes Run where it would sleep for longer than until
// what was just queued is due.
func (s *Store) queued(due time.Duration) {
	a := &s.alarm
	wake := a.at > due || a.at != 0 && (len(s.q.outcomes) > 0 || !a.crowded && s.crowded())
	if wake {
		a.at = 0
	}
	s.mu.Unlock()
	if wake {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
