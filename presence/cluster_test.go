package presence_test

import (
	"context"
	"errors"
	"fmt"
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

// clusterWorld is a world whose Redis is a Cluster.
type clusterWorld struct {
	*world
	cluster *redistest.Cluster
	redis   *redisconn.Redis // as a pod has it
}

// newClusterWorld has a Cluster of which one address is known.
func newClusterWorld(t *testing.T, c *redistest.Cluster) *clusterWorld {
	t.Helper()
	admin := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.Masters[1].Addr(), c.Masters[2].Addr()}, Protocol: 2})
	r := redisconn.Open(redisconn.Options{Addresses: []string{c.Addr()}, Timeout: testTimeout})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx, nil, nil) })
	t.Cleanup(func() { stop(); running.Wait(); r.Close(); _ = admin.Close() })
	return &clusterWorld{world: &world{t: t, addr: c.Addr(), keys: presence.NewKeys("push:"), admin: admin}, cluster: c, redis: r}
}

func (w *clusterWorld) store(pod string, change func(*presence.Options)) *testStore {
	w.t.Helper()
	return w.world.store(pod, func(o *presence.Options) {
		o.Redis, o.TTL = w.redis, time.Minute
		if change != nil {
			change(o)
		}
	})
}

// users returns ids of which each master has some.
func users(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint("user", i))
	}
	return list
}

// onlyAt checks that a key is at the node that has its slot, and at no other.
func (w *clusterWorld) onlyAt(key string) {
	w.t.Helper()
	owner, holders := w.cluster.Of(key), w.cluster.Holders(key)
	if len(holders) > 1 || len(holders) == 1 && holders[0] != owner {
		w.t.Errorf("%s is at %d nodes, or not at that of its slot", key, len(holders))
	}
}

func TestPresenceInACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 0)
	for _, test := range []struct {
		name string
		test func(*testing.T, *clusterWorld)
	}{
		{"each user is at the user's node", entriesAreAtTheUsersNodes},
		{"a batch meets MOVED before the map is known", unknownClusterIsFollowed},
		{"what speaks against entries", groundsInACluster},
		{"a slot is being moved", slotIsBeingMoved},
		{"nothing is overtaken", nothingIsOvertaken},
		{"a place changes hands", swapsInACluster},
		{"lives while slots move", livesWhileSlotsMove},
		{"pods know each other", podsInACluster},
		{"a master hangs", masterHangs},
	} {
		t.Run(test.name, func(t *testing.T) { test.test(t, newClusterWorld(t, cluster)) })
	}
}

func entriesAreAtTheUsersNodes(t *testing.T, w *clusterWorld) {
	s := w.store("a:1", func(o *presence.Options) { o.PerUser = 2 })
	held := map[string]presence.Entry{}
	for _, user := range append(users(40), "a}b", "}") {
		if presence.ValidUser(user) != nil {
			continue
		}
		held[user] = entry(user)
		s.mustRegister(held[user])
		w.want("registered", user, s.channel, held[user])
		w.onlyAt(w.keys.User(user))
		s.Renew(held[user])
		s.mustRegister(entry(user))
		mustBe(t, "a third connection", s.register(entry(user)).Err, presence.ErrTooMany)
	}
	s.idle()
}

// What is asked of a store before Redis has said that it is a Cluster is followed to its node.
func unknownClusterIsFollowed(t *testing.T, w *clusterWorld) {
	w.redis = redisconn.Open(redisconn.Options{Addresses: []string{w.cluster.Addr()}, Timeout: testTimeout}) // nobody runs it
	t.Cleanup(w.redis.Close)
	pods := w.pods("b:1", func(o *presence.PodsOptions) { o.Redis = w.redis })
	s := w.store("b:1", func(o *presence.Options) { o.Pods, o.PerUser = pods, 3 })
	var all []presence.Entry
	for _, user := range users(30) {
		e := presence.Entry{User: "unknown-" + user, UUID: pods.NewUUID()}
		s.mustRegister(e)
		all = append(all, e)
	}
	for _, e := range all {
		w.want("registered", e.User, s.channel, e)
		s.mustUnregister(e)
		w.want("removed", e.User, s.channel)
	}
	if kind := w.redis.Map().Kind; kind != redisconn.Unknown {
		t.Errorf("the map is of %s", kind)
	}
}

