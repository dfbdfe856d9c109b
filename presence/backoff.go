package presence

import (
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = time.Second
)

// backoff returns how long to wait before the next attempt after n failures in
// a row: nothing after the first, which is often only a connection that had
// ended, then up to a second, with jitter, so that pods do not come back to
// Redis all at once.
func backoff(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	d := lastBackoff
	if shift := n - 2; shift < 5 {
		d = min(d, firstBackoff<<shift)
	}
	return jitter(d)
}

// jitter returns a random duration from half of d up to d.
func jitter(d time.Duration) time.Duration {
	if d <= 1 {
		return d
	}
	return d/2 + rand.N(d/2+1)
}
