package presence_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

const (
	testTTL     = 2 * time.Second
	testTimeout = time.Second
	patience    = 15 * time.Second // until a test that waits gives up
)

// world is a Redis and what the tests do with it.
type world struct {
	t     *testing.T
	addr  string
	keys  presence.Keys
	admin redis.UniversalClient
	real  *redistest.Server    // nil with miniredis
	mini  *miniredis.Miniredis // nil with a real server
}

// realWorld has a redis-server, where a hash expires as a whole.
func realWorld(t *testing.T, args ...string) *world {
	t.Helper()
	s := redistest.Start(t, args...)
	if out, _ := s.TryCLI("HEXPIRE", "x", "1", "FIELDS", "1", "x"); !strings.Contains(out, "unknown command") {
		s = redistest.Start(t, append(args, "--rename-command", "HEXPIRE", "")...) // as on a server that is older
	}
	return &world{t: t, addr: s.Addr(), keys: presence.NewKeys("push:"), admin: s.Client(), real: s}
}

// miniWorld has a miniredis, where each field expires.
func miniWorld(t *testing.T) *world {
	t.Helper()
	m := miniredis.RunT(t)
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{m.Addr()}})
	t.Cleanup(func() { _ = c.Close() })
	return &world{t: t, addr: m.Addr(), keys: presence.NewKeys("push:"), admin: c, mini: m}
}

// bothWorlds runs a test in each of them.
func bothWorlds(t *testing.T, test func(t *testing.T, w *world)) {
	t.Parallel()
	t.Run("key expiry", func(t *testing.T) { t.Parallel(); test(t, realWorld(t)) })
	t.Run("field expiry", func(t *testing.T) { t.Parallel(); test(t, miniWorld(t)) })
}

// pass lets time go by for Redis's expiries.
func (w *world) pass(d time.Duration) {
	if w.mini != nil {
		w.mini.FastForward(d)
		return
	}
	time.Sleep(d)
}

func (w *world) client(addr string) redis.UniversalClient {
	return w.clientWithin(addr, testTimeout)
}

