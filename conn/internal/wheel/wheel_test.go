package wheel

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const tick = 100 * time.Millisecond

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// advance brings w to a time and returns what was due, sorted.
func advance(w *Wheel, now time.Time) (due []uint32) {
	for w.Advance(now, 64, func(slot uint32) { due = append(due, slot) }) {
	}
	slices.Sort(due)
	return due
}

func want(t *testing.T, why string, got []uint32, want ...uint32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: due are %v, want %v", why, got, want)
	}
}

func TestASlotIsDueAtItsTickAndOnce(t *testing.T) {
	w := New(tick, start)
	w.Set(7, w.Now()+3)
	want(t, "a tick early", advance(w, start.Add(3*tick-1)))
	want(t, "its tick", advance(w, start.Add(3*tick)), 7)
	want(t, "afterwards", advance(w, start.Add(2000*tick)))
}

func TestTheFirstTickIsNotZero(t *testing.T) {
	if now := New(tick, start).Now(); now != 1 {
		t.Errorf("a new wheel is at %d, want 1", now)
	}
}

func TestTicksAreRoundedUp(t *testing.T) {
	w := New(tick, start)
	for d, n := range map[time.Duration]uint32{-time.Hour: 0, 0: 0, 1: 1, tick: 1, tick + 1: 2, time.Minute: 600} {
		if got := w.Ticks(d); got != n {
			t.Errorf("%v: %d ticks, want %d", d, got, n)
		}
	}
}

func TestAfterIsNeverTooEarly(t *testing.T) {
	w := New(tick, start)
	w.Set(1, w.After(3*tick, start))
	now := start.Add(7*tick + tick/2) // of which the wheel knows nothing yet
	w.Set(2, w.After(3*tick, now))
	if due := advance(w, now); !slices.Equal(due, []uint32{1}) {
		t.Errorf("due are %v, want the first", due)
	}
	want(t, "before the second", advance(w, now.Add(3*tick-1)))
	want(t, "the second", advance(w, now.Add(3*tick+tick/2)), 2)

	// In the middle of catching up.
	now = now.Add(5 * tick)
	for slot := range uint32(3) {
		w.Set(10+slot, w.Now()+1)
	}
	w.Advance(now, 1, func(uint32) { w.Set(20, w.After(tick, now)) })
	advance(w, now)
	want(t, "too early", advance(w, now.Add(tick-1)))
	want(t, "in time", advance(w, now.Add(2*tick)), 20)
}

func TestWhatIsNotLaterThanNowIsDueAtTheNextTick(t *testing.T) {
	w := New(tick, start)
	advance(w, start.Add(9*tick))
	w.Set(1, w.Now())
	w.Set(2, 1)
	w.Set(3, w.Now()+1)
	want(t, "at once", advance(w, start.Add(9*tick)))
	want(t, "the next tick", advance(w, start.Add(10*tick)), 1, 2, 3)
}

func TestSetTakesThePlaceOfWhatWasSet(t *testing.T) {
	w := New(tick, start)
	for range 2 {
		w.Set(1, 3)
		w.Set(2, 3)
	}
	w.Set(1, 5)
	w.Set(2, 0)
	w.Set(3, 3)
	w.Remove(3)
	w.Remove(4) // which was never set
	w.Remove(1 << 20)
	want(t, "when they were due at first", advance(w, start.Add(2*tick)))
	want(t, "when it is due now", advance(w, start.Add(4*tick)), 1)
}

func TestALateDuePassesByUntilItsRound(t *testing.T) {
	w := New(tick, start)
	for i := range uint32(5) {
		w.Set(i, 1+i*buckets+1)
	}
	for round := range uint32(5) {
		var due []uint32
		for range buckets {
			start := start.Add(time.Duration(w.Now()) * tick)
			due = append(due, advance(w, start)...)
		}
		want(t, "in its round", due, round)
	}
}

