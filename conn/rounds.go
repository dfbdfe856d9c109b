package conn

import "time"

// rounds divides the flushing of many connections into rounds, with a rest
// between large ones, in which more gathers for each of them: a pod that is
// flooded then makes fewer and larger writes. A rest is as long as the round
// before it, and bounded. Where few wait there is none, so that nobody is held
// up by another's large fan-out.
type rounds struct {
	most time.Duration // of a rest; 0: no rests

	left  int // connections of this round that are still to be flushed
	size  int // of this round, or the last one
	began time.Time
	ended time.Time
}

// largeRound is how many connections make a round that is worth a rest.
const largeRound = 1024

// timed reports whether the clock matters to what is flushed now: where few wait
// and no round is under way, it does not, and a lone push need not ask for it.
func (r *rounds) timed(waiting int) bool {
	if r.most == 0 || r.left == 0 && waiting < largeRound {
		r.size = 0
		return false
	}
	return true
}

// share returns how many of the waiting connections may be flushed now; 0: there
// is a rest.
func (r *rounds) share(now time.Time, waiting int) int {
	if r.left == 0 {
		if r.rest(now, waiting) > 0 {
			return 0
		}
		r.left, r.size, r.began = waiting, waiting, now
	}
	return r.left
}

// rest returns how long the rest still lasts.
func (r *rounds) rest(now time.Time, waiting int) time.Duration {
	if r.most == 0 || r.left > 0 || r.size < largeRound || waiting < largeRound {
		return 0
	}
	return r.ended.Add(min(r.most, r.ended.Sub(r.began))).Sub(now)
}

// flushed notes that n of the share were flushed.
func (r *rounds) flushed(now time.Time, n int) {
	if r.left -= n; r.left <= 0 {
		r.left, r.ended = 0, now
	}
}
