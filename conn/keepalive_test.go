package conn

import (
	"testing"
	"time"

	"pushpod/conn/internal/netloop"
)

// Connections that came at once must not be due at once for ever.
func TestDueTimesAreSpread(t *testing.T) {
	const ticks = 1000
	for name, draw := range map[string]struct {
		f         func() uint32
		low, high uint32
	}{
		"a first period":   {func() uint32 { return early(ticks) }, ticks / 2, ticks},
		"a tenth each way": {func() uint32 { return spread(ticks*netloop.Tick, 10) }, ticks * 9 / 10, ticks * 11 / 10},
		"the shortest":     {func() uint32 { return spread(time.Millisecond, 10) }, 1, 1},
	} {
		least, most := draw.high, draw.low
		for range 20_000 {
			n := draw.f()
			least, most = min(least, n), max(most, n)
		}
		if width := (draw.high - draw.low) / 50; least < draw.low || most > draw.high || least > draw.low+width || most < draw.high-width {
			t.Errorf("%s: from %d to %d, want %d to %d", name, least, most, draw.low, draw.high)
		}
	}
}
