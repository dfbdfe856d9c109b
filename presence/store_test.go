package presence_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/presence"
	"pushpod/redisconn"
)

func TestEntryStandsBeforeItsRegistrationIsToldOf(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", nil)
		for range 50 {
			e := entry("alice")
			s.mustRegister(e)
			w.want("told of its registration", "alice", s.channel, e)
			s.mustUnregister(e)
			w.want("told of its removal", "alice", s.channel)
		}
		if err := s.Err(); err != nil {
			t.Fatalf("Err = %v", err)
		}
		if stats := s.Stats(); stats.Registered != 50 || stats.Unregistered != 50 {
			t.Fatalf("stats: %+v", stats)
		}
		if per := s.Stats().PerFieldExpiry; per != (w.mini != nil) {
			t.Fatalf("PerFieldExpiry = %v", per)
		}
	})
}

func TestUnrenewedEntryExpiresBesideRenewedOne(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", nil)
		kept, left := entry("alice"), entry("bob")
		s.mustRegister(kept)
		s.mustRegister(left)
		for range 4 {
			w.pass(testTTL / 2)
			s.Renew(kept)
			s.idle()
			eventually(t, "the renewal is done", func() error {
				if s.Stats().Waiting > 0 {
					return errors.New("waiting")
				}
				return nil
			})
		}
		w.want("renewed", "alice", s.channel, kept)
		w.want("not renewed", "bob", s.channel)
	})
}

func TestEntryStandsForItsTTL(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		const ttl = 59*time.Second + time.Second/2 // a field's is rounded up to seconds
		s := w.store("a:1", func(o *presence.Options) { o.TTL = ttl })
		e := entry("alice")
		s.mustRegister(e)
		if w.real != nil {
			if left := w.admin.PTTL(t.Context(), w.keys.User("alice")).Val(); left > ttl || left < ttl-patience {
				t.Fatalf("it expires in %v", left)
			}
			return
		}
		w.pass(ttl)
		w.want("for so long", "alice", s.channel, e)
		w.pass(time.Second)
		w.want("and no longer", "alice", s.channel)
	})
}

func TestFieldsExpireOneByOneWhereTheServerCan(t *testing.T) {
	w := miniWorld(t)
	s := w.store("a:1", nil)
	kept, left := entry("alice"), entry("alice")
	s.mustRegister(kept)
	s.mustRegister(left)
	for range 3 {
		w.pass(testTTL / 2)
		s.renewAndWait(kept)
	}
	w.want("one renewed", "alice", s.channel, kept)
}

// renewAndWait renews entries and waits until it is done.
func (s *testStore) renewAndWait(entries ...presence.Entry) {
	s.w.t.Helper()
	before := s.Stats().Renewed
	for _, e := range entries {
		s.Renew(e)
	}
	eventually(s.w.t, "the renewals are done", func() error {
		if n := s.Stats().Renewed - before; n < uint64(len(entries)) {
			return fmt.Errorf("%d of %d renewed, Err %v", n, len(entries), s.Err())
		}
		return nil
	})
}

func TestRenewalWritesWhatIsMissing(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", nil)
		a, b := entry("alice"), entry("alice")
		s.mustRegister(a)
		s.mustRegister(b)
		ctx := context.Background()
		if err := w.admin.HDel(ctx, w.keys.User("alice"), presence.FormatUUID(a.UUID)).Err(); err != nil {
			t.Fatal(err)
		}
		s.renewAndWait(a, b)
		w.want("a field was missing", "alice", s.channel, a, b)
		if n := s.Stats().Restored; n != 1 {
			t.Errorf("%d are counted as restored, want 1", n)
		}
		if err := w.admin.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		s.renewAndWait(a, b)
		w.want("everything was missing", "alice", s.channel, a, b)
		s.renewAndWait(a, b) // nothing is missing
		if n := s.Stats().Restored; n != 3 {
			t.Errorf("%d are counted as restored, want 3", n)
		}
		w.pass(testTTL + 100*time.Millisecond)
		w.want("it expires as before", "alice", s.channel)
	})
}

