package presence_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pushpod/presence"
)

// sweeping is a store that sweeps soon, with a Pods whose heartbeat runs.
func (w *world) sweeping(pod string, change func(*presence.Options)) (*testStore, *presence.Pods) {
	w.t.Helper()
	p := w.pods(pod, nil)
	w.keepBeating(p)
	s := w.store(pod, func(o *presence.Options) {
		o.Pods, o.TTL, o.Renew, o.Lease = p, 30*time.Second, 100*time.Millisecond, 500*time.Millisecond
		if change != nil {
			change(o)
		}
	})
	return s, p
}

// renewUntil renews the entry, as the hub does, until check returns nil.
func (s *testStore) renewUntil(what string, e presence.Entry, check func() error) {
	s.w.t.Helper()
	eventually(s.w.t, what, func() error {
		s.Renew(e)
		time.Sleep(20 * time.Millisecond)
		return check()
	})
}

func TestDeadPodsFieldsAreRemovedBesideALiveOne(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	s, p := w.sweeping("a:1", func(o *presence.Options) { o.TTL, o.Renew = 2*time.Second, 100*time.Millisecond })
	q := w.neighbour("b:1", p)
	silent := w.keys.PodChannel("c:1")
	w.score(silent, 1)

	mine, living, dying, unknown := entry("alice"), entry("alice"), entry("alice"), entry("alice")
	s.mustRegister(mine)
	w.put(living, q.Channel())
	w.put(dying, silent)
	w.put(unknown, w.keys.PodChannel("never:1"))
	predecessor := presence.Entry{User: "alice", UUID: presence.NewUUID(q.Started() - 1)}
	w.put(predecessor, q.Channel())
	own := presence.Entry{User: "alice", UUID: presence.NewUUID(p.Started() - 1)}
	w.put(own, s.channel)
	s.renewUntil("only the living are left", mine, func() error {
		fields := w.fields("alice")
		if len(fields) == 2 && fields[presence.FormatUUID(mine.UUID)] == s.channel && fields[presence.FormatUUID(living.UUID)] == q.Channel() {
			return nil
		}
		return fmt.Errorf("%v", fields)
	})
	eventually(t, "four are counted as stale", func() error {
		if got := s.Stats().Stale; got != 4 {
			return fmt.Errorf("Stale = %d", got)
		}
		return nil
	})
	if ttl := w.admin.PTTL(t.Context(), w.keys.User("alice")).Val(); ttl <= 0 {
		t.Errorf("the hash does not expire any more: PTTL is %v", ttl)
	}
}

// largePool adds so many pods that heartbeats read nobody but who is suspected. Their
// scores do not move: nobody has entries of theirs.
func (w *world) largePool() (pods int) {
	for i := range 400 {
		w.score(w.keys.PodChannel(fmt.Sprint("z:", i)), float64(time.Now().UnixMilli()))
	}
	return 400
}

