package presence_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// set writes a key; without a value it removes it.
func (w *world) set(key, value string) {
	w.t.Helper()
	if err := w.admin.Set(context.Background(), key, value, 0).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) del(keys ...string) {
	w.t.Helper()
	if err := w.admin.Del(context.Background(), keys...).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// by is an entry of a credential.
func by(user string, c presence.Credential) presence.Entry {
	e := entry(user)
	e.Credential = &c
	return e
}

// check checks an entry and returns the outcome.
func (s *testStore) check(e presence.Entry) error {
	s.w.t.Helper()
	outcomes := make(chan error, 2)
	if err := s.Check(e, true, func(err error) { outcomes <- err }); err != nil {
		s.w.t.Fatalf("check %v: %v", e, err)
	}
	return wait(s.w.t, "the check's outcome", outcomes)
}

// ground is "" for nil, or why the error is a refusal.
func ground(t *testing.T, err error) string {
	t.Helper()
	var r *presence.Refused
	switch {
	case err == nil:
		return ""
	case errors.As(err, &r):
		return strings.TrimSpace(fmt.Sprint(r.Ground, " ", r.Key, " ", r.Value))
	}
	t.Fatalf("%v, want a refusal or nil", err)
	return ""
}

func TestKeysSpeakAgainstRegistrations(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", func(o *presence.Options) { o.PerUser, o.TTL = 1, time.Minute })
		want := func(e presence.Entry, want string) {
			t.Helper()
			if got := ground(t, s.check(e)); got != want {
				t.Errorf("checked: %q, want %q", got, want)
			}
			if got := ground(t, s.register(e).Err); got != want {
				t.Errorf("registered: %q, want %q", got, want)
			}
			if want == "" {
				s.mustUnregister(e)
			}
			w.want("nobody", e.User, "")
		}
		w.set("push:block:{alice}", "spam")
		w.set("push:revoked:{t1}", "stolen")
		w.set("push:valid-after", "1000")
		w.set("push:valid-after:{bob}", "2000")
		want(entry("alice"), "blocked push:block:{alice} spam")
		want(by("alice", presence.Credential{ID: "t2", Issued: 3000}), "blocked push:block:{alice} spam")
		want(entry("bob"), "")
		want(by("bob", presence.Credential{Issued: 2000}), "")
		want(by("bob", presence.Credential{Issued: 1999}), "outdated push:valid-after:{bob} 2000")
		want(by("carol", presence.Credential{Issued: 1000, ID: "t2"}), "")
		want(by("carol", presence.Credential{Issued: 1000, ID: "t1"}), "revoked push:revoked:{t1} stolen")
		want(by("carol", presence.Credential{Issued: 999}), "outdated push:valid-after 1000")
		want(by("carol", presence.Credential{ID: "t2"}), "outdated push:valid-after 1000")
		w.set("push:block:{alice}", "")
		want(entry("alice"), "blocked push:block:{alice}")
		w.set("push:block:{alice}", strings.Repeat("x", 1000))
		want(entry("alice"), "blocked push:block:{alice} "+strings.Repeat("x", 256))
		w.del("push:block:{alice}", "push:valid-after", "push:revoked:{t1}")
		want(by("alice", presence.Credential{ID: "t1"}), "")
		if got := s.Stats(); got.Refused != 8 || got.Rejected != 0 {
			t.Errorf("stats: %+v", got)
		}
	})
}