func groundsInACluster(t *testing.T, w *clusterWorld) {
	closed := make(chan presence.Entry, 100)
	s := w.store("c:1", func(o *presence.Options) {
		o.Refused = func(e presence.Entry, r *presence.Refused) { closed <- e }
	})
	set := func(key, value string) {
		if err := w.admin.Set(t.Context(), key, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.admin.Del(context.Background(), key) })
	}
	ground := func(what string, e presence.Entry, want presence.Ground) {
		t.Helper()
		var refused *presence.Refused
		if err := s.register(e).Err; !errors.As(err, &refused) || refused.Ground != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	token := func(user, id string) presence.Entry {
		e := entry(user)
		e.Credential = &presence.Credential{ID: id, Issued: 1000}
		return e
	}
	var standing []presence.Entry
	for i, user := range users(12) {
		standing = append(standing, token(user, fmt.Sprint("fine-", i)))
		s.mustRegister(standing[i])
	}
	for i := range users(12) {
		set(w.keys.Block(fmt.Sprint("blocked", i)), "spam")
		ground("blocked", entry(fmt.Sprint("blocked", i)), presence.Blocked)
		set(w.keys.Revoked(fmt.Sprint("stolen-", i)), "")
		ground("revoked", token(fmt.Sprint("user", i), fmt.Sprint("stolen-", i)), presence.Revoked)
		set(w.keys.ValidAfterUser(fmt.Sprint("late", i)), "2000")
		ground("too old for this user", token(fmt.Sprint("late", i), fmt.Sprint("old-", i)), presence.Outdated)
		once := token(fmt.Sprint("user", i), fmt.Sprint("once-", i))
		once.Credential.Once = presence.Always
		s.mustRegister(once)
		again := once
		again.UUID = presence.NewUUID(time.Now().UnixMilli())
		ground("used", again, presence.Used)
	}
	for i, e := range standing {
		set(w.keys.Revoked(fmt.Sprint("fine-", i)), "")
		s.Renew(e)
	}
	for range standing {
		wait(t, "an entry that is revoked while it stands", closed)
	}
	set(w.keys.ValidAfter(), "2000")
	ground("too old for all", token("user1", "unheard-of"), presence.Outdated)
	mustBe(t, "who needs no token", s.register(entry("user1")).Err, nil)
}

// While a slot is on its way, its keys are at the one node or the other, and one key of a user
// may have moved where another has not.
func slotIsBeingMoved(t *testing.T, w *clusterWorld) {
	s := w.store("d:1", func(o *presence.Options) {
		o.PerUser = 3
		o.Refused = func(presence.Entry, *presence.Refused) {}
	})
	const user = "mover"
	key := w.keys.User(user)
	slot := w.cluster.Slot(key)
	first := entry(user)
	s.mustRegister(first)
	from := w.cluster.At(slot)
	to := w.cluster.Masters[(slices.Index(w.cluster.Masters, from)+1)%3]
	w.cluster.BeginMove(slot, to)
	check := func(why string, entries ...presence.Entry) {
		t.Helper()
		s.idle()
		for _, e := range entries {
			s.renewAndWait(e)
		}
		w.want(why, user, s.channel, entries...)
	}
	check("the key is still at the old node", first)
	second := entry(user)
	s.mustRegister(second)
	check("registered at the old node", first, second)
	w.cluster.MoveKeys(slot, to)
	check("ASK leads to the new node", first, second)
	third := entry(user)
	s.mustRegister(third)
	s.mustUnregister(first)
	check("registered at the new node", second, third)
	s.mustUnregister(second)
	s.mustUnregister(third)
	newcomer := entry(user) // there is no key at either
	s.mustRegister(newcomer)
	check("the first key of the slot", newcomer)
	w.cluster.EndMove(slot, to)
	check("MOVED leads to the new node", newcomer)
	w.onlyAt(key)
	last := entry(user)
	s.mustRegister(last)
	check("the slot has moved", newcomer, last)
	w.cluster.Move(slot, from)
}

