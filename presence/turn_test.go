package presence

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

func TestATurnSendsNothingBeforeItsTime(t *testing.T) {
	for _, c := range []struct {
		what string
		hold func(n *node)
	}{
		{"while the link is not tried", func(n *node) {
			n.link.failed(n.now(), true)
			n.link.until = n.now() + time.Hour
		}},
		{"at a node that is gone", func(n *node) { n.gone = true }},
	} {
		n := testNode(t, Options{Timeout: time.Second})
		n.q.register(of("alice"), nil, n.now())
		c.hold(n)
		failures := n.link.failures
		n.turn(t.Context(), n.now()+time.Second)
		if n.q.joining.len() != 1 || n.link.failures != failures {
			t.Errorf("%s: %d wait, %d failures", c.what, n.q.joining.len(), n.link.failures-failures)
		}
	}
}

func TestWritesThatAreRefusedAreTriedAtTheirTime(t *testing.T) {
	n, _ := aliveNode(t, Options{Timeout: time.Minute})
	n.link.refused(n.now())
	n.link.mendAt = n.now() + time.Hour
	n.setErr(errors.New("refused"))
	n.q.unregister(of("alice"), nil, n.now())
	n.turn(t.Context(), n.now()+time.Minute)
	if n.err() == nil || n.link.refusals != 1 || n.q.leaving.len() != 0 {
		t.Errorf("Err = %v, %d refusals, %d removals wait", n.err(), n.link.refusals, n.q.leaving.len())
	}
}

func TestWhoHasWaitedForTheTimeoutIsTold(t *testing.T) {
	const timeout = 20 * time.Second // of which a batch needs one at least
	lost := errors.New("lost")
	for _, c := range []struct {
		now     time.Duration
		failure error
		tells   error
	}{
		{18 * time.Second, lost, nil},
		{19 * time.Second, nil, nil},
		{19*time.Second + 1, nil, context.DeadlineExceeded},
		{19*time.Second + 1, lost, lost},
	} {
		n := testNode(t, Options{Timeout: timeout})
		n.setErr(c.failure)
		var told []error
		n.q.register(of("first"), func(r Registered) { told = append(told, r.Err) }, 0)
		n.q.register(of("second"), func(r Registered) { told = append(told, r.Err) }, time.Second)
		by, expired := n.expire(c.now, time.Hour)
		n.callOutcomes()
		if expired != (c.tells != nil) || len(told) > 1 || expired != (len(told) == 1) {
			t.Errorf("after %v: expired: %v, %d are told", c.now, expired, len(told))
		}
		if expired && (!errors.Is(told[0], c.tells) || !errors.Is(told[0], ErrUnavailable)) {
			t.Errorf("after %v: told %v, want %v", c.now, told[0], c.tells)
		}
		if !expired && by != timeout {
			t.Errorf("after %v: the turn ends at %v, want %v", c.now, by, timeout)
		}
	}
}

// The turn ends in time for those who wait, but no sooner than it must.
func TestATurnEndsInTimeForWhoWaits(t *testing.T) {
	const timeout = 20 * time.Second
	for _, c := range []struct {
		what                  string
		joins, examined       time.Duration // since when; <0: nobody
		now, deadline, wanted time.Duration
	}{
		{"nobody waits", -1, -1, 0, time.Hour, time.Hour},
		{"a registration waits", 2, -1, 2, time.Hour, timeout + 2},
		{"its timeout is after the deadline", 2, -1, 2, time.Second, time.Second},
		{"an examination is waited for", -1, 2, 2, time.Hour, timeout + 2},
		{"its timeout is after the deadline", -1, 2, 2, time.Second, time.Second},
		{"it has waited for the timeout", -1, 0, timeout, time.Hour, timeout + time.Second},
	} {
		n := testNode(t, Options{Timeout: timeout})
		if c.joins >= 0 {
			n.q.register(of("joins"), nil, c.joins)
		}
		if c.examined >= 0 {
			n.q.examineFor(&item{entry: of("examined"), queued: c.examined})
		}
		if by, expired := n.expire(c.now, c.deadline); expired || by != c.wanted {
			t.Errorf("%s: the turn ends at %v, want %v; expired: %v", c.what, by, c.wanted, expired)
		}
	}
}

// Registrations wait for theirs, so these come first.
func TestOneBatchExaminesSoManyHashes(t *testing.T) {
	n := testNode(t, Options{})
	for i := range 100 {
		n.q.examineFor(&item{entry: of(fmt.Sprint("joins ", i))})
		n.q.chore(fmt.Sprint("chore ", i), nil, false)
	}
	for batch, want := range []struct{ awaited, chores int }{{64, 0}, {36, 28}, {0, 64}, {0, 8}, {0, 0}} {
		got := want
		got.awaited, got.chores = 0, 0
		n.gather()
		for _, e := range n.batch.exams {
			if len(e.newcomers) > 0 {
				got.awaited++
			} else {
				got.chores++
			}
		}
		if n.batch.reset(); got != want {
			t.Errorf("batch %d examines %+v, want %+v", batch, got, want)
		}
	}
}

