package client

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

// A retry decides how long to wait before the next attempt, and whether there is one. Owned by Run.
type retry struct {
	backoff Backoff
	tokens  bool                                    // each attempt comes with a fresh token
	renewed bool                                    // the last attempt that asked for a fresh token was made at once
	attempt int                                     // failures in a row
	draw    func(below time.Duration) time.Duration // uniform from zero; a test puts its own in
}

func uniform(below time.Duration) time.Duration {
	return rand.N(below + 1)
}

// after returns the wait before the next attempt, or false where err is final. lasted is how long the connection lived
// that err has ended; zero where there was none.
func (r *retry) after(err error, lasted time.Duration) (time.Duration, bool) {
	if lasted >= r.backoff.Max {
		// Not at once on welcome: who is cut off right after it, again and again, must back off all the same.
		r.attempt = 0
	}
	if r.tokens && wantsToken(err) {
		return r.withToken(lasted), true
	}
	if closed := (*CloseError)(nil); errors.As(err, &closed) {
		switch {
		case closed.Final():
			return 0, false
		case namesRetry(closed.Code) && closed.RetryAfter >= 0:
			// Exactly that: the pod drew it so that its clients come back spread over time.
			return closed.RetryAfter, true
		case closed.Code == 1008:
			// Full jitter may draw next to nothing, which is not backing off.
			half := r.ceiling() / 2
			return half + r.draw(half), true
		}
	}
	if refused := (*HandshakeError)(nil); errors.As(err, &refused) {
		if refused.Final() {
			return 0, false
		}
		// Not before what the answer says, and not all at that same moment.
		return refused.RetryAfter + r.draw(r.ceiling()), true
	}
	return r.draw(r.ceiling()), true
}

// namesRetry reports whether the reason of a close says when to come again.
func namesRetry(code int) bool {
	switch code {
	case 1001, 1013, 4029, 4053:
		return true
	}
	return false
}

// wantsToken reports whether a connection or an attempt to get one has ended for want of a token that is good.
func wantsToken(err error) bool {
	if closed := (*CloseError)(nil); errors.As(err, &closed) {
		return closed.Code == 4000 || closed.Code == 4001
	}
	refused := (*HandshakeError)(nil)
	return errors.As(err, &refused) && refused.Status == http.StatusUnauthorized
}

// withToken returns the wait before an attempt with a fresh token: none, but where the fresh one before was refused too,
// or has lasted for next to nothing.
func (r *retry) withToken(lasted time.Duration) time.Duration {
	if lasted >= r.backoff.Min {
		r.renewed = false
	}
	if r.renewed {
		return r.draw(r.ceiling())
	}
	r.renewed = true
	return 0
}

// ceiling counts an attempt and returns the longest wait before it.
func (r *retry) ceiling() time.Duration {
	c := r.backoff.Min
	for range r.attempt {
		if c >= r.backoff.Max/2 {
			return r.backoff.Max
		}
		c *= 2
	}
	r.attempt++
	return c
}

// handover returns the wait before the first attempt to get a successor of a connection that is to be closed: none, but
// where it has hardly lasted, or was told before. A server that sends everybody away, again and again, is not to get all of
// them back each time.
func (r *retry) handover(lasted time.Duration, again bool) time.Duration {
	if lasted >= r.backoff.Max {
		r.attempt = 0
	}
	if lasted >= r.backoff.Min && !again {
		return 0
	}
	return r.draw(r.ceiling())
}
