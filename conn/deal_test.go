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
			want := 1
			if n > dealtSingly+dealtAtOnce {
				want = dealtAtOnce
			}
			if n <= dealtSingly && run != 1 || n > dealtSingly+dealtAtOnce && run != want {
				t.Fatalf("connection %d: a run of %d, want %d", n, run, want)
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
