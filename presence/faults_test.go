package presence_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

func TestKeyOfTheWrongTypeConcernsOneUserOnly(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", func(o *presence.Options) { o.PerUser = 10 })
		ctx := context.Background()
		if err := w.admin.Set(ctx, w.keys.User("mallory"), "not a hash", 0).Err(); err != nil {
			t.Fatal(err)
		}
		const n = 300
		outcomes := make(chan presence.Registered, n)
		for i := range n { // in one batch with those of others
			if i == n/2 {
				s.Register(entry("mallory"), func(r presence.Registered) {
					if !errors.Is(r.Err, presence.ErrUnavailable) || !contains(r.Err, "WRONGTYPE") {
						t.Errorf("mallory's registration: %v, want ErrUnavailable and the cause", r.Err)
					}
					outcomes <- presence.Registered{}
				})
				continue
			}
			s.Register(entry(fmt.Sprint("user", i)), func(r presence.Registered) { outcomes <- r })
		}
		for range n {
			if r := wait(t, "an outcome", outcomes); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		e := entry("mallory")
		s.Renew(e)
		s.Heal("mallory", func(presence.UUID) bool { return false })
		s.mustUnregister(e) // nothing of ours stands there
		s.idle()
		if err := s.Err(); err != nil {
			t.Fatalf("Err = %v: one user's key has nothing to do with readiness", err)
		}
		eventually(t, "the foreign value is left without an expiry", func() error {
			text, err := w.admin.Get(ctx, w.keys.User("mallory")).Result()
			ttl, _ := w.admin.TTL(ctx, w.keys.User("mallory")).Result()
			if text != "not a hash" || ttl != -1 {
				return fmt.Errorf("%q, %v, ttl %v", text, err, ttl)
			}
			return nil
		})
		if err := w.admin.Del(ctx, w.keys.User("mallory")).Err(); err != nil {
			t.Fatal(err)
		}
		s.mustRegister(entry("mallory"))
	})
}

