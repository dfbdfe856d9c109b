package presence_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// telling has a store tell of the entries that it replaces, each on its pod's channel.
func telling(more ...func(*presence.Options)) func(*presence.Options) {
	return func(o *presence.Options) {
		o.TTL = time.Minute
		o.Replaced = func(user string, old presence.Located) (string, []byte) {
			return old.Channel, []byte("replaced " + presence.FormatUUID(old.UUID) + " of " + user)
		}
		for _, f := range more {
			f(o)
		}
	}
}

// instead is a new entry that takes the place of another one.
func instead(old presence.Entry) presence.Entry {
	e := entry(old.User)
	e.Replaces = old.UUID
	return e
}

// heard is what is published on a pod's channel.
func (w *world) heard(channel string) <-chan *redis.Message {
	w.t.Helper()
	sub := w.admin.Subscribe(context.Background(), channel)
	w.t.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return sub.Channel()
}

func replacedText(old presence.Entry) string {
	return "replaced " + presence.FormatUUID(old.UUID) + " of " + old.User
}

// wantTold waits for what a pod is told next.
func wantTold(t *testing.T, why string, from <-chan *redis.Message, old presence.Entry) {
	t.Helper()
	if m := wait(t, why, from); m.Payload != replacedText(old) {
		t.Fatalf("%s: told %q, want %q", why, m.Payload, replacedText(old))
	}
}

func TestAnEntryTakesThePlaceOfAnother(t *testing.T) {
	allWorlds(t, func(t *testing.T, w *world) {
		a, b := w.store("a:1", telling()), w.store("b:1", telling())
		messages := w.heard(a.channel)
		old, other := entry("alice"), entry("bob")
		a.mustRegister(old)
		a.mustRegister(other)
		e := instead(old)
		if err := w.admin.Persist(context.Background(), w.keys.User("alice")).Err(); err != nil { // so that it is seen who makes it expire
			t.Fatal(err)
		}
		r := b.register(e)
		if r.Err != nil || r.Unheard != (presence.Located{}) {
			t.Fatalf("registered: %+v", r)
		}
		w.want("one for the other", "alice", b.channel, e)
		wantTold(t, "its pod is told", messages, old)
		if ttl := w.ttl(e); ttl <= 0 || ttl > time.Minute {
			t.Errorf("the new entry expires in %v", ttl)
		}

		for why, replaces := range map[string]presence.UUID{
			"it is gone already":     old.UUID,
			"nobody knows it":        entry("alice").UUID,
			"another user's":         other.UUID,
			"a registration's own":   {},
			"none of any pod's ever": {1, 2, 3},
		} {
			e := entry("carol")
			if e.Replaces = replaces; replaces == (presence.UUID{}) {
				e.Replaces = e.UUID
			}
			b.mustRegister(e)
			w.want(why, "carol", b.channel, e)
			b.mustUnregister(e)
		}
		w.want("another user's stands", "bob", a.channel, other)
		w.put(entry("dave"), "no pod's channel")
		odd := instead(presence.Entry{User: "dave", UUID: w.only("dave")})
		b.mustRegister(odd)
		if n := len(w.fields("dave")); n != 2 {
			t.Errorf("%d entries stand where the one is no pod's", n)
		}
		if got := b.Stats(); got.Replaced != 1 || got.Registered != 7 || len(messages) != 0 {
			t.Errorf("%d replaced, %d registered, and %d told in vain", got.Replaced, got.Registered, len(messages))
		}
	})
}

// only is the user's only connection.
func (w *world) only(user string) (u presence.UUID) {
	w.t.Helper()
	for field := range w.fields(user) {
		u, _ = presence.ParseUUID(field)
	}
	return u
}

// allWorlds is bothWorlds, and a real server whose fields expire, where it has that.
func allWorlds(t *testing.T, test func(t *testing.T, w *world)) {
	bothWorlds(t, test)
	t.Run("field expiry, real", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		if out, _ := s.TryCLI("HEXPIRE", "x", "1", "FIELDS", "1", "x"); strings.Contains(out, "unknown command") {
			t.Skip("the server has no HEXPIRE")
		}
		test(t, &world{t: t, addr: s.Addr(), keys: presence.NewKeys("push:"), admin: s.Client(), real: s})
	})
}