// What can't be read lets nobody in, and disturbs no other.
func TestKeysThatCannotBeReadLetNobodyIn(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", nil)
		for _, key := range []string{"push:block:{alice}", "push:valid-after:{bob}", "push:revoked:{t1}"} {
			if err := w.admin.HSet(context.Background(), key, "f", "v").Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := ground(t, s.register(entry("alice")).Err); got != "blocked push:block:{alice}" {
			t.Errorf("a block of another type: %q", got)
		}
		if got := ground(t, s.register(by("carol", presence.Credential{ID: "t1"})).Err); got != "revoked push:revoked:{t1}" {
			t.Errorf("a revocation of another type: %q", got)
		}
		dated := presence.Credential{Issued: 1 << 40}
		mustBe(t, "a time of another type", s.register(by("bob", dated)).Err, presence.ErrUnavailable)
		for _, value := range []string{"", "x", "-1", "1.5", "100000000000", "1732800000000", " 1", "1e3", strings.Repeat("9", 40)} {
			w.set("push:valid-after:{dora}", value)
			for _, err := range []error{s.register(by("dora", dated)).Err, s.check(by("dora", dated))} {
				if !errors.Is(err, presence.ErrUnavailable) || !contains(err, "push:valid-after:{dora} must hold Unix seconds") {
					t.Errorf("a time of %q: %v", value, err)
				}
			}
		}
		s.mustRegister(by("eve", dated))
		w.want("nobody", "dora", "")
		if err := s.Err(); err != nil {
			t.Errorf("one key's fault is the store's: %v", err)
		}
	})
}

// told collects what Options.Refused is told.
type told struct {
	mu   sync.Mutex
	list map[presence.UUID]string
}

func (l *told) refused(e presence.Entry, r *presence.Refused) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list == nil {
		l.list = map[presence.UUID]string{}
	}
	l.list[e.UUID] = fmt.Sprint(r.Ground, " ", r.Value)
}

func (l *told) take() map[presence.UUID]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

func TestKeysSpeakAgainstWhatIsRenewed(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		var told told
		s := w.store("a:1", func(o *presence.Options) { o.TTL, o.Refused = time.Minute, told.refused })
		plain, token := entry("alice"), by("alice", presence.Credential{ID: "t1", Issued: 1000})
		old, other := by("bob", presence.Credential{Issued: 500}), by("carol", presence.Credential{ID: "t2", Issued: 2000})
		all := []presence.Entry{plain, token, old, other}
		for _, e := range all {
			s.mustRegister(e)
		}
		want := func(why string, want map[presence.UUID]string) {
			t.Helper()
			s.renewAndWait(all...)
			s.idle()
			eventually(t, why, func() error { // what is suspect is checked after it was renewed
				got := told.take()
				if fmt.Sprint(got) != fmt.Sprint(want) {
					return fmt.Errorf("told of %v, want %v", got, want)
				}
				return nil
			})
		}
		eventually(t, "nothing speaks against them", func() error { s.renewAndWait(all...); return nil })
		if got := told.take(); len(got) > 0 {
			t.Fatalf("told of %v", got)
		}
		w.set("push:block:{alice}", "spam")
		want("a block", map[presence.UUID]string{plain.UUID: "blocked spam", token.UUID: "blocked spam"})
		w.del("push:block:{alice}")
		w.set("push:revoked:{t1}", "")
		want("a revocation", map[presence.UUID]string{token.UUID: "revoked "})
		w.del("push:revoked:{t1}")
		w.set("push:valid-after", "600")
		want("a time", map[presence.UUID]string{old.UUID: "outdated 600"})
		w.set("push:valid-after", "500")
		w.set("push:valid-after:{carol}", "2001")
		want("a user's time", map[presence.UUID]string{other.UUID: "outdated 2001"})
		w.set("push:valid-after", "nonsense")
		want("nothing but what is known", map[presence.UUID]string{other.UUID: "outdated 2001"})
		w.del("push:valid-after", "push:valid-after:{carol}")
		s.renewAndWait(all...)
		s.idle()
		if got := told.take(); len(got) > 0 {
			t.Errorf("told of %v", got)
		}
		w.want("all stand", "alice", s.channel, plain, token)
	})
}