// TestRefusedWritesAreToldOfAndHeal has Redis answer, but refuse to write.
func TestRefusedWritesAreToldOfAndHeal(t *testing.T) {
	for name, fault := range map[string]struct {
		begin, end  [][]string
		says        string
		removalGoes bool // HDEL is not refused
	}{
		"OOM": {
			begin: [][]string{{"CONFIG", "SET", "maxmemory", "1"}},
			end:   [][]string{{"CONFIG", "SET", "maxmemory", "0"}},
			says:  "OOM", removalGoes: true,
		},
		"READONLY": {
			begin: [][]string{{"REPLICAOF", "127.0.0.1", "1"}},
			end:   [][]string{{"REPLICAOF", "NO", "ONE"}},
			says:  "READONLY",
		},
		"MASTERDOWN": {
			begin: [][]string{
				{"CONFIG", "SET", "replica-serve-stale-data", "no"}, {"CONFIG", "SET", "replica-read-only", "no"},
				{"REPLICAOF", "127.0.0.1", "1"},
			},
			end:  [][]string{{"REPLICAOF", "NO", "ONE"}},
			says: "MASTERDOWN",
		},
		"NOPERM": {
			begin: [][]string{{"ACL", "SETUSER", "pod", "-hset"}},
			end:   [][]string{{"ACL", "SETUSER", "pod", "+hset"}},
			says:  "NOPERM", removalGoes: true,
		},
		"NOPERM for the expiry": {
			begin: [][]string{{"ACL", "SETUSER", "pod", "-pexpire"}},
			end:   [][]string{{"ACL", "SETUSER", "pod", "+pexpire"}},
			says:  "NOPERM", removalGoes: true,
		},
		"NOPERM for the removal": {
			begin: [][]string{{"ACL", "SETUSER", "pod", "-hdel"}},
			end:   [][]string{{"ACL", "SETUSER", "pod", "+hdel"}},
			says:  "NOPERM",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := realWorld(t)
			w.real.CLI("ACL", "SETUSER", "pod", "on", ">secret", "~push:*",
				"+hset", "+hdel", "+hlen", "+hgetall", "+pexpire", "+persist", "+zadd", "+zrem", "+zrange", "+zscore",
				"+time", "+watch", "+unwatch", "+multi", "+exec", "+get", "+exists")
			client := redisconn.NewClient(redisconn.Options{
				Addresses: []string{w.addr}, Username: "pod", Password: "secret", Timeout: testTimeout, NoRetry: true,
			})
			t.Cleanup(func() { _ = client.Close() })
			s := w.store("a:1", func(o *presence.Options) { o.Redis = redisconn.Of(client) })
			held, leaving := entry("alice"), entry("bob")
			s.mustRegister(held)
			s.mustRegister(leaving)

			for _, args := range fault.begin {
				w.real.CLI(args...)
			}
			onlyRemoval := name == "NOPERM for the removal"
			newcomer := entry("carol")
			if !onlyRemoval {
				s.Renew(held)
				eventually(t, "the store says why it cannot renew", s.failsWith(fault.says))
				r := s.register(newcomer)
				if !errors.Is(r.Err, presence.ErrUnavailable) || !contains(r.Err, fault.says) {
					t.Fatalf("register: %v, want ErrUnavailable and %s", r.Err, fault.says)
				}
			}
			gone := make(chan error, 1)
			s.Unregister(leaving, func(err error) { gone <- err })
			if fault.removalGoes {
				if err := wait(t, "the removal", gone); err != nil {
					t.Fatal(err)
				}
			} else {
				eventually(t, "the store says why it cannot remove", s.failsWith(fault.says))
				time.Sleep(50 * time.Millisecond)
				if len(gone) > 0 {
					t.Fatalf("the removal ended with %v while Redis refuses it", <-gone)
				}
			}
			for range 50 { // it must not flicker while the fault lasts
				if err := s.Err(); !contains(err, fault.says) && !onlyRemoval {
					t.Fatalf("Err = %v while the fault lasts", err)
				}
				time.Sleep(4 * time.Millisecond)
			}

			for _, args := range fault.end {
				w.real.CLI(args...)
			}
			eventually(t, "it is healed by itself", s.Err)
			if !fault.removalGoes {
				if err := wait(t, "the removal", gone); err != nil {
					t.Fatal(err)
				}
			}
			s.renewAndWait(held)
			s.mustRegister(newcomer)
			w.want("renewed", "alice", s.channel, held)
			w.want("removed", "bob", s.channel)
			w.want("registered at last", "carol", s.channel, newcomer)
			if err := s.Err(); err != nil {
				t.Errorf("Err = %v after writes that succeeded", err)
			}
		})
	}
}

func (s *testStore) failsWith(text string) func() error {
	return func() error {
		if err := s.Err(); !contains(err, text) {
			return fmt.Errorf("Err = %v", err)
		}
		return nil
	}
}