func TestUserIDsAreNotMixedUp(t *testing.T) {
	hostile := []string{
		"alice", "Alice", "alice ", " alice", "al ice", `"alice"`, `'alice'`, "alice:1", "alice}", "alice}:x", "{alice}",
		"{", "a}{b", "*", "?", "[a-z]", "..", "../alice", "/", "\\", "%s", "$(id)", "`id`", "alice\u00a0", "\u2028", "\u200b",
		"😀", "👩‍👩‍👧", "ä", "a\u0308", "0", "-1", "--help", "null", "push:user:{alice}", strings.Repeat("x", 256), strings.Repeat("é", 128),
	}
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", func(o *presence.Options) { o.PerUser = 1 })
		entries := make([]presence.Entry, len(hostile))
		for i, user := range hostile {
			if err := presence.ValidUser(user); err != nil {
				t.Fatalf("%q is not valid: %v", user, err)
			}
			entries[i] = entry(user)
			s.mustRegister(entries[i])
		}
		for i, user := range hostile {
			w.want("registered", user, s.channel, entries[i])
			got, err := s.Lookup(t.Context(), user)
			if err != nil || !sameUUIDs(got, entries[i]) || got[0].Channel != s.channel {
				t.Fatalf("Lookup(%q) = %v, %v", user, got, err)
			}
		}
		s.renewAndWait(entries...)
		if n, err := w.admin.DBSize(context.Background()).Result(); err != nil || int(n) != len(hostile) {
			t.Fatalf("%d keys, %v; want %d", n, err, len(hostile))
		}
		for i, user := range hostile {
			s.mustUnregister(entries[i])
			w.want("unregistered", user, s.channel)
		}
	})
}

func TestLookupReturnsTheOldestFirstAndChecksTheUser(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", nil)
		now := time.Now().UnixMilli()
		var entries []presence.Entry
		for i := range 5 {
			entries = append(entries, presence.Entry{User: "alice", UUID: presence.NewUUID(now + int64(i))})
		}
		for _, i := range []int{3, 0, 4, 1, 2} {
			s.mustRegister(entries[i])
		}
		if err := w.admin.HSet(t.Context(), w.keys.User("alice"), "not-a-uuid", "x").Err(); err != nil {
			t.Fatal(err)
		}
		got, err := s.Lookup(t.Context(), "alice")
		if err != nil || !sameUUIDs(got, entries...) {
			t.Fatalf("Lookup = %v, %v; want %v", got, err, entries)
		}
		if got, err := s.Lookup(t.Context(), "nobody"); err != nil || len(got) != 0 {
			t.Fatalf("Lookup of nobody = %v, %v", got, err)
		}
		if _, err := s.Lookup(t.Context(), "}x"); err == nil {
			t.Fatal("an invalid user was looked up")
		}
	})
}

func TestRegistrationBeyondTheLimitIsRejectedAndLeavesNothing(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		limit := func(o *presence.Options) { o.PerUser = 3 }
		a, b := w.store("a:1", limit), w.store("b:1", limit)
		held := []presence.Entry{entry("alice"), entry("alice"), entry("alice")}
		for _, e := range held {
			a.mustRegister(e)
		}
		for range 5 {
			mustBe(t, "the fourth, on the same pod", a.register(entry("alice")).Err, presence.ErrTooMany)
			mustBe(t, "the fourth, on another pod", b.register(entry("alice")).Err, presence.ErrTooMany)
		}
		w.want("only the three stand", "alice", a.channel, held...)
		b.mustRegister(entry("bob"))
		a.mustUnregister(held[0])
		b.mustRegister(entry("alice"))
		if got := a.Stats().Rejected; got != 5 {
			t.Fatalf("Rejected = %d, want 5", got)
		}
	})
}

func TestCrowdRegisteringAtOnceStaysWithinTheLimit(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", func(o *presence.Options) { o.PerUser = 10 })
		outcomes := make(chan presence.Registered, 100)
		for range 100 {
			s.Register(entry("alice"), func(r presence.Registered) { outcomes <- r })
		}
		accepted := 0
		for range 100 {
			switch r := wait(t, "an outcome", outcomes); {
			case r.Err == nil:
				accepted++
			case !errors.Is(r.Err, presence.ErrTooMany):
				t.Fatal(r.Err)
			}
		}
		if n := len(w.fields("alice")); accepted != 10 || n != 10 {
			t.Fatalf("%d accepted, %d entries; want 10 of each", accepted, n)
		}
	})
}

