package presence

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// slowNode is a node that has just sent a pipeline, and sends the next one in a minute.
type slowNode struct {
	*node
	store *Store
	t     *testing.T
}

const slowPace = time.Minute

func newSlowNode(t *testing.T, o Options) *slowNode {
	o.Pace = slowPace
	n := testNode(t, o)
	n.epoch = n.epoch.Add(-2 * time.Hour)
	n.sent = n.now()
	return &slowNode{node: n, store: &Store{n.shared}, t: t}
}

func (n *slowNode) register(user string) {
	_ = n.store.Register(of(user), func(Registered) {})
}

// wantDue checks when the next turn can do something.
func (n *slowNode) wantDue(what string, at time.Duration) {
	n.t.Helper()
	if got := n.due(n.now(), false); got != at {
		n.t.Errorf("%s: due at %v, want %v", what, got, at)
	}
}

// wantWoken checks whether the node has been woken since the last time.
func (n *slowNode) wantWoken(what string, want bool) {
	n.t.Helper()
	if got := len(n.wake) > 0; got != want {
		n.t.Errorf("%s: woken: %v, want %v", what, got, want)
	}
	select {
	case <-n.wake:
	default:
	}
}

// A node that has nothing to do must not go round and round.
func TestANodeSleepsUntilSomethingIsDue(t *testing.T) {
	n := newSlowNode(t, Options{})
	n.wantDue("nothing waits", never)
	n.store.Renew(of("alice"))
	n.wantDue("a renewal", n.sent+renewalPace*slowPace)
	n.link.until = n.sent + time.Hour
	n.wantDue("a renewal, while the link is not tried", n.sent+time.Hour)
	n.link.until = 0
	n.store.Unregister(of("bob"), nil)
	n.wantDue("a removal", n.sent+slowPace)
	n.link.leaveAt = n.sent + 2*slowPace
	n.wantDue("a removal that Redis refuses", n.sent+2*slowPace)
	n.register("carol")
	n.wantDue("a registration", n.sent+slowPace)
	n.link.until = n.sent + 3*slowPace
	n.wantDue("a registration, while the link is not tried", n.sent+3*slowPace)
	n.q.outcomes = append(n.q.outcomes, outcome{})
	if now := n.now(); n.due(now, false) != now {
		t.Error("who waits for an outcome is not told at once")
	}
}

func TestChoresComeWithTheRenewals(t *testing.T) {
	n := newSlowNode(t, Options{})
	stay, later := n.sent+renewalPace*slowPace, n.sent+time.Hour
	n.store.Heal("alice", func(UUID) bool { return true })
	n.wantDue("a heal", stay)
	n.link.until = later
	n.wantDue("a heal, while the link is not tried", later)

	n = newSlowNode(t, Options{})
	n.sent -= time.Hour
	n.store.Heal("alice", func(UUID) bool { return true })
	now := n.now()
	n.sweeper.chores.AllowN(n.epoch.Add(now), choreRate)
	if at := n.due(now, false); at <= now || at > now+time.Second {
		t.Errorf("a heal beyond the rate: due in %v", at-now)
	}

	n = newSlowNode(t, Options{})
	n.sweeper.doubts.push(doubt{"alice", 0})
	n.wantDue("an examination whose time has come", n.sent+renewalPace*slowPace)
	n.sweeper.doubts.pop()
	n.sweeper.doubts.push(doubt{"alice", n.sent + time.Hour})
	n.wantDue("an examination later", n.sent+time.Hour)

	n = newSlowNode(t, Options{})
	n.sweeper.repairs = []*repair{{}}
	n.wantDue("the removal of stale fields", n.sent+slowPace)
	n.sweeper.repairs = nil
	n.q.examineFor(&item{})
	n.wantDue("an examination for which a registration waits", n.sent+slowPace)
}

func TestANodeTriesAgainByItself(t *testing.T) {
	n := newSlowNode(t, Options{})
	n.setErr(errors.New("refused"))
	n.link.mendAt = n.sent + time.Hour
	n.wantDue("writes that are refused", n.sent+time.Hour)
	n.link.until = n.sent + 2*time.Hour
	n.wantDue("and a link that is not tried", n.sent+2*time.Hour)
	n.setErr(nil)
	n.wantDue("no more", never)

	n.link = link{doubt: true}
	n.wantDue("a doubt, and no answer yet", never)
	n.link.settleAt = n.sent + time.Hour
	n.wantDue("a doubt that settles", n.sent+time.Hour)
	n.link.doubt = false
	n.wantDue("no doubt", never)
}