func TestOfManyWithOneCredentialForOneConnectionOneGetsIn(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		a := w.store("a:1", func(o *presence.Options) { o.PerUser = 3 })
		b := w.store("b:1", func(o *presence.Options) { o.PerUser = 3 })
		for round, once := range []int64{time.Now().Unix() + 60, presence.Always} {
			id := fmt.Sprint("t", round)
			once := presence.Credential{ID: id, Once: once}
			if got := ground(t, a.check(by("alice", once))); got != "" {
				t.Fatalf("a check: %s", got)
			}
			const n = 40
			outcomes := make(chan error, n)
			for i := range n {
				s := []*testStore{a, b}[i%2]
				if err := s.Register(by(fmt.Sprint("user", i%20), once), func(r presence.Registered) { outcomes <- r.Err }); err != nil {
					t.Fatal(err)
				}
			}
			in := 0
			for range n {
				switch got := ground(t, wait(t, "an outcome", outcomes)); got {
				case "":
					in++
				case "used push:used:{" + id + "}":
				default:
					t.Errorf("refused: %s", got)
				}
			}
			if in != 1 {
				t.Errorf("%d got in, want 1", in)
			}
			if got := ground(t, b.check(by("alice", once))); !strings.HasPrefix(got, "used push:used:{"+id+"}") {
				t.Errorf("a check of a used one: %q", got)
			}
			ttl := w.admin.TTL(context.Background(), w.keys.Used(id)).Val()
			if forever := ttl < 0; forever != (once.Once == presence.Always) || ttl > 62*time.Second {
				t.Errorf("it is remembered for %v", ttl)
			}
		}
		entries := 0
		for i := range 20 {
			entries += len(w.fields(fmt.Sprint("user", i)))
		}
		if entries != 2 {
			t.Errorf("%d entries, want 2", entries)
		}
	})
}

func TestRefusedRegistrationUsesNoCredentialUp(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", func(o *presence.Options) { o.PerUser, o.TTL = 1, time.Minute })
		once := presence.Credential{ID: "t1", Once: time.Now().Unix() + 60}
		held := entry("alice")
		s.mustRegister(held)
		mustBe(t, "one too many", s.register(by("alice", once)).Err, presence.ErrTooMany)
		s.mustUnregister(held)
		w.set("push:block:{alice}", "")
		if got := ground(t, s.register(by("alice", once)).Err); got != "blocked push:block:{alice}" {
			t.Errorf("blocked: %q", got)
		}
		w.del("push:block:{alice}")
		s.mustRegister(by("alice", once))
	})
}

// Where one of a batch's keys exists, all of them are read in one more pipeline.
func TestBlockedUserStaysOutThoughTheLinkFails(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	proxy := redistest.NewProxy(t, w.addr)
	s := w.store("a:1", func(o *presence.Options) { o.Redis, o.TTL = redisconn.Of(w.client(proxy.Addr())), time.Minute })
	s.mustRegister(entry("warm-up"))
	w.set("push:block:{alice}", "spam")
	cuts := proxy.Cuts()
	for after := int64(1); after < 40; after++ { // of the answers to both pipelines
		proxy.CutAfter(after)
		if got := ground(t, s.register(entry("alice")).Err); got != "blocked push:block:{alice} spam" {
			t.Errorf("cut after %d bytes: %q", after, got)
		}
		s.idle()
		w.want("nobody", "alice", "")
	}
	if n := proxy.Cuts() - cuts; n < 20 {
		t.Errorf("the link was cut %d times", n)
	}
}

// The oldest give way only to who gets in.
func TestUsedCredentialClosesNobody(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", func(o *presence.Options) { o.PerUser, o.OnExcess = 1, presence.OnExcessCloseOldest })
		once := presence.Credential{ID: "t1", Once: time.Now().Unix() + 60}
		first, second := entry("alice"), by("alice", once)
		s.mustRegister(first)
		if r := s.register(second); r.Err != nil || !sameUUIDs(r.Excess, first) {
			t.Errorf("the second: %+v, want the first as excess", r)
		}
		s.mustUnregister(first)
		if r := s.register(by("alice", once)); ground(t, r.Err) != "used push:used:{t1}" || len(r.Excess) > 0 {
			t.Errorf("the third: %+v", r)
		}
		w.want("the second", "alice", s.channel, second)
	})
}