// TestOutcomesComeInRows: whoever gathers them must be told which one is the last,
// whatever else is answered with them.
func TestOutcomesComeInRows(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", nil)
		var leaving []presence.Entry
		for i := range 20 {
			leaving = append(leaving, entry(fmt.Sprint("old", i)))
			s.mustRegister(leaving[i])
		}
		const n = 40
		outcomes, removed := make(chan presence.Registered, n), make(chan error, len(leaving))
		for i := range n {
			s.Register(entry(fmt.Sprint("new", i)), func(r presence.Registered) { outcomes <- r })
			if i < len(leaving) {
				s.Unregister(leaving[i], func(err error) { removed <- err })
			}
		}
		gathered := 0
		for i := range n {
			r := wait(t, "an outcome", outcomes)
			switch {
			case r.Err != nil:
				t.Error(r.Err)
			case r.More && i == n-1:
				t.Error("the last outcome of all says that another follows")
			case r.More:
				gathered++
			}
		}
		for range leaving {
			if err := wait(t, "an unregistration's outcome", removed); err != nil {
				t.Error(err)
			}
		}
		if gathered == 0 {
			t.Error("no outcome says that another follows")
		}
	})
}

func TestRegistrationBeyondTheLimitNamesTheOldest(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		limit := func(o *presence.Options) { o.PerUser, o.OnExcess = 2, presence.OnExcessCloseOldest }
		a, b := w.store("a:1", limit), w.store("b:1", limit)
		now := time.Now().UnixMilli()
		var e []presence.Entry
		for i := range 4 {
			e = append(e, presence.Entry{User: "alice", UUID: presence.NewUUID(now + int64(i))})
		}
		a.mustRegister(e[1])
		b.mustRegister(e[2])
		if r := a.register(e[3]); r.Err != nil || !sameUUIDs(r.Excess, e[1]) || r.Excess[0].Channel != a.channel {
			t.Fatalf("the third = %+v, want the oldest as excess", r)
		}
		// The hub has closed nothing yet: there are two too many now. The new
		// one is never named, even where its UUID is the oldest.
		if r := b.register(e[0]); r.Err != nil || !sameUUIDs(r.Excess, e[1], e[2]) {
			t.Fatalf("the fourth = %+v, want the two oldest others as excess", r)
		}
	})
}

func TestHealRemovesWhatThisPodDoesNotHold(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", nil)
		held := entry("alice")
		s.mustRegister(held)
		stale, foreign := entry("alice"), entry("alice")
		w.put(stale, s.channel)
		w.put(foreign, "push:pod:b:1")
		if err := w.admin.HSet(t.Context(), w.keys.User("alice"), "no uuid", s.channel).Err(); err != nil {
			t.Fatal(err)
		}
		for range 100 { // as many as messages miss
			s.Heal("alice", func(u presence.UUID) bool { return u == held.UUID })
		}
		eventually(t, "the stale entry is gone", func() error {
			fields := w.fields("alice")
			if _, there := fields[presence.FormatUUID(stale.UUID)]; there {
				return errors.New("it stands")
			}
			return nil
		})
		eventually(t, "it is counted", func() error {
			if got := s.Stats().Stale; got != 1 {
				return fmt.Errorf("Stale = %d", got)
			}
			return nil
		})
		s.idle()
		if n := len(w.fields("alice")); n != 3 {
			t.Fatalf("%d fields are left, want the held one, the foreign one and the one that is none", n)
		}
		if ttl := w.admin.PTTL(t.Context(), w.keys.User("alice")).Val(); w.real != nil && ttl <= 0 {
			t.Fatalf("the hash does not expire any more: PTTL is %v", ttl)
		}
	})
}

func TestHealingIsCoalescedPerUser(t *testing.T) {
	w := realWorld(t)
	s := w.store("a:1", nil)
	s.mustRegister(entry("warm-up"))
	before := s.Stats().Commands
	for range 10_000 {
		s.Heal("alice", func(presence.UUID) bool { return false })
	}
	s.idle()
	if n := s.Stats().Commands - before; n > 1000 {
		t.Fatalf("10,000 misses of one user cost %d commands", n)
	}
}

func TestStoppedStoreRefusesAtOnce(t *testing.T) {
	w := realWorld(t)
	s := w.store("a:1", nil)
	e := entry("alice")
	s.mustRegister(e)
	s.stop()
	mustBe(t, "register", s.Register(entry("bob"), func(presence.Registered) { t.Error("called though the store is closed") }), presence.ErrClosed)
	mustBe(t, "unregister", s.Unregister(e, func(error) { t.Error("called though the store is closed") }), presence.ErrClosed)
	s.Renew(e)
	s.Heal("alice", func(presence.UUID) bool { return false })
}