func TestTheBudgetBoundsACallAndTheRestFollows(t *testing.T) {
	w := New(tick, start)
	for i := range uint32(100) {
		w.Set(i, 2+i/50)
	}
	now, calls, due := start.Add(2*tick), 0, 0
	for more := true; more; calls++ {
		before := due
		more = w.Advance(now, 30, func(uint32) { due++ })
		if due-before > 30 {
			t.Fatalf("%d in one call, want 30 at most", due-before)
		}
		now = now.Add(tick / 10) // time goes on, and waits for what is owed
	}
	if due != 100 || w.Now() != 3 {
		t.Errorf("%d due in %d calls, now %d; want 100 and 3", due, calls, w.Now())
	}
}

func TestOneSecondOfAStallIsMadeUpFor(t *testing.T) {
	w := New(tick, start)
	w.Set(1, 1+10)
	w.Set(2, 1+11)
	stalled := start.Add(time.Hour + tick/2)
	want(t, "after an hour", advance(w, stalled), 1)
	want(t, "half a tick on", advance(w, stalled.Add(tick/2-1)))
	want(t, "at the next tick", advance(w, stalled.Add(tick/2)), 2)
}

func TestATickAboveASecondIsStillCounted(t *testing.T) {
	w := New(time.Minute, start)
	w.Set(1, 2)
	want(t, "after an hour", advance(w, start.Add(time.Hour)), 1)
	if w.Now() != 2 {
		t.Errorf("now is %d, want one tick for an hour", w.Now())
	}
}

func TestAResumedWheelMakesUpForNothing(t *testing.T) {
	w := New(tick, start)
	w.Set(1, 2)
	w.Resume(start.Add(time.Hour))
	want(t, "resumed", advance(w, start.Add(time.Hour+tick-1)))
	want(t, "a tick later", advance(w, start.Add(time.Hour+tick)), 1)
}

func TestTimeThatGoesBackIsNoTime(t *testing.T) {
	w := New(tick, start)
	w.Set(1, 2)
	want(t, "an hour before", advance(w, start.Add(-time.Hour)))
	want(t, "a tick later", advance(w, start.Add(tick)), 1)
}

func TestCallbacksMaySetAndRemoveAnySlot(t *testing.T) {
	w := New(tick, start)
	for i := range uint32(10) {
		w.Set(i, 2)
	}
	calls := map[uint32]int{}
	due := func(slot uint32) {
		calls[slot]++
		for i := range uint32(10) { // those that wait in the same bucket
			if i != slot {
				w.Remove(i)
			}
		}
		w.Set(slot, 1)   // itself, late: at the next tick, not again in this one
		w.Set(1000, 300) // one that the wheel has not seen
	}
	w.Advance(start.Add(tick), 100, due)
	if len(calls) != 1 {
		t.Fatalf("called for %v, want one: it removes the others", calls)
	}
	for slot := range calls {
		want(t, "the next tick", advance(w, start.Add(2*tick)), slot)
	}
}

func TestASlotSetARoundAwayWaitsForARound(t *testing.T) {
	w := New(tick, start)
	w.Set(1, 2)
	calls := 0
	w.Advance(start.Add(tick), 100, func(slot uint32) { // it would come back into this very bucket
		calls++
		w.Set(slot, w.Now()+buckets)
	})
	if calls != 1 || w.Advance(start.Add(tick), 100, nil) {
		t.Fatalf("%d calls, want 1 and no more", calls)
	}
	for w.Now() < 2+buckets-1 {
		want(t, "within the round", advance(w, start.Add(time.Duration(w.Now())*tick)))
	}
	want(t, "a round later", advance(w, start.Add((2+buckets-1)*tick)), 1)
}

// model is what a wheel does, said simply.
type model struct {
	now  uint32
	last time.Time
	due  map[uint32]due // by slot
}

type due struct{ asked, at uint32 }

// take says that slot was called for: is it right?
func (m *model) take(t *testing.T, w *Wheel, slot uint32) {
	t.Helper()
	if d, in := m.due[slot]; !in || d.at > w.Now() {
		t.Fatalf("slot %d at %d: in the model %v, %v", slot, w.Now(), in, d)
	}
	delete(m.due, slot)
}