// Connections of few users come and go while all of their slots are moved round and round:
// what stands in the end is what is still held, each where its slot is.
func livesWhileSlotsMove(t *testing.T, w *clusterWorld) {
	s := w.store("e:1", func(o *presence.Options) {
		o.Batch = 64
		o.Refused = func(presence.Entry, *presence.Refused) {}
	})
	names := []string{"mary", "lucy", "anna", "emma", "rose", "nora"}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	held := make(map[presence.Entry]bool)
	var accepted, failed atomic.Int64
	var over atomic.Bool
	var living sync.WaitGroup
	for life := range 6 {
		living.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(life)+1))
			for !over.Load() {
				e := entry(names[random.IntN(len(names))])
				outcomes := make(chan presence.Registered, 2)
				s.Register(e, func(r presence.Registered) { outcomes <- r })
				if random.IntN(5) == 0 { // gone before the answer
					s.Unregister(e, nil)
					<-outcomes
					continue
				}
				if r := <-outcomes; r.Err != nil {
					failed.Add(1)
					t.Logf("register: %v", r.Err)
					continue
				}
				accepted.Add(1)
				for range random.IntN(4) {
					s.Renew(e)
				}
				if random.IntN(20) == 0 {
					mu.Lock()
					held[e] = true
					mu.Unlock()
					continue
				}
				s.Unregister(e, nil)
			}
		})
	}
	defer living.Wait()
	defer over.Store(true)
	for i := range 2 * len(names) {
		slot := w.cluster.Slot(w.keys.User(names[i%len(names)]))
		at := slices.Index(w.cluster.Masters, w.cluster.At(slot))
		w.cluster.Move(slot, w.cluster.Masters[(at+1)%3])
	}
	over.Store(true)
	living.Wait()
	s.idle()
	time.Sleep(1200 * time.Millisecond) // what was in doubt is repeated
	s.idle()
	t.Logf("%d accepted, %d failed, %d held", accepted.Load(), failed.Load(), len(held))
	stand := 0
	for _, user := range names {
		for field := range w.fields(user) {
			u, _ := presence.ParseUUID(field)
			if !held[presence.Entry{User: user, UUID: u}] {
				t.Errorf("%s of %s stands, and is not held", field, user)
			}
			stand++
		}
		w.onlyAt(w.keys.User(user))
	}
	if stand != len(held) || failed.Load() > 0 || accepted.Load() < 50 {
		t.Errorf("%d entries stand, %d are held; %d registrations failed", stand, len(held), failed.Load())
	}
}

// The scores and the descriptions of pods are in two slots, at two nodes perhaps.
func podsInACluster(t *testing.T, w *clusterWorld) {
	w.admin.Del(t.Context(), w.keys.Pods())
	in := func(o *presence.PodsOptions) {
		o.Redis, o.Info = w.redis, func() presence.Info { return presence.Info{Connections: 7} }
	}
	eventually(t, "the map is known", func() error {
		if w.redis.Map().Kind != redisconn.Cluster {
			return errors.New("it is not")
		}
		return nil
	})
	a, b := w.pods("a:1", in), w.pods("b:1", in)
	stopB := w.keepBeating(b)
	w.keepBeating(a)
	list, err := presence.ListPods(t.Context(), w.redis, w.keys)
	if err != nil || len(list) != 2 || list[1].Address != "b:1" || list[1].Info.Connections != 7 {
		t.Fatalf("%+v, %v", list, err)
	}
	// An absent score is no death for a lease.
	never := w.keys.PodChannel("never:1")
	if err := a.Look(t.Context(), []string{never}); err != nil || a.Dead(never) || !a.Suspected(never) {
		t.Errorf("a pod without a score: %v, dead: %v", err, a.Dead(never))
	}
	eventually(t, "it is dead after a lease", func() error {
		if !a.Dead(never) {
			return errors.New("it lives")
		}
		return nil
	})
	acquaint(t, a, b)
	if err := w.admin.ZRem(t.Context(), w.keys.Pods(), b.Channel()).Err(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if a.Dead(b.Channel()) {
			t.Fatal("a pod that beats is dead, for its score was lost for a moment")
		}
		time.Sleep(20 * time.Millisecond)
	}
	s := w.store("a:1", func(o *presence.Options) { o.Pods = a })
	before := w.redirections()
	for _, user := range users(30) {
		s.mustRegister(presence.Entry{User: user, UUID: a.NewUUID()})
	}
	if n := w.redirections() - before; n != 0 {
		t.Errorf("%d commands went to another node than their key's", n)
	}
	stopB()
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := presence.ListPods(t.Context(), w.redis, w.keys); err != nil || len(list) != 1 {
		t.Errorf("after one has left: %+v, %v", list, err)
	}
}

// redirections returns how often the masters have said MOVED.
func (w *clusterWorld) redirections() (n int) {
	w.t.Helper()
	for _, m := range w.cluster.Masters {
		_, rest, found := strings.Cut(m.CLI("INFO", "errorstats"), "errorstat_MOVED:count=")
		if !found {
			continue
		}
		var count int
		if _, err := fmt.Sscan(rest, &count); err != nil {
			w.t.Fatal(err)
		}
		n += count
	}
	return n
}