// clientWithin returns a client that gives each answer so much time.
func (w *world) clientWithin(addr string, timeout time.Duration) redis.UniversalClient {
	c := redisconn.NewClient(redisconn.Options{
		Addresses: []string{addr}, Timeout: timeout, NoRetry: true,
	})
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// testStore is a running store.
type testStore struct {
	*presence.Store
	w       *world
	channel string
	stop    func() // ends Run and waits for it
}

// store starts a store for a pod. Its address in push:pods is not its concern
// unless change gives it a Pods.
func (w *world) store(pod string, change func(*presence.Options)) *testStore {
	w.t.Helper()
	o := presence.Options{
		Keys: w.keys, Pod: pod, TTL: testTTL, Timeout: testTimeout, Log: zerolog.Nop(),
	}
	if change != nil {
		change(&o)
	}
	if o.Redis == nil {
		o.Redis = redisconn.Of(w.client(w.addr))
	}
	s := presence.NewStore(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	stop := func() { cancel(); running.Wait() }
	w.t.Cleanup(stop)
	return &testStore{Store: s, w: w, channel: w.keys.PodChannel(pod), stop: stop}
}

// register registers an entry and returns the outcome.
func (s *testStore) register(e presence.Entry) presence.Registered {
	s.w.t.Helper()
	outcomes := make(chan presence.Registered, 2)
	if err := s.Register(e, func(r presence.Registered) { outcomes <- r }); err != nil {
		s.w.t.Fatalf("register %v: %v", e, err)
	}
	return wait(s.w.t, "the registration's outcome", outcomes)
}

func (s *testStore) mustRegister(e presence.Entry) {
	s.w.t.Helper()
	if r := s.register(e); r.Err != nil {
		s.w.t.Fatalf("register %v: %v", e, r.Err)
	}
}

// unregister unregisters an entry and waits until it is gone.
func (s *testStore) unregister(e presence.Entry) error {
	s.w.t.Helper()
	outcomes := make(chan error, 2)
	if err := s.Unregister(e, func(err error) { outcomes <- err }); err != nil {
		s.w.t.Fatalf("unregister %v: %v", e, err)
	}
	return wait(s.w.t, "the unregistration's outcome", outcomes)
}

func (s *testStore) mustUnregister(e presence.Entry) {
	s.w.t.Helper()
	if err := s.unregister(e); err != nil {
		s.w.t.Fatalf("unregister %v: %v", e, err)
	}
}

// idle waits until nothing waits.
func (s *testStore) idle() {
	s.w.t.Helper()
	eventually(s.w.t, "nothing waits in the store", func() error {
		if n := s.Stats().Waiting; n > 0 {
			return fmt.Errorf("%d operations wait", n)
		}
		return nil
	})
}

// testPods is a Pods that has claimed its address.
func (w *world) pods(pod string, change func(*presence.PodsOptions)) *presence.Pods {
	w.t.Helper()
	p := w.unclaimed(pod, change)
	if err := p.Claim(w.t.Context()); err != nil {
		w.t.Fatalf("claim %s: %v", pod, err)
	}
	return p
}

func (w *world) unclaimed(pod string, change func(*presence.PodsOptions)) *presence.Pods {
	w.t.Helper()
	o := presence.PodsOptions{
		Keys: w.keys, Pod: pod, Timeout: testTimeout, Version: "test", Log: zerolog.Nop(),
		Heartbeat: 100 * time.Millisecond, Lease: 500 * time.Millisecond, TTL: testTTL,
	}
	if change != nil {
		change(&o)
	}
	if o.Redis == nil {
		o.Redis = redisconn.Of(w.client(w.addr))
	}
	return presence.NewPods(o)
}

// keepBeating runs the heartbeat until the returned function is called, or the
// test ends.
func (w *world) keepBeating(p *presence.Pods) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	w.t.Cleanup(stop)
	return stop
}

// neighbour is another pod that beats, which p knows.
func (w *world) neighbour(pod string, p *presence.Pods) *presence.Pods {
	w.t.Helper()
	q := w.pods(pod, nil)
	w.keepBeating(q)
	acquaint(w.t, p, q)
	return q
}

// stall stops Redis under a batch, so that what comes next waits.
func (s *testStore) stall() {
	s.w.real.Pause()
	s.Renew(entry("in flight"))
	time.Sleep(50 * time.Millisecond)
}

// entry returns a new entry of the user.
func entry(user string) presence.Entry {
	return presence.Entry{User: user, UUID: presence.NewUUID(time.Now().UnixMilli())}
}

func (w *world) fields(user string) map[string]string {
	w.t.Helper()
	m, err := w.admin.HGetAll(context.Background(), w.keys.User(user)).Result()
	if err != nil {
		w.t.Fatalf("HGETALL of %q: %v", user, err)
	}
	return m
}

// want checks that a user's hash holds exactly these entries of a pod.
func (w *world) want(why, user, channel string, entries ...presence.Entry) {
	w.t.Helper()
	if err := w.has(user, channel, entries...); err != nil {
		w.t.Fatalf("%s: %v", why, err)
	}
}

func (w *world) has(user, channel string, entries ...presence.Entry) error {
	w.t.Helper()
	wanted := make(map[string]string)
	for _, e := range entries {
		wanted[presence.FormatUUID(e.UUID)] = channel
	}
	if got := w.fields(user); !maps.Equal(got, wanted) {
		return fmt.Errorf("hash of %q is %v, want %v", user, got, wanted)
	}
	return nil
}

// put writes a field into a user's hash, as another pod would.
func (w *world) put(e presence.Entry, channel string) {
	w.t.Helper()
	if err := w.admin.HSet(context.Background(), w.keys.User(e.User), presence.FormatUUID(e.UUID), channel).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// score writes a pod's score, as another pod would.
func (w *world) score(channel string, score float64) {
	w.t.Helper()
	if err := w.admin.ZAdd(context.Background(), w.keys.Pods(), redis.Z{Score: score, Member: channel}).Err(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) members() []string {
	w.t.Helper()
	m, err := w.admin.ZRange(context.Background(), w.keys.Pods(), 0, -1).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// hook is asked to send each pipeline of a client, and may do more, or less.
type hook func(cmds []redis.Cmder, send func() error) error

func (h hook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return h(cmds, func() error { return next(ctx, cmds) })
	}
}

// carry reports whether a pipeline carries this command.
func carry(cmds []redis.Cmder, name string) bool {
	return slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Name() == name })
}

// answer answers a whole pipeline with this error.
func answer(cmds []redis.Cmder, err error) error {
	for _, c := range cmds {
		c.SetErr(err)
	}
	return err
}

// refusal is an error that Redis sends.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

func wait[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// eventually waits until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func mustBe(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s: %v, want %v", what, err, target)
	}
}

func uuids(located []presence.Located) []presence.UUID {
	var u []presence.UUID
	for _, l := range located {
		u = append(u, l.UUID)
	}
	return u
}

func sameUUIDs(got []presence.Located, wanted ...presence.Entry) bool {
	var u []presence.UUID
	for _, e := range wanted {
		u = append(u, e.UUID)
	}
	return slices.Equal(uuids(got), u)
}

func contains(err error, text string) bool {
	return err != nil && strings.Contains(err.Error(), text)
}
