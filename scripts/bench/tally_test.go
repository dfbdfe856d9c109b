//go:build linux

package main

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestDataIsJSONOfItsSizeAndCarriesItsStamp(t *testing.T) {
	now := time.Now().UnixNano()
	for size := minSize; size < 200; size++ {
		p := newPayload(size)
		for k := range kinds {
			data := p.append(nil, k, now)
			if len(data) != size || !json.Valid(data) {
				t.Fatalf("size %d: %d bytes, valid %v: %s", size, len(data), json.Valid(data), data)
			}
			frame := append([]byte(`{"type":"message","data":`), data...)
			if at, kind := stamp(frame); at != now || kind != k {
				t.Fatalf("size %d: stamp %d, kind %d, want %d, %d", size, at, kind, now, k)
			}
		}
	}
}

func TestFramesWithoutAStampHaveNone(t *testing.T) {
	for _, frame := range []string{"", `{"type":"welcome","time":1}`, `{"t":`, `{"t":"x"}`, `"t":-1`, `{"t":9999999999999999999`} {
		if at, _ := stamp([]byte(frame)); at != 0 {
			t.Errorf("%s: stamp %d, want none", frame, at)
		}
	}
}

func TestTheTallyCountsThisLoadsMessagesByKind(t *testing.T) {
	p := newPayload(64)
	got := newTally()
	now := got.since
	add := func(k kind, at, received int64) { got.add(p.append(nil, k, at), received) }
	add(single, now-1, now) // of an earlier load
	add(single, now, now+500)
	add(single, now+100, now) // by a clock that is ahead
	add(broadcast, now, math.MaxInt64)
	got.add([]byte(`{"type":"welcome"}`), now)
	if got.count(single) != 2 || got.count(broadcast) != 1 || got.unstamped() != 1 {
		t.Errorf("single %d, broadcast %d, other %d; want 2, 1, 1", got.count(single), got.count(broadcast), got.unstamped())
	}
	was := got.reset()
	if r := was[single]; r.age.Max() != 500 || r.age.Min() != 0 || r.last != now {
		t.Errorf("ages %d to %d ns, last %d; want 0 to 500, %d", r.age.Min(), r.age.Max(), r.last, now)
	}
	if age := was[broadcast].age.Max(); float64(age) < 0.99*float64(longest) {
		t.Errorf("an age without bound counts as %v, want %v", time.Duration(age), longest)
	}
	if got.count(single) != 0 || got.unstamped() != 0 {
		t.Error("something is left after a reset")
	}
}