// What is asked for before Run, or while it ends, is sent: whatever it is.
func TestARunThatEndsAtOnceSendsWhatIsQueued(t *testing.T) {
	for name, x := range map[string]struct{ joins, leaves, stays int }{
		"one of each":                          {1, 1, 1},
		"a registration, and so many removals": {3, 3, 0},
		"renewals and registrations":           {2, 0, 2},
		"renewals and removals":                {0, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := realWorld(t)
			s := presence.NewStore(presence.Options{Redis: redisconn.Of(w.client(w.addr)), Keys: w.keys, Pod: "a:1", TTL: time.Minute, Timeout: testTimeout})
			channel := w.keys.PodChannel("a:1")
			answers := make(chan error, x.joins+x.leaves)
			var stand []presence.Entry
			for range x.joins {
				e := entry("alice")
				s.Register(e, func(r presence.Registered) { answers <- r.Err })
				stand = append(stand, e)
			}
			for range x.stays {
				e := entry("alice")
				s.Renew(e)
				stand = append(stand, e)
			}
			for range x.leaves {
				e := entry("alice")
				w.put(e, channel)
				s.Unregister(e, func(err error) { answers <- err })
			}
			ended, end := context.WithCancel(t.Context())
			end()
			if err := s.Run(ended); err != nil {
				t.Fatal(err)
			}
			for range cap(answers) {
				if err := wait(t, "an outcome", answers); err != nil {
					t.Error(err)
				}
			}
			w.want("registered and renewed", "alice", channel, stand...)
		})
	}
}

func TestAStoreThatEndsTakesNothingMore(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	batches, goOn := make(chan bool), make(chan bool)
	client := w.client(w.addr)
	client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
		if carry(cmds, "hdel") {
			batches <- true
			<-goOn
		}
		return send()
	}))
	s := presence.NewStore(presence.Options{Redis: redisconn.Of(client), Keys: w.keys, Pod: "a:1", Timeout: patience})
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	s.Unregister(entry("alice"), nil)
	wait(t, "a batch", batches)
	end()
	s.Unregister(entry("bob"), nil) // taken: the batch is still under way
	goOn <- true
	wait(t, "the last batch", batches)
	mustBe(t, "register", s.Register(entry("carol"), nil), presence.ErrClosed)
	mustBe(t, "unregister", s.Unregister(entry("carol"), nil), presence.ErrClosed)
	goOn <- true
	if err := wait(t, "the end", ended); err != nil {
		t.Error(err)
	}
}

// A round trip costs far more than an entry in it.
func TestPipelinesKeepTheirPace(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	const pace, n = 50 * time.Millisecond, 4
	s := w.store("a:1", func(o *presence.Options) { o.Pace = pace })
	e := entry("alice")
	s.mustRegister(e)
	begun := time.Now()
	for range n {
		s.mustRegister(entry("bob"))
	}
	if took := time.Since(begun); took < (n-1)*pace {
		t.Errorf("%d registrations, each after the one before, take %v at a pace of %v", n, took, pace)
	}
	begun = time.Now()
	for range n {
		s.renewAndWait(e)
	}
	if took := time.Since(begun); took < (n-1)*5*pace {
		t.Errorf("%d renewals take %v: five times that pace is enough for them", n, took)
	}
}

func TestStoppingSendsWhatIsQueued(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", func(o *presence.Options) { o.Batch = 16 })
		var entries []presence.Entry
		for i := range 500 {
			e := entry(fmt.Sprint("user", i))
			entries = append(entries, e)
			s.Register(e, func(presence.Registered) {})
		}
		s.stop()
		n, err := w.admin.DBSize(context.Background()).Result()
		if err != nil || n != 500 {
			t.Fatalf("%d entries after the end, %v; want 500", n, err)
		}
		again := w.store("a:1", func(o *presence.Options) { o.Batch = 16 })
		gone := make(chan error, 500)
		for _, e := range entries {
			again.Unregister(e, func(err error) { gone <- err })
		}
		again.stop()
		for range 500 {
			if err := wait(t, "an outcome", gone); err != nil {
				t.Fatal(err)
			}
		}
		if n, _ := w.admin.DBSize(context.Background()).Result(); n != 0 {
			t.Fatalf("%d entries are left", n)
		}
	})
}