func TestRefusedRegistrationLeavesNoEntryWithoutExpiry(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.real.CLI("ACL", "SETUSER", "pod", "on", "nopass", "~*", "+@all", "-pexpire")
	client := redisconn.NewClient(redisconn.Options{
		Addresses: []string{w.addr}, Username: "pod", Password: "any", Timeout: testTimeout, NoRetry: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	s := w.store("a:1", func(o *presence.Options) { o.Redis = redisconn.Of(client) })
	mustBe(t, "register", s.register(entry("alice")).Err, presence.ErrUnavailable)
	eventually(t, "the entry is removed", func() error { return w.has("alice", s.channel) })
}

func TestUnauthenticatedStoreSaysSoAndHeals(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.real.CLI("CONFIG", "SET", "requirepass", "secret")
	s := w.store("a:1", nil)
	if r := s.register(entry("alice")); !errors.Is(r.Err, presence.ErrUnavailable) || !contains(r.Err, "NOAUTH") {
		t.Fatalf("register: %v, want NOAUTH", r.Err)
	}
	w.real.CLI("-a", "secret", "--no-auth-warning", "CONFIG", "SET", "requirepass", "")
	eventually(t, "it is healed by itself", s.Err)
	s.mustRegister(entry("alice"))
}

func TestAwayRedisIsAnsweredForQuicklyAndComesBackEmpty(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	p := w.pods("a:1", nil)
	w.keepBeating(p)
	s := w.store("a:1", func(o *presence.Options) { o.Pods, o.TTL = p, time.Minute })
	var held []presence.Entry
	for i := range 1000 {
		e := entry(fmt.Sprint("user", i))
		held = append(held, e)
	}
	s.registerAll(held)
	leaving := entry("bob")
	s.mustRegister(leaving)

	w.real.Kill()
	begun := time.Now()
	mustBe(t, "register", s.register(entry("carol")).Err, presence.ErrUnavailable)
	if took := time.Since(begun); took > testTimeout+500*time.Millisecond {
		t.Errorf("the answer took %v", took)
	}
	gone := make(chan error, 1)
	s.Unregister(leaving, func(err error) { gone <- err })
	for range 100 { // a renewal period after the other
		for _, e := range held {
			s.Renew(e)
		}
	}
	eventually(t, "the renewals do not pile up", func() error {
		if n := s.Stats().Waiting; n > 1 {
			return fmt.Errorf("%d operations wait", n)
		}
		return nil
	})
	if s.Err() == nil {
		t.Error("Err is nil while Redis is away")
	}

	w.real.Restart()
	eventually(t, "it is healed by itself", s.Err)
	if err := wait(t, "the removal", gone); err != nil {
		t.Fatal(err)
	}
	s.renewAndWait(held...)
	if n, err := w.admin.Keys(context.Background(), "push:user:*").Result(); err != nil || len(n) != len(held) {
		t.Fatalf("%d users are back, %v; want %d", len(n), err, len(held))
	}
	if !strings.Contains(fmt.Sprint(w.members()), p.Channel()) {
		t.Fatalf("the pod itself is not back: %v", w.members())
	}
}

// registerAll registers entries, all at once.
func (s *testStore) registerAll(entries []presence.Entry) {
	s.w.t.Helper()
	outcomes := make(chan presence.Registered, len(entries))
	for _, e := range entries {
		s.Register(e, func(r presence.Registered) { outcomes <- r })
	}
	for range entries {
		if r := wait(s.w.t, "an outcome", outcomes); r.Err != nil {
			s.w.t.Fatal(r.Err)
		}
	}
}

// An emptied Redis must never hold an entry whose pod has no score: whoever
// reads both would take it for a dead pod's.
func TestScoreIsBackBeforeTheFirstEntryIs(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		p := w.pods("a:1", nil) // no heartbeat runs
		s := w.store("a:1", func(o *presence.Options) { o.Pods = p })
		e := entry("alice")
		s.mustRegister(e)
		for range 20 {
			if err := w.admin.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			s.renewAndWait(e)
			if got := w.members(); len(got) != 1 || got[0] != p.Channel() {
				t.Fatalf("an entry is back, but the pods are %v", got)
			}
		}
		if err := p.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.renewAndWait(e)
		if got := w.members(); len(got) != 0 {
			t.Fatalf("a write brought back the score of a pod that had left: %v", got)
		}
	})
}

// Who finds the score absent asks for a heartbeat, which brings the description back.
func TestAnEmptiedRedisHasTheDescriptionBackAtOnce(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		p := w.pods("a:1", func(o *presence.PodsOptions) { o.Heartbeat = time.Hour })
		w.keepBeating(p)
		s := w.store("a:1", func(o *presence.Options) { o.Pods, o.TTL = p, time.Minute })
		e := entry("alice")
		s.mustRegister(e)
		beats := p.Stats().Beats
		for range 5 {
			s.renewAndWait(e)
		}
		if got := p.Stats().Beats; got != beats {
			t.Errorf("%d heartbeats for renewals, though nothing was missing", got-beats)
		}
		if err := w.admin.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		s.renewAndWait(e)
		eventually(t, "the description is back", func() error {
			return w.admin.HGet(t.Context(), w.keys.PodsInfo(), p.Channel()).Err()
		})
	})
}

