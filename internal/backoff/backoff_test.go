package backoff

import (
	"context"
	"testing"
	"time"
)

func TestWaitsDoubleUpToTheLastAndAreSpread(t *testing.T) {
	const first, last = 50 * time.Millisecond, time.Second
	for n, most := range map[int]time.Duration{0: 0, 1: 0, 2: first, 3: 2 * first, 4: 4 * first, 6: 16 * first, 7: last, 8: last, 1 << 40: last} {
		seen := map[time.Duration]bool{}
		for range 100 {
			wait := After(n, first, last)
			if seen[wait] = true; wait < most/2 || wait > most {
				t.Errorf("after %d failures: %v, want %v to %v", n, wait, most/2, most)
			}
		}
		if most > 0 && len(seen) < 50 {
			t.Errorf("after %d failures: only %d different waits", n, len(seen))
		}
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Sleep(ctx, time.Hour)
	Sleep(t.Context(), time.Millisecond)
}