// A master that hangs holds up its own users only.
func masterHangs(t *testing.T, w *clusterWorld) {
	s := w.store("f:1", func(o *presence.Options) {
		o.Refused = func(presence.Entry, *presence.Refused) {}
	})
	hung := w.cluster.Masters[2]
	var theirs, others []string
	for _, user := range users(60) {
		e := entry(user)
		s.mustRegister(e)
		if w.cluster.Of(w.keys.User(user)) == hung {
			theirs = append(theirs, user)
		} else {
			others = append(others, user)
		}
		if err := s.unregister(e); err != nil {
			t.Fatal(err)
		}
	}
	slots := map[string]*redistest.Server{}
	for i := range 40 {
		id := fmt.Sprint("jti", i)
		slots[id] = w.cluster.Of(w.keys.Revoked(id))
	}
	hung.Pause()
	resumed := false
	resume := func() {
		if !resumed {
			hung.Resume()
		}
		resumed = true
	}
	t.Cleanup(resume)
	failures := make(chan error, len(theirs))
	for _, user := range theirs {
		if err := s.Register(entry(user), func(r presence.Registered) { failures <- r.Err }); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range others {
		e := entry(user)
		s.mustRegister(e)
		s.renewAndWait(e)
		s.mustUnregister(e)
	}
	for id, at := range slots {
		e := entry(others[0])
		e.Credential = &presence.Credential{ID: id}
		if at != hung {
			continue
		}
		if err := s.register(e).Err; !errors.Is(err, presence.ErrUnavailable) {
			t.Errorf("a token that nobody can say of whether it is revoked: %v", err)
		}
		break
	}
	for range theirs {
		if err := wait(t, "an answer", failures); !errors.Is(err, presence.ErrUnavailable) {
			t.Errorf("a user whose node hangs: %v", err)
		}
	}
	if err := s.Err(); err != nil {
		t.Errorf("for one of three nodes the store says %v", err)
	}
	if err := s.Failing(); err == nil || !strings.Contains(err.Error(), hung.Addr()) {
		t.Errorf("failing is %v, not %s", err, hung.Addr())
	}
	resume()
	w.cluster.WaitWell()
	eventually(t, "its users are served again", func() error { return s.register(entry(theirs[0])).Err })
	eventually(t, "none is failing", s.Failing)
	s.idle()
}

// While a batch is under way at a node, a slot that it is about moves to another one. What
// waits for the slot goes on there at once; but nothing of a UUID that is in flight, lest its
// HSET come behind its HDEL.
func nothingIsOvertaken(t *testing.T, w *clusterWorld) {
	eventually(t, "the map is known", func() error {
		if w.redis.Map().Kind != redisconn.Cluster {
			return errors.New("it is not")
		}
		return nil
	})
	s := w.store("g:1", nil)
	const first, second = "hasty}1", "hasty}2" // of one slot
	key := w.keys.User(first)
	slot := w.cluster.Slot(key)
	from := w.cluster.At(slot)
	to := w.cluster.Masters[(slices.Index(w.cluster.Masters, from)+1)%3]
	held, goOn := make(chan bool, 1), make(chan bool)
	var once sync.Once
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	w.redis.Map().Of(key).Client().AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
		if carry(cmds, "hset") && slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return strings.Contains(fmt.Sprint(deref(c.Args())), key) }) {
			once.Do(func() { held <- true; <-goOn })
		}
		return send()
	}))
	s.mustRegister(entry("somebody else"))
	a, b := entry(first), entry(second)
	registered, removed := make(chan presence.Registered, 1), make(chan error, 1)
	if err := s.Register(a, func(r presence.Registered) { registered <- r }); err != nil {
		t.Fatal(err)
	}
	wait(t, "the batch", held)
	waiting := make(chan presence.Registered, 1)
	if err := s.Register(b, func(r presence.Registered) { waiting <- r }); err != nil {
		t.Fatal(err)
	}
	before := w.redis.Map()
	w.cluster.Move(slot, to)
	w.redis.Refresh()
	wait(t, "another map", before.Replaced())
	if r := wait(t, "who waited for the slot", waiting); r.Err != nil {
		t.Error(r.Err)
	}
	if err := s.Unregister(a, func(err error) { removed <- err }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-removed:
		t.Error("the removal did not wait for the registration in flight")
	case <-time.After(200 * time.Millisecond):
	}
	release()
	if r := wait(t, "the registration", registered); r.Err != nil {
		t.Error(r.Err)
	}
	if err := wait(t, "the removal", removed); err != nil {
		t.Error(err)
	}
	s.idle()
	w.want("removed", first, s.channel)
	w.want("registered", second, s.channel, b)
	w.onlyAt(key)
	w.cluster.Move(slot, from)
}

// deref returns arguments as they are when they are sent.
func deref(args []any) (list []any) {
	for _, a := range args {
		if p, ok := a.(*string); ok {
			a = *p
		}
		list = append(list, a)
	}
	return list
}