func TestRefusedRemovalsAreNotTriedWithoutPause(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		var refuses atomic.Bool
		var attempts atomic.Int64
		client := w.client(w.addr)
		client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
			if refuses.Load() && len(cmds) == 1 && carry(cmds, "hdel") {
				attempts.Add(1)
				return answer(cmds, refusal("NOPERM hdel is not for this user"))
			}
			return send()
		}))
		s := w.store("a:1", func(o *presence.Options) { o.Redis, o.TTL = redisconn.Of(client), time.Minute })
		e := entry("alice")
		s.mustRegister(e)
		refuses.Store(true)
		begun := time.Now()
		gone := make(chan error, 2)
		s.Unregister(e, func(err error) { gone <- err })
		time.Sleep(500 * time.Millisecond)
		refuses.Store(false)
		if n, most := attempts.Load(), int64(time.Since(begun)/(50*time.Millisecond))+5; n == 0 || n > most {
			t.Errorf("tried %d times, want %d at most", n, most)
		}
		if err := wait(t, "the removal", gone); err != nil {
			t.Error(err)
		}
		w.want("removed at last", "alice", s.channel)
	})
}

func TestStoppedRedisBoundsTheWaitAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	s := w.store("a:1", func(o *presence.Options) { o.TTL = time.Minute })
	held := entry("alice")
	s.mustRegister(held)
	w.real.Pause()
	const n = 200
	type answer struct {
		err  error
		took time.Duration
	}
	answers := make(chan answer, n)
	for i := range n { // spread over what two attempts take
		begun := time.Now()
		s.Register(entry(fmt.Sprint("user", i)), func(r presence.Registered) { answers <- answer{r.Err, time.Since(begun)} })
		s.Renew(held)
		time.Sleep(2 * testTimeout / n)
	}
	var longest time.Duration
	for range n {
		a := wait(t, "an outcome", answers)
		mustBe(t, "register", a.err, presence.ErrUnavailable)
		longest = max(longest, a.took)
	}
	t.Logf("longest wait for an answer: %v, at a timeout of %v", longest, testTimeout)
	if longest > testTimeout+testTimeout/2 {
		t.Errorf("an answer took %v", longest)
	}
	w.real.Resume()
	eventually(t, "it is healed by itself", s.Err)
	s.renewAndWait(held)
	eventually(t, "only the held entry stands", func() error {
		keys, err := w.admin.Keys(context.Background(), "push:user:*").Result()
		if err != nil || len(keys) != 1 {
			return fmt.Errorf("%d users, %v", len(keys), err)
		}
		return nil
	})
	time.Sleep(1500 * time.Millisecond) // the doubt is over too
	w.want("the held entry", "alice", s.channel, held)
}

func TestStoppingWithoutRedisTellsAllWhoWait(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	s := w.store("a:1", func(o *presence.Options) { o.TTL = time.Minute })
	leaving := entry("alice")
	s.mustRegister(leaving)
	w.real.Kill()
	gone, registered := make(chan error, 2), make(chan presence.Registered, 2)
	s.Unregister(leaving, func(err error) { gone <- err })
	eventually(t, "Redis is away", s.failsWith("connect"))
	s.Register(entry("bob"), func(r presence.Registered) { registered <- r })
	s.stop()
	if len(gone) != 1 || len(registered) != 1 {
		t.Fatalf("%d removals and %d registrations are answered once it has stopped", len(gone), len(registered))
	}
	mustBe(t, "the removal", <-gone, presence.ErrClosed)
	mustBe(t, "the registration", (<-registered).Err, presence.ErrUnavailable)
}

func TestStoreStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // accepts, and says nothing
	w := realWorld(t)
	s := w.store("a:1", func(o *presence.Options) { o.Redis = redisconn.Of(w.client(l.Addr().String())) })
	begun := time.Now()
	mustBe(t, "register", s.register(entry("alice")).Err, presence.ErrUnavailable)
	if took := time.Since(begun); took > testTimeout+testTimeout/2 {
		t.Errorf("the answer took %v", took)
	}
	if s.Err() == nil {
		t.Error("Err is nil without Redis")
	}
	s.stop()
}

func TestNothingPilesUpWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	const backlog = 1000
	s := w.store("a:1", func(o *presence.Options) { o.Backlog = backlog })
	s.mustRegister(entry("warm-up"))
	w.real.Kill()
	dropped := make(chan error, 100_000)
	for i := range 20_000 {
		s.Unregister(entry(fmt.Sprint("user", i)), func(err error) { dropped <- err })
		s.Renew(entry(fmt.Sprint("user", i)))
		s.Heal(fmt.Sprint("user", i), func(presence.UUID) bool { return false })
		if i%100 == 0 {
			if n := s.Stats().Waiting; n > 3*backlog+512 {
				t.Fatalf("%d operations wait", n)
			}
			runtime.Gosched()
		}
	}
	for range 20_000 - backlog - 512 {
		mustBe(t, "the oldest", wait(t, "an outcome", dropped), presence.ErrBacklog)
	}
	if n := s.Stats().Dropped; n == 0 {
		t.Error("nothing is counted as dropped")
	}
	w.real.Restart()
	eventually(t, "the others are sent", func() error {
		if n := s.Stats().Waiting; n > 0 {
			return fmt.Errorf("%d operations wait", n)
		}
		return nil
	})
}

// Redis is replaced by one that can expire fields, and by one that cannot, as
// in an upgrade and a failover to an older server.
func TestExpiryFollowsTheServer(t *testing.T) {
	t.Parallel()
	old, young := realWorld(t), miniWorld(t)
	proxy := redistest.NewProxy(t, old.addr)
	s := old.store("a:1", func(o *presence.Options) {
		o.Redis, o.TTL = redisconn.Of(old.client(proxy.Addr())), 30*time.Second
	})
	a, b := entry("alice"), entry("alice")
	s.mustRegister(a)
	if s.Stats().PerFieldExpiry {
		t.Fatal("Redis 7.0 expires no fields")
	}
	// What the upgraded server took over: the entry, expiring with its key.
	young.put(a, s.channel)
	young.mini.SetTTL(young.keys.User("alice"), 20*time.Second)
	proxy.Retarget(young.addr)
	s.renewAndWait(a)
	notWhole := func() error {
		if ttl := young.mini.TTL(young.keys.User("alice")); ttl != 0 {
			return fmt.Errorf("it does in %v", ttl)
		}
		return nil
	}
	eventually(t, "renewals alone take the key's own expiry off", func() error {
		s.renewAndWait(a)
		return notWhole()
	})
	if !s.Stats().PerFieldExpiry {
		t.Fatal("the new server expires fields")
	}
	s.mustRegister(b)
	// One of another pod's, that died during the upgrade.
	orphan := entry("alice")
	young.put(orphan, s.channel)
	young.mini.SetTTL(young.keys.User("alice"), 20*time.Second)
	s.renewAndWait(a, b)
	s.idle()
	eventually(t, "the key does not expire any more", notWhole)
	young.pass(25 * time.Second)
	young.want("the key's old expiry is over", "alice", s.channel, a, b, orphan)
	s.renewAndWait(a)
	young.pass(6 * time.Second)
	young.want("each field expires by itself", "alice", s.channel, a)

	proxy.Retarget(old.addr)
	s.renewAndWait(a, b)
	if s.Stats().PerFieldExpiry {
		t.Fatal("the old server expires no fields")
	}
	old.want("back on the old server", "alice", s.channel, a, b)
	if ttl := old.admin.PTTL(t.Context(), old.keys.User("alice")).Val(); ttl < 25*time.Second {
		t.Fatalf("its key lives for %v", ttl)
	}
}