func (m *model) set(w *Wheel, slot, at uint32) {
	w.Set(slot, at)
	switch {
	case at == 0:
		delete(m.due, slot)
	case m.due[slot].asked != at: // the same again changes nothing
		m.due[slot] = due{at, max(at, w.Now()+1)}
	}
}

// settled looks whether anything was left behind.
func (m *model) settled(t *testing.T, w *Wheel) {
	t.Helper()
	for slot, d := range m.due {
		if d.at <= w.Now() {
			t.Fatalf("slot %d is due at %d, now it is %d", slot, d.at, w.Now())
		}
	}
}

func TestTheWheelDoesWhatTheModelDoes(t *testing.T) {
	for seed := range uint64(8) {
		play(t, rand.New(rand.NewPCG(seed, 17)))
	}
}

func play(t *testing.T, r *rand.Rand) {
	w, now := New(tick, start), start
	m := model{now: 1, last: start, due: map[uint32]due{}}
	const slots = 200
	change := func() { // what an owner may do at any time
		slot := r.Uint32N(slots)
		switch r.IntN(10) {
		case 0:
			w.Remove(slot)
			delete(m.due, slot)
		case 1:
			m.set(w, slot, 0)
		case 2:
			m.set(w, slot, r.Uint32N(w.Now())+1)
		case 3: // several rounds away
			m.set(w, slot, w.Now()+r.Uint32N(4*buckets))
		default:
			m.set(w, slot, w.Now()+r.Uint32N(30))
		}
	}
	more := false
	for range 3000 {
		for range r.IntN(5) {
			change()
		}
		now = now.Add(time.Duration(r.Int64N(int64(2 * tick))))
		switch r.IntN(100) {
		case 0: // a stall
			now = now.Add(time.Duration(r.Int64N(int64(time.Hour))))
		case 1:
			if !more {
				now = now.Add(time.Duration(r.Int64N(int64(time.Hour))))
				w.Resume(now)
				m.last = now
			}
		}
		if !more {
			n := now.Sub(m.last) / tick
			m.last = m.last.Add(n * tick)
			m.now += uint32(min(n, 10))
		}
		budget := 1 + r.IntN(20)
		more = w.Advance(now, budget, func(slot uint32) {
			m.take(t, w, slot)
			if budget--; budget < 0 {
				t.Fatal("more were called for than the budget allows")
			}
			for range r.IntN(4) {
				change()
			}
			if r.IntN(2) == 0 {
				m.set(w, slot, w.Now()+r.Uint32N(100))
			}
		})
		if !more {
			if w.Now() != m.now {
				t.Fatalf("now is %d, want %d", w.Now(), m.now)
			}
			m.settled(t, w)
		}
	}
	if len(m.due) == 0 {
		t.Fatal("nothing is left to be due: the model tests nothing")
	}
	for slot := range maps.Clone(m.due) {
		m.set(w, slot, 0)
	}
	if due := advance(w, now.Add(time.Hour)); len(due) != 0 {
		t.Fatalf("removed, but due: %v", due)
	}
}

func TestNothingIsAllocatedOnceTheSlotsAreKnown(t *testing.T) {
	w, now := New(tick, start), start
	w.Set(1000, 1)
	again := func(slot uint32) { w.Set(slot, w.Now()+5) }
	if n := testing.AllocsPerRun(100, func() {
		w.Set(10, w.Now()+1)
		now = now.Add(tick)
		for w.Advance(now, 10, again) {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSetAndAdvance(b *testing.B) {
	const slots = 10_000
	w, now := New(tick, start), start
	for i := range uint32(slots) {
		w.Set(i, 2+i%250)
	}
	again := func(slot uint32) { w.Set(slot, w.Now()+250) }
	b.ReportAllocs()
	for b.Loop() { // 40 are due in a tick
		now = now.Add(tick)
		for w.Advance(now, 64, again) {
		}
	}
}