// ttl is in what time an entry expires.
func (w *world) ttl(e presence.Entry) time.Duration {
	w.t.Helper()
	ctx, key := context.Background(), w.keys.User(e.User)
	if d := w.admin.PTTL(ctx, key).Val(); d > 0 {
		return d
	}
	s, err := w.admin.HTTL(ctx, key, presence.FormatUUID(e.UUID)).Result()
	if err != nil || len(s) != 1 {
		w.t.Fatalf("HTTL: %v, %v", s, err)
	}
	return time.Duration(s[0]) * time.Second
}

// Whoever looks a user up finds one connection, never both and never none.
func TestOneOfTheTwoIsFoundAtAnyMoment(t *testing.T) {
	allWorlds(t, func(t *testing.T, w *world) {
		stores := []*testStore{w.store("a:1", telling()), w.store("b:1", telling()), w.store("c:1", telling())}
		e := entry("alice")
		stores[0].mustRegister(e)
		ctx, cancel := context.WithCancel(t.Context())
		var looking sync.WaitGroup
		var looks atomic.Int64
		for range 2 {
			looking.Go(func() {
				c := w.client(w.addr)
				for ctx.Err() == nil {
					found, err := c.HGetAll(context.Background(), w.keys.User("alice")).Result()
					if err != nil || len(found) != 1 {
						t.Errorf("found %v, %v", found, err)
						return
					}
					looks.Add(1)
				}
			})
		}
		for i := range 200 {
			next := instead(e)
			stores[(i+1)%3].mustRegister(next)
			e = next
		}
		cancel()
		looking.Wait()
		t.Logf("%d looks while 200 entries were replaced", looks.Load())
	})
}

func TestWhoReplacesIsNotOneMore(t *testing.T) {
	allWorlds(t, func(t *testing.T, w *world) {
		const most = 2
		for _, excess := range []string{presence.OnExcessReject, presence.OnExcessCloseOldest} {
			user := "user of " + excess
			limited := telling(func(o *presence.Options) { o.PerUser, o.OnExcess, o.Pods = most, excess, nil })
			a, b := w.store("a:1", limited), w.store("b:1", limited)
			old, other := entry(user), entry(user)
			a.mustRegister(old)
			a.mustRegister(other)
			if excess == presence.OnExcessReject {
				mustBe(t, "one more, asked", b.check(entry(user)), presence.ErrTooMany)
				mustBe(t, "one more", b.register(entry(user)).Err, presence.ErrTooMany)
			}
			e := instead(old)
			if err := b.check(e); err != nil {
				t.Errorf("one for another, asked: %v", err)
			}
			if r := b.register(e); r.Err != nil || len(r.Excess) != 0 {
				t.Errorf("one for another: %+v", r)
			}
			if excess != presence.OnExcessReject {
				continue
			}
			mustBe(t, "for one that is gone, asked", b.check(instead(old)), presence.ErrTooMany)
			mustBe(t, "for one that is gone", b.register(instead(old)).Err, presence.ErrTooMany)
			w.wantFields("the refused one has changed nothing", user, e, other)

			// Only one of those that come at the same time can take a place.
			outcomes := make(chan error, 10)
			for range cap(outcomes) {
				b.Register(instead(e), func(r presence.Registered) { outcomes <- r.Err })
			}
			in := 0
			for range cap(outcomes) {
				if err := wait(t, "an outcome", outcomes); err == nil {
					in++
				} else {
					mustBe(t, "too late", err, presence.ErrTooMany)
				}
			}
			if n := len(w.fields(user)); in != 1 || n != most {
				t.Errorf("%d have taken one place, and %d entries stand", in, n)
			}
		}
	})
}

// wantFields checks which entries a user's hash holds, of whichever pods.
func (w *world) wantFields(why, user string, entries ...presence.Entry) {
	w.t.Helper()
	fields := w.fields(user)
	for _, e := range entries {
		if fields[presence.FormatUUID(e.UUID)] == "" {
			w.t.Fatalf("%s: %v is not among %v", why, e, fields)
		}
	}
	if len(fields) != len(entries) {
		w.t.Fatalf("%s: %v, want %d of them", why, fields, len(entries))
	}
}