// The command vanishes under a connection that stays: a proxy's change of mind.
func TestUnknownCommandFallsBackAtAnyTime(t *testing.T) {
	t.Parallel()
	w := miniWorld(t)
	client := w.client(w.addr)
	vanish := &vanishing{}
	client.AddHook(vanish)
	s := w.store("a:1", func(o *presence.Options) { o.Redis = redisconn.Of(client) })
	a := entry("alice")
	s.mustRegister(a)
	vanish.gone.Store(true)
	s.renewAndWait(a)
	b := entry("alice")
	s.mustRegister(b)
	if s.Stats().PerFieldExpiry {
		t.Fatal("still by field")
	}
	w.want("written in the other way", "alice", s.channel, a, b)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	w.pass(testTTL + time.Second)
	w.want("and expiring", "alice", s.channel)
}

// The server that refused is replaced, behind the same connection, by one that knows less.
func TestUnknownCommandFallsBackWhereWritesWereRefused(t *testing.T) {
	t.Parallel()
	w := miniWorld(t)
	client := w.client(w.addr)
	vanish := &vanishing{}
	client.AddHook(vanish)
	var refuses atomic.Bool
	client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
		if refuses.Load() && carry(cmds, "hset") {
			return answer(cmds, refusal("OOM command not allowed"))
		}
		return send()
	}))
	s := w.store("a:1", func(o *presence.Options) { o.Redis = redisconn.Of(client) })
	refuses.Store(true)
	mustBe(t, "while Redis refuses", s.register(entry("alice")).Err, presence.ErrUnavailable)
	vanish.gone.Store(true)
	refuses.Store(false)
	eventually(t, "it is healed by itself", s.Err)
	held := entry("alice")
	s.mustRegister(held)
	if s.Stats().PerFieldExpiry {
		t.Error("still by field")
	}
	w.want("written in the other way", "alice", s.channel, held)
}

// Whether fields may be made to expire again is tried by making one expire.
func TestRefusedFieldExpiryIsToldOfUntilItEnds(t *testing.T) {
	t.Parallel()
	w := miniWorld(t)
	var refuses atomic.Bool
	var attempts atomic.Int64
	client := w.client(w.addr)
	client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
		if refuses.Load() && carry(cmds, "hexpire") {
			attempts.Add(1)
			return answer(cmds, refusal("NOPERM hexpire is not for this user"))
		}
		return send()
	}))
	s := w.store("a:1", func(o *presence.Options) { o.Redis = redisconn.Of(client) })
	held := entry("alice")
	s.mustRegister(held)
	refuses.Store(true)
	begun := time.Now()
	s.Renew(held)
	eventually(t, "the store says why it cannot renew", s.failsWith("NOPERM"))
	for range 100 { // several attempts
		if err := s.Err(); !contains(err, "NOPERM") {
			t.Fatalf("Err = %v while the fault lasts", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	// At ever longer intervals, of which each is at least 50 ms.
	if n, most := attempts.Load(), int64(time.Since(begun)/(50*time.Millisecond))+5; n == 0 || n > most {
		t.Errorf("tried %d times, want %d at most", n, most)
	}
	refuses.Store(false)
	eventually(t, "it is healed by itself", s.Err)
	s.renewAndWait(held)
	w.want("renewed", "alice", s.channel, held)
}

// vanishing is a hook that makes HEXPIRE unknown once gone is set.
type vanishing struct{ gone atomic.Bool }

func (v *vanishing) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (v *vanishing) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (v *vanishing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if v.gone.Load() {
			for _, cmd := range cmds {
				if cmd.Name() == "hexpire" {
					cmd.Args()[0] = "nohexpire"
					defer func() { cmd.Args()[0] = "hexpire" }()
				}
			}
		}
		return next(ctx, cmds)
	}
}
