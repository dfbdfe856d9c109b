package presence

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestFifoKeepsItsOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var f fifo[int]
	var model []int
	for i := range 200_000 {
		switch n := random.IntN(10); {
		case n < 5 || len(model) == 0:
			f.push(i)
			model = append(model, i)
		case n < 6:
			f.pushFront(i)
			model = slices.Insert(model, 0, i)
		default:
			if got := f.front(); got != model[0] {
				t.Fatalf("front %d, want %d", got, model[0])
			}
			if got := f.pop(); got != model[0] {
				t.Fatalf("pop %d, want %d", got, model[0])
			}
			model = model[1:]
		}
		if f.len() != len(model) {
			t.Fatalf("length %d, want %d", f.len(), len(model))
		}
		if i%50_000 == 0 { // large, then empty
			for f.len() > 0 {
				f.pop()
			}
			model = nil
		}
	}
}

// What has been taken can be collected, and the buffer does not outgrow what waits.
func TestFifoHoldsOnToNothingThatWasTaken(t *testing.T) {
	var f fifo[*int]
	check := func() {
		t.Helper()
		for i, v := range f.buf[:cap(f.buf)] {
			if (v != nil) != (i >= f.head && i < len(f.buf)) {
				t.Fatalf("%v at %d; what waits is at %d to %d", v, i, f.head, len(f.buf))
			}
		}
	}
	const waiting = 5000
	for range waiting {
		f.push(new(int))
	}
	for i := range 10 * waiting {
		f.pop()
		f.push(new(int))
		if i%1000 == 0 {
			check()
		}
	}
	if n := len(f.buf); n > 2*waiting+1 {
		t.Errorf("a buffer of %d for %d that wait", n, waiting)
	}
	for f.len() > 0 {
		f.pop()
	}
	check()
	if n := cap(f.buf); n > 0 {
		t.Errorf("a buffer of %d for none that wait", n)
	}
}