// What Redis pays for heartbeats must not grow with the square of the pods.
func TestHeartbeatsOfALargePoolReadNobody(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.largePool()
	p := w.pods("a:1", func(o *presence.PodsOptions) { o.Lease = 4 * time.Second }) // a machine that pauses for as long begins anew
	beat := func() {
		t.Helper()
		if err := p.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	beat() // it reads all, and all scores are new
	w.real.CLI("CONFIG", "RESETSTAT")
	for range 20 {
		time.Sleep(225 * time.Millisecond)
		beat()
	}
	if got := w.real.CLI("INFO", "commandstats"); strings.Contains(got, "zscore") || strings.Contains(got, "zrange") || !strings.Contains(got, "zadd") {
		t.Errorf("20 heartbeats of one pod among 400 took\n%s", got)
	}
}

// A user is examined again once it is known whether a pod is dead: the next phase that
// is the user's may come too late.
func TestSuspectedPodsUsersAreExaminedAgain(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.largePool()
	s, _ := w.sweeping("a:1", func(o *presence.Options) { o.TTL, o.Renew = 2*time.Hour, time.Hour })
	q := w.pods("b:1", nil)
	s.mustRegister(entry("alice"))
	w.put(entry("alice"), q.Channel())
	time.Sleep(600 * time.Millisecond) // q has no heartbeat: its score is older than a lease
	s.Heal("alice", func(presence.UUID) bool { return true })
	eventually(t, "the dead pod's entry is gone", func() error {
		if n := len(w.fields("alice")); n != 1 {
			return fmt.Errorf("%d entries", n)
		}
		return nil
	})
}

func TestDeadPodsFieldIsRemovedInALargePool(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	pods := w.largePool()
	s, p := w.sweeping("a:1", func(o *presence.Options) { o.TTL, o.Renew = 2*time.Second, 100*time.Millisecond })
	q := w.pods("b:1", nil)
	stop := w.keepBeating(q)
	mine, other := entry("alice"), entry("alice")
	s.mustRegister(mine)
	w.put(other, q.Channel())
	stands := func() error {
		if len(w.fields("alice")) != 2 {
			return fmt.Errorf("%v", w.fields("alice"))
		}
		return nil
	}
	for range 20 {
		s.renewUntil("while its pod lives the entry stands", mine, stands)
	}
	stop() // killed
	s.renewUntil("the dead pod's entry is gone", mine, func() error {
		if stands() == nil {
			return errors.New("it stands")
		}
		return nil
	})
	if n := p.Stats().Alive + p.Stats().Dead; n < pods {
		t.Fatalf("%d pods are known: this was no large pool", n)
	}
	if got := s.Stats().Stale; got > 1 {
		t.Errorf("Stale = %d", got)
	}
}

func TestDeadPodsEntriesDoNotCount(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s, p := w.sweeping("a:1", func(o *presence.Options) { o.PerUser = 2 })
		q := w.neighbour("b:1", p)
		w.put(entry("alice"), w.keys.PodChannel("gone:1"))
		w.put(entry("alice"), w.keys.PodChannel("gone:2"))
		w.put(presence.Entry{User: "alice", UUID: presence.NewUUID(q.Started() - 1)}, q.Channel())
		// Of a predecessor alone, beside no dead pod's.
		w.put(presence.Entry{User: "bob", UUID: presence.NewUUID(q.Started() - 1)}, q.Channel())
		w.put(presence.Entry{User: "bob", UUID: presence.NewUUID(q.Started() - 2)}, q.Channel())
		s.mustRegister(entry("bob"))
		s.mustRegister(entry("bob"))
		living := entry("alice")
		w.put(living, q.Channel())
		s.mustRegister(entry("alice"))
		mustBe(t, "a third living one", s.register(entry("alice")).Err, presence.ErrTooMany)
	})
}

// A pod that has come in since the last heartbeat is unknown, but not dead: the
// scores are read again after the hash.
func TestNewcomersFieldsAreNotRemoved(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	p := w.pods("a:1", func(o *presence.PodsOptions) { o.Heartbeat, o.Lease = time.Minute, time.Hour })
	s := w.store("a:1", func(o *presence.Options) { o.Pods, o.PerUser = p, 1 })
	for i := range 20 {
		q := w.pods(fmt.Sprint("b:", i), nil)
		user := fmt.Sprint("user", i)
		e := entry(user)
		w.put(e, q.Channel())
		mustBe(t, "a second one", s.register(entry(user)).Err, presence.ErrTooMany)
		w.want("the newcomer's", user, q.Channel(), e)
	}
}

func TestSweepsAreForCrowdedHashesOnlyAndRare(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	s, p := w.sweeping("a:1", func(o *presence.Options) {
		o.Own = func(user string) int {
			if strings.HasPrefix(user, "twice") {
				return 2
			}
			return 1
		}
		o.TTL, o.Renew = time.Hour, 10*time.Minute
	})
	q := w.pods("b:1", nil)
	acquaint(t, p, q)
	var twice []presence.Entry
	for i := range 50 {
		user := fmt.Sprint("twice", i)
		twice = append(twice, entry(user), entry(user))
	}
	s.registerAll(twice)
	before := s.Stats()
	for range 20 {
		s.renewAndWait(twice...)
	}
	s.idle()
	middle := s.Stats()
	if got, want := middle.Commands-before.Commands, 3*(middle.Entries-before.Entries)+middle.Batches-before.Batches; got != want {
		t.Errorf("%d commands for renewals of connections that are all this pod's, want %d", got, want)
	}
	// Others have users with a second device: 1,000 of them, renewed 20 times.
	var others []presence.Entry
	for i := range 1000 {
		e := entry(fmt.Sprint("user", i))
		others = append(others, e)
		w.put(presence.Entry{User: e.User, UUID: presence.NewUUID(time.Now().UnixMilli())}, q.Channel())
	}
	s.registerAll(others)
	before = s.Stats()
	for range 20 {
		s.renewAndWait(others...)
	}
	s.idle()
	after := s.Stats()
	reads := after.Commands - before.Commands - 3*(after.Entries-before.Entries) - (after.Batches - before.Batches)
	t.Logf("%d renewals read %d hashes", 20*len(others), reads)
	if reads > 1000 {
		t.Errorf("%d hashes were read in %d renewals: more than once a phase", reads, 20*len(others))
	}
}
