//go:build !race

package hub

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pushpod/conn"
)

// Not a byte for each message, once it is warm. (With the race detector sync.Pool drops
// what it is given, at random.)
func TestTheWholePathAllocatesNothing(t *testing.T) {
	const conns, batch = 500, 200
	p := newVoidPod(t, conns, conn.Options{Loops: 1, Settings: conn.Settings{Ping: time.Hour, Renew: time.Hour}})
	r := rand.New(rand.NewPCG(1, 1))
	shared := kind{"expires", `,"expires":9007199254740991`} // its frame is counted, and used again
	for _, by := range []string{"user", "to"} {
		for _, kind := range append(kinds(), shared) {
			for _, size := range []int{2, 128, 5000} { // the last one is a frame of its own
				var stream []byte
				for range batch {
					stream = p.appendToOne(stream, p.conns[r.IntN(conns)], by, kind.more, `"`+strings.Repeat("x", size-2)+`"`)
				}
				before := p.server.Stats().Written
				bring := func() {
					if err := p.bring(stream); err != nil {
						t.Fatal(err)
					}
				}
				const warm, runs = 20, 20
				for range warm {
					bring()
				}
				n := testing.AllocsPerRun(runs, bring)
				if n != 0 {
					t.Errorf("by %s, %s, %d bytes: %v allocations for %d messages", by, kind.name, size, n, batch)
				}
				if written := p.server.Stats().Written - before; written != (warm+1+runs)*batch {
					t.Errorf("by %s, %s, %d bytes: %d deliveries", by, kind.name, size, written)
				}
			}
		}
	}
}
