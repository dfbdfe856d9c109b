package conn

import (
	"bytes"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Connections that came at once must not be due at once for ever.
func TestDueTimesAreSpread(t *testing.T) {
	const ticks = 1000
	for name, draw := range map[string]struct {
		f         func() uint32
		low, high uint32
	}{
		"a first period":   {func() uint32 { return firstPeriod(ticks) }, ticks / 2, ticks},
		"a tenth each way": {func() uint32 { return spread(ticks, 10) }, ticks * 9 / 10, ticks * 11 / 10},
		"the shortest":     {func() uint32 { return spread(1, 10) }, 1, 1},
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

// A client can't send a pong in the middle of a frame.
func TestAFrameThatTakesLongIsASignOfLife(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{Ping: time.Second, PingTimeout: time.Second}}).open("u")
	x.give(1 << 20)
	for b := frame(ws.OpText, true, bytes.Repeat([]byte("a"), 60<<10)); len(b) > 0 && !x.closed; x.s.tick(1) {
		n := min(len(b), 1000)
		x.arrive(string(b[:n]))
		b = b[n:]
	}
	if x.closed {
		t.Errorf("it is closed: %v", x.s.Stats().Ended)
	}
}
