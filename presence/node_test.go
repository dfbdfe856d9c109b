package presence

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestThatWritesFailIsLoggedOnceAndThatTheySucceedAgain(t *testing.T) {
	var log strings.Builder
	n := testNode(t, Options{Log: zerolog.New(&log)})
	first, second := errors.New("first"), errors.New("second")
	for _, c := range []struct {
		err    error
		logged string
	}{{nil, ""}, {first, "does not accept"}, {second, ""}, {nil, "accepts"}, {nil, ""}, {first, "does not accept"}} {
		log.Reset()
		n.setErr(c.err)
		if got := log.String(); strings.Count(got, "\n") > 1 || (got == "") != (c.logged == "") || !strings.Contains(got, c.logged) {
			t.Errorf("%v: logged %q, want %q", c.err, got, c.logged)
		}
		if got := n.err(); got != c.err {
			t.Errorf("Err = %v, want %v", got, c.err)
		}
	}
}

func TestANodeEndsWhenNothingWaitsOrRedisIsAway(t *testing.T) {
	queue := []func(q *queue){
		func(q *queue) { q.register(of("joins"), nil, 0) },
		func(q *queue) { q.renew(of("stays"), 0) },
		func(q *queue) { q.unregister(of("leaves"), nil, 0) },
		func(q *queue) { q.examineFor(&item{}) },
	}
	for kinds := range 1 << len(queue) {
		n := testNode(t, Options{})
		for i, queue := range queue {
			if kinds>>i&1 == 1 {
				queue(&n.q)
			}
		}
		for failures, want := range []bool{kinds == 0, kinds == 0, true} {
			n.link.failures = failures
			if got := n.finished(); got != want {
				t.Errorf("kinds %04b after %d failures in a row: finished: %v, want %v", kinds, failures, got, want)
			}
		}
	}
	n := testNode(t, Options{})
	n.q.chore("alice", nil, false)
	if !n.finished() {
		t.Error("it waits for a chore")
	}
	n.link.failed(0, true)
	n.link.note(of("alice"), 1)
	n.link.failures = 0
	if n.finished() || waits(&n.q.leaving)[unregistering] != 1 {
		t.Error("a removal in doubt is not repeated before the end")
	}
}

func TestOutcomesAreNotKept(t *testing.T) {
	n := testNode(t, Options{})
	told := 0
	for range 10 {
		n.q.outcomes = append(n.q.outcomes, outcome{removed: func(error) { told++ }})
	}
	n.callOutcomes()
	for _, kept := range slices.Concat(n.calls[:cap(n.calls)], n.q.outcomes[:cap(n.q.outcomes)]) {
		if kept.removed != nil {
			t.Fatal("a callback is held on to")
		}
	}
	if told != 10 {
		t.Errorf("%d are told, want 10", told)
	}
}

func TestOnlyTheLastRegistrationOfARowHasNoneBehindIt(t *testing.T) {
	n := testNode(t, Options{})
	var more []bool
	registered := outcome{registered: func(r Registered) { more = append(more, r.More) }}
	other := outcome{removed: func(error) {}}
	for _, c := range []struct {
		row  []outcome
		more []bool
	}{
		{[]outcome{registered}, []bool{false}},
		{[]outcome{other}, nil},
		{[]outcome{registered, registered}, []bool{true, false}},
		{[]outcome{other, registered, other, registered, other, other}, []bool{true, false}},
	} {
		more = nil
		n.q.outcomes = c.row
		if n.callOutcomes(); !slices.Equal(more, c.more) {
			t.Errorf("told that more follow: %v, want %v", more, c.more)
		}
	}
}