func TestARefusedRegistrationReplacesNothing(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		a, b := w.store("a:1", telling()), w.store("b:1", telling())
		messages := w.heard(a.channel)
		w.set("push:revoked:{stolen}", "")
		w.set("push:used:{spent}", "somebody")
		w.set("push:valid-after:{late}", "2000")
		for user, c := range map[string]*presence.Credential{
			"revoked": {ID: "stolen", Issued: 3000}, "used": {ID: "spent", Issued: 3000, Once: presence.Always}, "late": {Issued: 1000}, "blocked": nil,
		} {
			old := entry(user)
			a.mustRegister(old)
			if c == nil {
				w.set("push:block:{"+user+"}", "")
			}
			e := instead(old)
			e.Credential = c
			if ground(t, b.register(e).Err) == "" {
				t.Errorf("%s: let in", user)
			}
			w.want(user+": the old one stands", user, a.channel, old)
		}
		once := instead(entry("bob"))
		a.mustRegister(presence.Entry{User: "bob", UUID: once.Replaces})
		once.Credential = &presence.Credential{ID: "fresh", Once: presence.Always}
		b.mustRegister(once)
		w.want("a credential for one connection", "bob", b.channel, once)
		if m := wait(t, "the only one told", messages); m.Payload != replacedText(presence.Entry{User: "bob", UUID: once.Replaces}) {
			t.Errorf("told %q", m.Payload)
		}
	})
}

func TestWhoIsNotHeardIsNamed(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		a, b := w.store("a:1", telling()), w.store("b:1", telling())
		old := entry("alice")
		a.mustRegister(old)
		if r := b.register(instead(old)); r.Err != nil || r.Unheard != (presence.Located{UUID: old.UUID, Channel: a.channel}) {
			t.Errorf("registered: %+v", r)
		}
	})
}

// What became of a transaction that is not answered is not known. It ends the same.
func TestASwapEndsRightWhenTheLinkFails(t *testing.T) {
	allWorlds(t, func(t *testing.T, w *world) {
		for name, done := range map[string]bool{"it was done": true, "it was not": false} {
			user := "user: " + name
			client := w.client(w.addr)
			var fails atomic.Bool
			client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
				if !carry(cmds, "publish") || !fails.CompareAndSwap(true, false) {
					return send()
				}
				if done {
					_ = send()
				}
				return answer(cmds, io.ErrUnexpectedEOF)
			}))
			a := w.store("a:1", telling())
			b := w.store("b:1", telling(func(o *presence.Options) { o.Redis, o.PerUser = redisconn.Of(client), 1 }))
			messages := w.heard(a.channel)
			old := entry(user)
			a.mustRegister(old)
			fails.Store(true)
			e := instead(old)
			b.mustRegister(e)
			if fails.Load() {
				t.Fatal("nothing has failed")
			}
			w.want(name, user, b.channel, e)
			wantTold(t, name, messages, old)
		}
	})
}

// Places change hands while the link is cut all the time. What stands in the end is what is
// held: who is replaced asks for the removal of its entry, as one does who hears of it.
func TestWhatIsHeldStandsAfterRandomSwapsOverACutLink(t *testing.T) {
	allWorlds(t, func(t *testing.T, w *world) {
		proxy := redistest.NewProxy(t, w.addr)
		cut := func(o *presence.Options) { o.Redis, o.Batch = redisconn.Of(w.client(proxy.Addr())), 64 }
		stores := []*testStore{w.store("a:1", telling(cut)), w.store("b:1", telling(cut))}
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		var over atomic.Bool
		var cutting, living sync.WaitGroup
		cutting.Go(func() {
			random := rand.New(rand.NewPCG(seed, 0))
			for !over.Load() {
				switch random.IntN(6) {
				case 0:
					proxy.Cut()
				case 1:
					proxy.CutAfter(random.Int64N(4000))
				case 2:
					proxy.CutRequestsAfter(random.Int64N(10000))
				case 3:
					proxy.Refuse(true)
				}
				time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
				proxy.Refuse(false)
			}
		})
		const lives = 8
		held := make([]presence.Entry, lives)
		var swaps, failed atomic.Int64
		for life := range lives {
			living.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(life)+1))
				user, at := fmt.Sprint("user", life), stores[0]
				var now presence.Entry // zero: none
				for range 100 {
					next, to := entry(user), stores[random.IntN(2)]
					next.Replaces = now.UUID
					outcomes := make(chan presence.Registered, 2)
					to.Register(next, func(r presence.Registered) { outcomes <- r })
					for range random.IntN(2) {
						if now.User != "" {
							at.Renew(presence.Entry{User: user, UUID: now.UUID})
						}
					}
					if r := <-outcomes; r.Err != nil {
						failed.Add(1)
						if now.User != "" { // it may have been replaced, or not
							at.Unregister(now, nil)
						}
						now = presence.Entry{}
						continue
					}
					swaps.Add(1)
					if now.User != "" {
						at.Unregister(now, nil)
					}
					now, at = next, to
				}
				held[life] = now
			})
		}
		living.Wait()
		over.Store(true)
		cutting.Wait()
		proxy.CutAfter(-1)
		proxy.CutRequestsAfter(-1)
		for _, s := range stores {
			eventually(t, "the store is well and idle", func() error {
				if n := s.Stats().Waiting; n > 0 || s.Err() != nil {
					return fmt.Errorf("%d wait, %v", n, s.Err())
				}
				return nil
			})
		}
		time.Sleep(1200 * time.Millisecond) // what was in doubt is repeated
		for _, s := range stores {
			s.idle()
		}
		t.Logf("%d registered, %d failed, %d cuts", swaps.Load(), failed.Load(), proxy.Cuts())
		for life, e := range held {
			var want []string
			if e.User != "" {
				want = append(want, presence.FormatUUID(e.UUID))
			}
			var got []string
			for field := range w.fields(fmt.Sprint("user", life)) {
				got = append(got, field)
			}
			if !slices.Equal(got, want) {
				t.Errorf("user%d: %v stand, %v is held", life, got, want)
			}
		}
		if swaps.Load() < 50 || proxy.Cuts() < 10 {
			t.Error("the test did not test much")
		}
	})
}