func TestChoresBeyondTheRateWait(t *testing.T) {
	n := testNode(t, Options{})
	n.q.chore("alice", nil, false)
	n.sweeper.chores.AllowN(n.epoch.Add(n.now()+time.Second), choreRate) // what comes until then
	if n.gather(); len(n.batch.exams) != 0 {
		t.Error("a chore is done beyond the rate")
	}
}

func TestRefusedRemovalsWaitThoughOthersAreSent(t *testing.T) {
	n := testNode(t, Options{})
	n.q.register(of("joins"), nil, 0)
	n.q.unregister(of("leaves"), nil, 0)
	n.link.leaveAt = n.now() + time.Hour
	if n.gather(); len(n.batch.items) != 1 || n.batch.items[0].op != registering {
		t.Errorf("%d operations are sent", len(n.batch.items))
	}
	n.link.leaveAt = 0
	if n.gather(); len(n.batch.items) != 2 {
		t.Error("the removal is not sent when its time has come")
	}
}

func TestARemovalIsNotRepeatedWhereAnotherWaits(t *testing.T) {
	n := testNode(t, Options{})
	n.link.failed(0, true)
	n.link.note(of("again"), 2)
	n.link.note(of("waits"), 2)
	n.q.unregister(of("waits"), nil, 0)
	n.repeatRemovals()
	if got := waits(&n.q.leaving)[unregistering]; got != 2 {
		t.Fatalf("%d removals wait, want 2", got)
	}
	for n.q.leaving.len() > 0 {
		it := n.q.leaving.pop()
		if again := it.entry.User == "again"; it.repeat != again || it.cleanup != again {
			t.Errorf("%s: repeat %v, cleanup %v", it.entry.User, it.repeat, it.cleanup)
		}
	}
}

// A batch that ends early, since its node is gone, says nothing of the nodes that it asked.
func TestOnlyANodeThatDidNotAnswerIsAway(t *testing.T) {
	for _, gone := range []bool{false, true} {
		r := redisconn.Open(redisconn.Options{Addresses: []string{"127.0.0.1:1"}})
		t.Cleanup(r.Close)
		n := NewStore(Options{Redis: r, Keys: NewKeys("push:"), Pod: "a:1"}).routes.single
		other := newNode(n.shared, r.Node("127.0.0.1:2"))
		n.routes.of[other.server] = other
		n.gone = gone
		n.batch.behind = r.Pipeline(false)
		n.batch.behind.AddTo(other.server, intCmd("exists", "push:revoked:{a}"))
		n.lookBehind(t.Context())
		if away := other.away.Load() > 0; away == gone {
			t.Errorf("the asking node is gone: %v; the other one is taken to be away: %v", gone, away)
		}
	}
}

func TestAHashLivesForItsTTLOrASecondMoreAtMost(t *testing.T) {
	for ttl, want := range map[time.Duration]string{time.Second: "1", time.Second + 1: "2", 1500 * time.Millisecond: "2", 2 * time.Second: "2"} {
		b := newBatch(Options{TTL: ttl, Keys: NewKeys("push:")}, "push:pod:a:1")
		if b.ttlSeconds != want {
			t.Errorf("%v: %s seconds, want %s", ttl, b.ttlSeconds, want)
		}
	}
}

// What a batch was is nothing to the next one, and is not held on to.
func TestABatchThatIsResetKnowsNothingOfTheLast(t *testing.T) {
	n := testNode(t, Options{})
	b := &n.batch
	fresh := newBatch(n.opt, n.channel)
	b.items = []*item{{}}
	b.cmds = []redis.Cmder{redis.NewStatusCmd(t.Context())}
	b.singles = []single{{it: &item{}}}
	b.watched = append(b.watched, "key")
	b.watch = redis.NewIntCmd(t.Context())
	b.repairs, b.exams, b.behind, b.suspects = []*repair{{}}, []*exam{{}}, n.redis.Pipeline(false), true
	b.refusal, b.kept, b.wrote, b.unknown, b.scoreUsed, b.dated = errors.New("refused"), true, true, true, true, true
	b.reset()
	if b.items[:1][0] != nil || b.cmds[:1][0] != nil || b.singles[:1][0].it != nil {
		t.Error("operations or commands are held on to")
	}
	got := reflect.ValueOf(b).Elem()
	for i := range got.NumField() {
		f, want, name := got.Field(i), reflect.ValueOf(fresh).Field(i), got.Type().Field(i).Name
		switch {
		case f.Kind() == reflect.Slice && f.Len() != want.Len(), f.Kind() != reflect.Slice && f.Comparable() && !f.Equal(want):
			t.Errorf("%s is as the last batch has left it", name)
		}
	}
}
