//go:build linux

package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantilesAreWithinOnePercentOfTheTruth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []int64
	for range 50_000 {
		v := int64(math.Exp(r.Float64() * 25)) // 1 ns to 72 s
		all = append(all, v)
		h.add(v)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		want := float64(all[min(int(q*float64(len(all))), len(all)-1)])
		if got := float64(h.quantile(q)); math.Abs(got-want) > 0.01*want+1 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if h.max != all[len(all)-1] || h.n != uint64(len(all)) {
		t.Errorf("max %d, n %d; want %d, %d", h.max, h.n, all[len(all)-1], len(all))
	}
}

func TestHistogramTakesAnyValue(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for _, v := range []int64{math.MinInt64, -1, 0, 1, subs - 1, subs, math.MaxInt64} {
		h.add(v)
	}
	if h.n != 7 || h.max != math.MaxInt64 || h.quantile(0) != 0 {
		t.Errorf("n %d, max %d, lowest %d", h.n, h.max, h.quantile(0))
	}
	last := -1
	for v := uint64(1); v < 1<<62; v *= 2 { // slots rise with the values
		for _, x := range []uint64{v, v + v/2} {
			if s := slot(x); s < last {
				t.Fatalf("slot of %d is %d, and that of a smaller one %d", x, s, last)
			} else {
				last = s
			}
		}
	}
}