// An unregistration that is asked for while it is not known yet what is replaced ends it.
func TestASwapThatIsGivenUpReplacesNothing(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		client := w.client(w.addr)
		found, goOn := make(chan bool), make(chan bool)
		client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
			err := send()
			if carry(cmds, "hget") {
				found <- true
				<-goOn
			}
			return err
		}))
		a := w.store("a:1", telling())
		b := w.store("b:1", telling(func(o *presence.Options) { o.Redis, o.Timeout = redisconn.Of(client), patience }))
		old := entry("alice")
		a.mustRegister(old)
		e, outcome := instead(old), make(chan presence.Registered, 1)
		b.Register(e, func(r presence.Registered) { outcome <- r })
		wait(t, "the question where the old one is", found)
		gone := make(chan error, 1)
		b.Unregister(e, func(err error) { gone <- err })
		goOn <- true
		mustBe(t, "the registration", wait(t, "its outcome", outcome).Err, presence.ErrUnregistered)
		if err := wait(t, "the removal", gone); err != nil {
			t.Error(err)
		}
		w.want("the old one stands", "alice", a.channel, old)
	})
}

// A user's key of another type is said by the write.
func TestASwapUnderAKeyOfAnotherType(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", telling())
		w.set(w.keys.User("alice"), "somebody else's")
		if err := s.register(instead(entry("alice"))).Err; !errors.Is(err, presence.ErrUnavailable) || !contains(err, "WRONGTYPE") {
			t.Errorf("registered: %v", err)
		}
		if s.Err() != nil {
			t.Errorf("one user's key is taken for Redis: %v", s.Err())
		}
	})
}

// swapsInACluster has places change hands while the slots move.
func swapsInACluster(t *testing.T, w *clusterWorld) {
	a, b := w.store("f:1", telling()), w.store("g:1", telling())
	messages := w.heard(a.channel)
	for i, user := range users(12) {
		old := entry("swap-" + user)
		a.mustRegister(old)
		e := instead(old)
		b.mustRegister(e)
		w.want(fmt.Sprint("swap ", i), old.User, b.channel, e)
		wantTold(t, "its pod is told, at whichever node", messages, old)
		w.onlyAt(w.keys.User(old.User))
	}
	const user = "swapper"
	key := w.keys.User(user)
	slot := w.cluster.Slot(key)
	from := w.cluster.At(slot)
	to := w.cluster.Masters[(slices.Index(w.cluster.Masters, from)+1)%3]
	old := entry(user)
	a.mustRegister(old)
	swap := func(why string) {
		t.Helper()
		e := instead(old)
		b.mustRegister(e)
		w.want(why, user, b.channel, e)
		wantTold(t, why, messages, old)
		back := instead(e)
		a.mustRegister(back)
		w.want(why+", and back", user, a.channel, back)
		old = back
	}
	w.cluster.BeginMove(slot, to)
	swap("the key is still at the old node")
	w.cluster.MoveKeys(slot, to)
	swap("ASK leads to the new node")
	w.cluster.EndMove(slot, to)
	swap("MOVED leads to the new node")
	w.onlyAt(key)
	w.cluster.Move(slot, from)
}
