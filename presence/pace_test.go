package presence

import (
	"testing"
	"time"
)

// A node that has nothing to do must not go round and round.
func TestANodeSleepsUntilSomethingIsDue(t *testing.T) {
	const pace = time.Minute
	n, e := testNode(t, Options{Pace: pace}), Entry{User: "alice", UUID: NewUUID(1)}
	s := &Store{n.shared}
	n.sent = n.now()
	want := func(what string, at time.Duration) {
		t.Helper()
		if got := n.due(n.now(), false); got != at {
			t.Errorf("%s: due at %v, want %v", what, got, at)
		}
	}
	want("nothing waits", never)
	s.Renew(e)
	want("a renewal", n.sent+renewalPace*pace)
	n.link.until = n.sent + time.Hour
	want("a renewal, while the link is not tried", n.sent+time.Hour)
	n.link.until = 0
	s.Unregister(Entry{User: "bob", UUID: NewUUID(2)}, nil)
	want("a removal", n.sent+pace)
	n.link.leaveAt = n.sent + 2*pace
	want("a removal that Redis refuses", n.sent+2*pace)
	s.Register(Entry{User: "carol", UUID: NewUUID(3)}, func(Registered) {})
	want("a registration", n.sent+pace)
}
