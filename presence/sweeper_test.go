package presence

import (
	"testing"
	"time"

	"pushpod/redisconn"
)

// Each user's hash is read once in so many phases, and no more than once in a phase.
func TestEachUserIsSweptOnceInAllPhases(t *testing.T) {
	w := newSweeper(Options{TTL: 90 * time.Second, Renew: 30 * time.Second, Lease: 10 * time.Second})
	// What a dead pod left is gone within ttl + renew + lease of its death, which is
	// known a lease later; each phase has a renewal of every live entry.
	if w.phase < 30*time.Second || time.Duration(w.phases)*w.phase > 110*time.Second {
		t.Fatalf("%d phases of %v", w.phases, w.phase)
	}
	if w.phases < 2 {
		t.Fatalf("%d phase: every hash is read in each", w.phases)
	}
	const users, rounds = 100, 3
	swept := map[uint64]int{}
	for phase := range rounds * int(w.phases) {
		for _, part := range []time.Duration{0, w.phase / 2, w.phase - 1} {
			for user := range uint64(users) {
				if w.wants(user, time.Duration(phase)*w.phase+part) {
					swept[user]++
				}
			}
		}
	}
	for user := range uint64(users) {
		if swept[user] != rounds {
			t.Errorf("user %d is swept %d times in %d rounds", user, swept[user], rounds)
		}
	}
}

func testNode(t *testing.T, o Options) *node {
	t.Helper()
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{"127.0.0.1:1"}})
	t.Cleanup(func() { _ = c.Close() })
	o.Redis, o.Keys, o.Pod = redisconn.Of(c), NewKeys("push:"), "a:1"
	return NewStore(o).routes.single
}

func TestACrowdedHashIsAskedForOnce(t *testing.T) {
	n := testNode(t, Options{TTL: time.Second, Renew: time.Second}) // one phase: it is everyone's turn
	n.sweeper.crowded = []crowd{{"alice", 2}, {"bob", 3}}
	n.askSweeps(0)
	if got := n.q.chores.len(); got != 2 {
		t.Errorf("%d hashes are asked for, want 2", got)
	}
	for n.q.chores.len() > 0 {
		if e := n.q.takeExam(&n.q.chores); e.adopt || e.held != nil {
			t.Error("a sweep does more than sweep")
		}
	}
	n.askSweeps(time.Hour) // another phase, and a batch that met nobody
	if got := n.q.chores.len(); got != 0 {
		t.Errorf("%d hashes are asked for again", got)
	}
}

func TestChoresComeAtARate(t *testing.T) {
	n := testNode(t, Options{})
	now := n.now()
	if at := n.choreAt(now); at != now {
		t.Errorf("the first one may be done in %v", at-now)
	}
	if !n.sweeper.chores.AllowN(n.epoch.Add(now), choreRate) {
		t.Fatal("a second's worth is not allowed at once")
	}
	if at := n.choreAt(now); at <= now || at > now+2*time.Second/choreRate {
		t.Errorf("after that, the next one may be done in %v", at-now)
	} else if !n.sweeper.chores.AllowN(n.epoch.Add(at), 1) {
		t.Error("and then it may not")
	}
}
