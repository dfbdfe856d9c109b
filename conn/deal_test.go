package conn

import "testing"

func TestConnectionsAreDealtOutEvenly(t *testing.T) {
	const loops = 3
	var d dealer
	var has [loops]int
	last, run := -1, 0
	for n := range 10_000 {
		l := d.next(loops, n)
		has[l]++
		if l != last && n > 0 {
			switch {
			case n <= dealtSingly && run != 1:
				t.Fatalf("a run of %d before connection %d, want 1", run, n)
			case n > dealtSingly+dealtAtOnce && run != dealtAtOnce:
				t.Fatalf("a run of %d before connection %d, want %d", run, n, dealtAtOnce)
			}
			run = 0
		}
		last = l
		run++
		if most, least := max(has[0], has[1], has[2]), min(has[0], has[1], has[2]); most-least > dealtAtOnce {
			t.Fatalf("after %d connections the loops have %v", n+1, has)
		}
	}
}
