package presence

import (
	"slices"
	"testing"
	"time"
)

// within checks a wait that is drawn from a half of most up to all of it, plus more.
func within(t *testing.T, what string, wait, most, more time.Duration) {
	t.Helper()
	if wait < most/2+more || wait > most+more {
		t.Errorf("%s: the wait is %v, want %v to %v", what, wait, most/2+more, most+more)
	}
}

func TestWaitsOfALinkDoubleWithItsFailures(t *testing.T) {
	const now, pause = time.Minute, firstBackoff / 2
	var l link
	for i, most := range []time.Duration{0, firstBackoff, 2 * firstBackoff, 4 * firstBackoff} {
		l.failed(now, false)
		within(t, "failures", l.until-now, most, 0)
		if l.mendAt != l.until || l.leaveAt != l.until {
			t.Errorf("after %d failures something is tried before the link is", i+1)
		}
	}
	l.answered(now)
	if l.failures != 0 || l.until > now || l.mendAt > now || l.leaveAt > now {
		t.Errorf("after an answer: %+v", l)
	}
	for _, most := range []time.Duration{firstBackoff, 2 * firstBackoff, 4 * firstBackoff} {
		l.refused(now)
		l.refusedRemoval(now)
		within(t, "refusals", l.mendAt-now, most, pause)
		within(t, "refused removals", l.leaveAt-now, most, pause)
		if l.until > now {
			t.Error("a refusal stops what may be taken")
		}
	}
	l.mended()
	if l.mendAt > now || l.leaveAt > now {
		t.Errorf("after a success it waits: %+v", l)
	}
	l.refused(now)
	l.refusedRemoval(now)
	within(t, "the first refusal after a success", l.mendAt-now, firstBackoff, pause)
	within(t, "the first refused removal after a success", l.leaveAt-now, firstBackoff, pause)
	before := l
	if l.answered(now); l.mendAt != before.mendAt || l.leaveAt != before.leaveAt {
		t.Error("an answer ends the wait after a refusal")
	}
	l.failed(now, false)
	l.answered(now)
	if l.failed(now, false); l.failures != 1 {
		t.Errorf("the first failure after an answer is number %d", l.failures)
	}
	for range 50 {
		l.failed(now, false)
		l.refused(now)
		l.refusedRemoval(now)
	}
	within(t, "many failures", l.until-now, lastBackoff, 0)
	within(t, "many refusals", l.mendAt-now, lastBackoff, pause)
	within(t, "many refused removals", l.leaveAt-now, lastBackoff, pause)
}

func TestRemovalsInDoubtAreNotedUntilTheLinkHasBeenGoodForAWhile(t *testing.T) {
	var l link
	e := []Entry{{User: "a"}, {User: "b"}, {User: "c"}}
	const bound = 2
	now := time.Hour
	l.note(e[0], bound)
	if got := l.takeRemoved(); len(got) > 0 {
		t.Errorf("noted without a doubt: %v", got)
	}
	l.failed(now, false)
	if l.answered(now); l.settled(now + time.Hour) {
		t.Error("what was never sent is in doubt")
	}
	l.failed(now, true)
	for _, e := range e {
		l.note(e, bound)
	}
	if l.settled(now + time.Hour) {
		t.Error("settled before any answer")
	}
	l.answered(now)
	l.answered(now + settle/2)
	if l.settled(now + settle - 1) {
		t.Error("settled too early")
	}
	if !l.settled(now + settle) {
		t.Error("not settled by further answers")
	}
	if got := l.takeRemoved(); !slices.Equal(got, e[:bound]) {
		t.Errorf("noted: %v, want %v", got, e[:bound])
	}
	if l.settled(now+time.Hour) || len(l.takeRemoved()) > 0 {
		t.Error("there is a doubt after all are taken")
	}
}
