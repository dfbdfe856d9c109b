// Package backoff says how long to wait before the next attempt, and waits.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// After returns the wait after n failures in a row: none after the first, which is often
// only a connection that had ended; then first, doubled with each failure, up to last.
// It is drawn from half of that up to all of it, so that pods do not come back at once.
func After(n int, first, last time.Duration) time.Duration {
	if n <= 1 {
		return 0
	}
	wait := min(first, last)
	for i := 2; i < n && wait < last; i++ {
		wait = min(2*wait, last)
	}
	return wait/2 + rand.N(wait/2+1)
}

// Sleep waits for d, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