func TestANodeThatEndsKeepsNoPace(t *testing.T) {
	n := newSlowNode(t, Options{})
	n.store.Heal("alice", func(UUID) bool { return true })
	n.setErr(errors.New("refused"))
	if at := n.due(n.now(), true); at != never {
		t.Errorf("it waits for chores and until Redis writes again: due at %v", at)
	}
	n.store.Renew(of("alice"))
	if at := n.due(n.now(), true); at != 0 {
		t.Errorf("a renewal is due at %v", at)
	}
	n.link.until = n.sent + time.Hour
	if at := n.due(n.now(), true); at != n.link.until {
		t.Errorf("a renewal, while the link is not tried, is due at %v", at)
	}
}

func TestOnlyWhatIsDueSoonerWakesANode(t *testing.T) {
	n := newSlowNode(t, Options{})
	n.register("before it sleeps")
	n.wantWoken("it is awake", false)
	n.q.take(nil, 8, true)

	n.wantDue("nothing", never)
	n.store.Renew(of("a"))
	n.wantWoken("a renewal", true)
	n.store.Renew(of("b"))
	n.wantWoken("another one, before it looked", false)

	n.wantDue("renewals", n.sent+renewalPace*slowPace)
	n.store.Renew(of("c"))
	n.store.Heal("c", func(UUID) bool { return true })
	n.wantWoken("what is due with them", false)
	n.store.Unregister(of("d"), nil)
	n.wantWoken("a removal", true)

	n.wantDue("a removal", n.sent+slowPace)
	n.register("e")
	n.wantWoken("a registration that is due with it", false)
	n.q.take(nil, 8, true)
	_ = n.store.Register(of("f"), nil)
	n.store.Unregister(of("f"), nil) // was never sent
	n.wantWoken("an outcome", true)

	n = newSlowNode(t, Options{})
	n.wantDue("nothing", never)
	n.store.Renew(of("g"))
	n.wantWoken("a renewal", true)
	n.wantDue("a renewal", n.sent+renewalPace*slowPace)
	n.sent -= time.Hour // it sleeps for so long
	if now := n.now(); n.due(now, false) > now {
		t.Error("a renewal is not due an hour later")
	}
	n.register("h")
	n.wantWoken("it is awake again", false)
}

func TestACrowdDoesNotWaitForThePace(t *testing.T) {
	const batch = 64
	fill := func(n *slowNode, joining, others int) {
		for i := range joining {
			n.register(fmt.Sprint("joining ", i))
		}
		for i := range others {
			if i%2 == 0 {
				n.store.Renew(of(fmt.Sprint("other ", i)))
			} else {
				n.store.Unregister(of(fmt.Sprint("other ", i)), nil)
			}
		}
	}
	for _, c := range []struct {
		joining, others int
		crowded         bool
	}{
		{batch/joiningShare - 1, 0, false},
		{batch / joiningShare, 0, true},
		{0, batch - 1, false},
		{0, batch, true},
		{4, batch - 5, false},
		{4, batch - 4, true},
	} {
		what := fmt.Sprintf("%d join and %d others wait", c.joining, c.others)
		n := newSlowNode(t, Options{Batch: batch})
		fill(n, c.joining, c.others)
		if got := n.due(n.now(), false) == 0; got != c.crowded {
			t.Errorf("%s: due at once: %v, want %v", what, got, c.crowded)
		}

		n = newSlowNode(t, Options{Batch: batch})
		n.register("first")
		n.wantDue("one", n.sent+slowPace)
		n.q.take(nil, 1, false)
		fill(n, c.joining, c.others)
		n.wantWoken(what, c.crowded)
	}
	// It is told once: while the link is not tried, it could do nothing anyway.
	n := newSlowNode(t, Options{Batch: batch})
	fill(n, batch, 0)
	n.link.until = n.sent + time.Hour
	n.wantDue("a crowd, while the link is not tried", n.link.until)
	n.register("another")
	n.wantWoken("one more in a crowd", false)
}