// A key that was made before the link failed is the registration's own, wherever it fails.
func TestCredentialIsUsedOnceThoughTheLinkFails(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	proxy := redistest.NewProxy(t, w.addr)
	s := w.store("a:1", func(o *presence.Options) { o.Redis, o.TTL = redisconn.Of(w.client(proxy.Addr())), time.Minute })
	s.mustRegister(entry("warm-up"))
	cuts := proxy.Cuts()
	for after := int64(1); after < 100; after += 3 { // of the answers to both pipelines, which are shorter
		once := by("alice", presence.Credential{ID: fmt.Sprint("t", after), Once: time.Now().Unix() + 60})
		proxy.CutAfter(after)
		s.mustRegister(once)
		if got := w.admin.Get(context.Background(), w.keys.Used(once.Credential.ID)).Val(); got != presence.FormatUUID(once.UUID) {
			t.Errorf("cut after %d bytes: used by %q", after, got)
		}
		s.mustUnregister(once)
	}
	if n := proxy.Cuts() - cuts; n < 20 {
		t.Errorf("the link was cut %d times", n)
	}
}

func TestRightToLookUpIsNeeded(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.real.CLI("ACL", "SETUSER", "pod", "on", ">secret", "~push:*", "+@all")
	s := w.store("a:1", func(o *presence.Options) {
		o.Refused, o.TTL = func(presence.Entry, *presence.Refused) {}, time.Minute
		o.Redis = redisconn.Of(redisconn.NewClient(redisconn.Options{Addresses: []string{w.addr}, Username: "pod", Password: "secret", Timeout: testTimeout, NoRetry: true}))
	})
	held := entry("alice")
	s.mustRegister(held)
	for _, command := range []string{"exists", "get"} {
		w.set("push:block:{carol}", "spam") // what exists is read
		w.real.CLI("ACL", "SETUSER", "pod", "-"+command)
		r := s.register(entry("carol"))
		if !errors.Is(r.Err, presence.ErrUnavailable) || !contains(r.Err, "'"+command+"'") {
			t.Errorf("register: %v", r.Err)
		}
		if err := s.check(entry("carol")); !errors.Is(err, presence.ErrUnavailable) || !contains(err, "'"+command+"'") {
			t.Errorf("check: %v", err)
		}
		w.want("nobody", "carol", "")
		if command == "exists" {
			s.Renew(held)
		}
		eventually(t, "the store names the command", s.failsWith("'"+command+"'"))
		time.Sleep(300 * time.Millisecond) // it has tried again meanwhile
		if !contains(s.Err(), "'"+command+"'") {
			t.Errorf("it forgets the missing right: %v", s.Err())
		}
		w.real.CLI("ACL", "SETUSER", "pod", "+"+command)
		eventually(t, "it heals", s.Err)
	}
	w.want("the entry stays", "alice", s.channel, held)
}

func TestChecksAreAnsweredWhateverHappens(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	s := w.store("a:1", func(o *presence.Options) { o.Timeout = 300 * time.Millisecond })
	w.real.Pause()
	const n = 50
	outcomes := make(chan error, n)
	for range n {
		if err := s.Check(entry("alice"), true, func(err error) { outcomes <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		mustBe(t, "while Redis stands still", wait(t, "an outcome", outcomes), presence.ErrUnavailable)
	}
	if err := s.Check(entry("alice"), true, func(err error) { outcomes <- err }); err != nil {
		t.Fatal(err)
	}
	s.stop()
	mustBe(t, "at the end", wait(t, "an outcome", outcomes), presence.ErrUnavailable)
	mustBe(t, "after the end", s.Check(entry("alice"), true, nil), presence.ErrClosed)
	w.real.Resume()
}

// A check that joins counts as a registration does, and writes nothing.
func TestChecksCountWhatTheUserHas(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s, p := w.sweeping("a:1", func(o *presence.Options) { o.PerUser = 2 })
		q := w.neighbour("b:1", p)
		check := func(joins bool) error {
			outcome := make(chan error, 1)
			if err := s.Check(entry("alice"), joins, func(err error) { outcome <- err }); err != nil {
				return err
			}
			return wait(t, "a check", outcome)
		}
		s.mustRegister(entry("alice"))
		w.put(entry("alice"), w.keys.PodChannel("gone:1")) // a dead pod's does not count
		mustBe(t, "a second", check(true), nil)
		w.put(entry("alice"), q.Channel())
		mustBe(t, "a third", check(true), presence.ErrTooMany)
		mustBe(t, "one that stands", check(false), nil)
		mustBe(t, "another user's", s.register(entry("bob")).Err, nil)
	})
}
