package presence

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/redisconn"
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

// pipelines is a hook that is told of each pipeline's context.
type pipelines func(ctx context.Context)

func (p pipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (p pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { p(ctx); return next(ctx, cmds) }
}

// runStore runs a store until the returned function is called.
func runStore(t *testing.T, o Options, hook pipelines) (s *Store, m *miniredis.Miniredis, stop func()) {
	m = miniredis.RunT(t)
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{m.Addr()}, NoRetry: true})
	t.Cleanup(func() { _ = c.Close() })
	if hook != nil {
		c.AddHook(hook)
	}
	o.Redis, o.Keys, o.Pod = redisconn.Of(c), NewKeys("push:"), "a:1"
	s = NewStore(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = s.Run(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return s, m, stop
}

func TestNoPipelineTakesLongerThanTheTimeout(t *testing.T) {
	const timeout = time.Minute
	var sent, unbounded atomic.Int64
	s, _, stop := runStore(t, Options{Timeout: timeout}, func(ctx context.Context) {
		sent.Add(1)
		if at, ok := ctx.Deadline(); !ok || time.Until(at) > timeout {
			unbounded.Add(1)
		}
	})
	done := make(chan Registered, 1)
	_ = s.Register(of("alice"), func(r Registered) { done <- r })
	if r := <-done; r.Err != nil {
		t.Error(r.Err)
	}
	gone := make(chan error, 1)
	_ = s.Unregister(of("alice"), func(err error) { gone <- err })
	if err := <-gone; err != nil {
		t.Error(err)
	}
	stop()
	if sent.Load() < 2 || unbounded.Load() > 0 {
		t.Errorf("%d of %d pipelines may take longer", unbounded.Load(), sent.Load())
	}
}

func TestAStoreThatEndsTriesRefusedRemovalsForATimeout(t *testing.T) {
	t.Parallel()
	s, m, stop := runStore(t, Options{Timeout: 200 * time.Millisecond}, nil)
	refused := atomic.Int64{}
	m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd == "HDEL" {
			refused.Add(1)
			c.WriteError("NOPERM this user has no permissions to run the 'hdel' command")
		}
		return cmd == "HDEL"
	})
	gone := make(chan error, 1)
	_ = s.Unregister(of("alice"), func(err error) { gone <- err })
	until(t, "it has been refused", func() bool { return refused.Load() > 0 })
	stop()
	if err := <-gone; !errors.Is(err, ErrClosed) || refused.Load() < 2 {
		t.Errorf("told %v after %d refusals", err, refused.Load())
	}
}
