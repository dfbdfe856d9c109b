package embedded

import (
	"context"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how often expiry is looked after. Each tick walks over all keys.
const tick = 100 * time.Millisecond

// runClock lets time pass for redis until ctx ends. It goes by the monotonic
// clock, as intervals must: a machine whose clock is set an hour ahead would
// lose all presence otherwise. TIME and stream ids need nothing from it, since
// miniredis takes them from the machine as long as nobody calls SetTime.
func runClock(ctx context.Context, redis *miniredis.Miniredis) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// Not the ticker's time: a late goroutine finds an old one there.
			now := time.Now()
			redis.FastForward(now.Sub(last))
			last = now
		}
	}
}
