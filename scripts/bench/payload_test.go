//go:build linux

package main

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"
)

func TestDataIsJSONOfItsSizeAndCarriesItsStamp(t *testing.T) {
	now := time.Now().UnixNano()
	for size := range 200 {
		p := newPayloads(size, rand.New(rand.NewPCG(1, 2)))
		for k := range kinds {
			data := p.append(nil, k, now)
			if len(data) != max(size, minSize) || !json.Valid(data) {
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
	for _, frame := range []string{"", `{"type":"welcome","time":1}`, `{"t":`, `{"t":"x"}`, `"t":-1`} {
		if at, _ := stamp([]byte(frame)); at != 0 {
			t.Errorf("%s: stamp %d, want none", frame, at)
		}
	}
}

func TestMessagesOfAnEarlierStageDoNotCount(t *testing.T) {
	p := newPayloads(64, rand.New(rand.NewPCG(1, 2)))
	var got tally
	got.reset()
	now := got.since
	got.add(p.append(nil, single, now-1), now)
	got.add(p.append(nil, single, now), now+500)
	got.add(p.append(nil, broadcast, now), now+900)
	got.add([]byte(`{"type":"welcome"}`), now)
	if got.late != 1 || got.count(single) != 1 || got.count(broadcast) != 1 || got.unstamped() != 1 {
		t.Errorf("late %d, single %d, broadcast %d, other %d; want 1 each", got.late, got.count(single), got.count(broadcast), got.unstamped())
	}
	if r := got.of(single); r.age.max != 500 || r.last != now+500 {
		t.Errorf("age %d ns, last %d; want 500, %d", r.age.max, r.last, now+500)
	}
}
