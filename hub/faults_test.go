package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/internal/backoff"
	"pushpod/presence"
	"pushpod/redisconn"
)

func TestAForeignProbeIsAConflict(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	a := p.connect("alice")
	stale := p.stale("bob")
	// As the other instance would: its probes come again and again.
	ctx, stop := context.WithCancel(context.Background())
	var others = make(chan struct{})
	go func() {
		defer close(others)
		for ctx.Err() == nil {
			p.admin.Publish(ctx, p.channel, `{"probe":"another instance"}`)
			backoff.Sleep(ctx, 50*time.Millisecond)
		}
	}()
	p.eventually("the conflict is seen", func() bool { return p.has("conflict") && p.Hub.Stats().Conflict })
	p.wantRefused("carol", http.StatusServiceUnavailable)
	p.publish(`{"user":["alice","bob"],"data":1}`)
	a.want("1") // who is there stays, and is served
	p.wantBooks(1, 1, 0)
	if heals := p.Hub.Stats().Heals; heals != 0 {
		t.Errorf("%d heals during a conflict", heals)
	}
	stop()
	<-others
	p.wantReady() // once no foreign probe has come for a while
	if p.entries("bob")[stale] == "" {
		t.Error("an entry was removed during the conflict")
	}
	p.connect("carol")
	p.publish(`{"user":"bob","data":2}`)
	p.eventually("the entry is removed after the conflict", func() bool { return p.entries("bob")[stale] == "" })
	if s := p.Hub.Stats(); s.Gaps != 0 || s.EnvelopesBad != 0 {
		t.Errorf("%+v", s)
	}
}

func TestALostSubscriptionIsOneGapAndPresenceIsRewritten(t *testing.T) {
	t.Parallel()
	var log logLines
	p := startPod(t, set{hub: func(o *Options) { o.Log = zerolog.New(&log) }})
	a := p.connect("alice")
	for n := uint64(1); n <= 3; n++ {
		p.feed.Refuse(true)
		p.eventually("the loss is noticed", func() bool { return p.has("unsubscribed") && !p.Hub.Stats().RedisUp })
		p.wantRefused("bob", http.StatusServiceUnavailable)
		p.admin.Del(context.Background(), p.keys.User("alice"))
		time.Sleep(100 * time.Millisecond) // several attempts fail
		if gaps := p.Hub.Stats().Gaps; gaps != n {
			t.Fatalf("%d gaps after %d losses", gaps, n)
		}
		p.feed.Refuse(false)
		p.wantReady()
		p.eventually("presence is rewritten", func() bool { return p.entries("alice")[a.uuid] == p.channel })
		p.publish(`{"user":"alice","data":1}`)
		a.want("1")
	}
	time.Sleep(3 * testProbe) // further probes rewrite nothing
	gaps, told, rewrites := p.Hub.Stats().Gaps, log.count("subscription lost"), log.count("presence entries rewritten")
	// The rewrite at the start finds alice where it comes late.
	if gaps != 3 || told != 3 || rewrites < 3 || rewrites > 4 {
		t.Errorf("%d gaps, of which %d are logged, and %d rewrites after 3 losses", gaps, told, rewrites)
	}
}

// It runs before those that are parallel: they open and close descriptors too.
func TestALostSubscriptionLeavesNoDescriptorOpen(t *testing.T) {
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	p := startPod(t, set{})
	const losses, others = 20, 10
	lose := func() {
		gaps := p.Hub.Stats().Gaps
		p.feed.Cut()
		p.eventually("the loss is noticed", func() bool { return p.Hub.Stats().Gaps > gaps })
		p.wantReady()
	}
	lose()
	before := descriptors()
	for range losses {
		lose()
	}
	p.eventually("no more are open than before", func() bool { return descriptors() < before+others })
}

// TestASubscriptionThatIsLostAtOnceIsNotAskedForAtOnce: a Redis that drops its
// subscribers must not have all pods come back twenty times a second.
func TestASubscriptionThatIsLostAtOnceIsNotAskedForAtOnce(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	p.once.Refuse(true) // nothing proves the subscription
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var subscribed bool
		p.status.update(func(s *status) { subscribed = s.subscribed })
		if subscribed {
			p.feed.Cut()
		}
	}
	// Waits double, at random by a half: six or seven in this time.
	if n := p.Hub.Stats().Gaps; n < 2 || n > 20 {
		t.Errorf("subscribed again %d times in 2 s", n)
	}
	p.once.Refuse(false)
	p.wantReady()
}

// TestCutRepliesLoseExactlyTheGap cuts the subscription at random bytes of what
// is published, many times.
func TestCutRepliesLoseExactlyTheGap(t *testing.T) {
	t.Parallel()
	const rounds, each = 100, 8
	// One probe for each subscription, so that it is known what passes.
	p := startPod(t, set{hub: func(o *Options) { o.Redis.Probe = time.Hour }})
	a := p.connect("alice")
	random := rand.New(rand.NewPCG(3, 3))
	lost, sent, total := 0, 0, 0
	for range rounds {
		p.eventually("the subscription is proved", func() bool { return p.Hub.Stats().RedisUp })
		envelope := func(i int) string { return fmt.Sprintf(`{"user":"alice","data":"message %08d"}`, i) }
		wire := len(message(p.channel, envelope(0)))
		cut := random.IntN(wire * each)
		p.feed.CutAfter(int64(cut))
		pipe := p.admin.Pipeline()
		for i := range each {
			pipe.Publish(context.Background(), p.channel, envelope(sent+i))
		}
		gaps := p.Hub.Stats().Gaps
		if _, err := pipe.Exec(context.Background()); err != nil {
			t.Fatal(err)
		}
		whole := cut / wire
		for i := range whole {
			a.want(fmt.Sprintf(`"message %08d"`, sent+i))
		}
		sent += each
		total += whole
		lost += each - whole
		p.eventually("the gap is counted", func() bool { return p.Hub.Stats().Gaps == gaps+1 })
	}
	p.eventually("the subscription is proved", func() bool { return p.Hub.Stats().RedisUp })
	p.publish(`{"user":"alice","data":"end"}`)
	a.want(`"end"`)
	p.wantBooks(total+1, 0, 0)
	if gaps := p.Hub.Stats().Gaps; gaps != rounds {
		t.Errorf("%d gaps after %d cuts", gaps, rounds)
	}
	t.Logf("%d cuts, %d of %d messages lost in them, every other one delivered", rounds, lost, sent)
}

// silent holds that a pod is not ready within the bound of the contract, and
// ready again once what hinders it has ended, with so many subscriptions lost.
func silent(t *testing.T, p *pod, lost uint64, on, off func()) {
	t.Helper()
	a := p.connect("alice")
	gaps := p.Hub.Stats().Gaps
	start := time.Now()
	on()
	p.eventually("not ready", func() bool { return !p.Hub.Stats().RedisUp })
	if took, bound := time.Since(start), testProbe+testTimeout+time.Second; took > bound { // a second: this machine is shared
		t.Errorf("noticed after %v, bound %v", took, bound)
	}
	p.wantRefused("bob", http.StatusServiceUnavailable)
	off()
	p.wantReady()
	p.publish(`{"user":"alice","data":1}`)
	a.want("1")
	if s := p.Hub.Stats(); s.Gaps != gaps+lost || s.ProbeFailures != lost {
		t.Errorf("%d gaps and %d failed probes, want %d", s.Gaps-gaps, s.ProbeFailures, lost)
	}
}

// To dial a Redis anew that answers nobody would bring nothing, and lose what it has still
// to send.
func TestASilentRedisIsNoticedAndTheSubscriptionGoesOnWithIt(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	silent(t, p, 0, p.redis.Pause, func() {
		time.Sleep(2 * testTimeout) // it goes on to be silent
		p.redis.Resume()
	})
}

func TestASilentSubscriptionIsNoticed(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	silent(t, p, 1, func() { p.feed.Stall(true) }, func() { p.feed.Stall(false) })
}

func TestProbesThatCannotBeSentForAMomentAreNoGap(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	for range 3 {
		tried := p.once.Accepted()
		p.once.Refuse(true)
		p.eventually("a probe is tried in vain", func() bool { return p.once.Accepted() > tried })
		p.once.Refuse(false)
		time.Sleep(testProbe)
	}
	p.wantReady()
	if s := p.Hub.Stats(); s.Gaps != 0 || s.ProbeFailures != 0 {
		t.Errorf("%d gaps, %d failed probes", s.Gaps, s.ProbeFailures)
	}
}

func TestAKilledRedisThatComesBackEmptyIsWholeAgain(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	users := map[string]*wsClient{}
	for i := range 50 {
		user := fmt.Sprint("user", i)
		users[user] = p.connect(user)
	}
	p.redis.Kill()
	p.eventually("not ready", func() bool { return len(p.Problems()) > 0 })
	p.wantRefused("late", http.StatusServiceUnavailable)
	p.redis.Restart()
	p.wantReady()
	for user, c := range users {
		p.eventually(user+" is in Redis", func() bool { return p.entries(user)[c.uuid] == p.channel })
	}
	p.publishAll(`{"all":true,"data":1}`)
	for _, c := range users {
		c.want("1")
	}
	p.wantBooks(len(users), 0, 0)
	if gaps := p.Hub.Stats().Gaps; gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
}

func TestUsersWhoseKeyIsSpoiltDisturbNobody(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	p.admin.Set(context.Background(), p.keys.User("mallory"), "x", 0)
	p.wantHandshakeRefused("mallory", http.StatusServiceUnavailable)
	a := p.connect("alice")
	p.publish(`{"user":["alice","mallory"],"data":1}`)
	a.want("1")
	p.wantReady()
	if spoilt := p.admin.Get(context.Background(), p.keys.User("mallory")).Val(); spoilt != "x" || p.CountUser("mallory") != 0 {
		t.Errorf("the key holds %q, which is not the pod's to change, or a refused connection is held", spoilt)
	}
	p.admin.Del(context.Background(), p.keys.User("mallory"))
	p.connect("mallory")
	p.untidy = true
}

func TestConnectionsThatComeAndGoAreAllUnregistered(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{conn: func(o *conn.Options) { o.Loops = 3 }})
	done := make(chan error, 8)
	for i := range cap(done) {
		go func() {
			for n := range 25 {
				c, err := p.dial(fmt.Sprint("user", i%3), nil)
				if err != nil {
					done <- err
					return
				}
				if n%2 == 0 {
					c.NetConn().Close() // perhaps before it is registered
				} else if err := c.Close(1000, ""); err != nil && !strings.Contains(err.Error(), "closed") {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		p.publishAll(`{"all":true,"user":["user0","user1"],"data":1}`)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestRunWaitsForWhatItHasStarted(t *testing.T) {
	var began, ended atomic.Bool
	pods := &madePods{claim: func() error { return nil }, run: func(ctx context.Context) {
		began.Store(true)
		<-ctx.Done()
		time.Sleep(100 * time.Millisecond)
		ended.Store(true)
	}}
	h := New(Options{
		Pod: testPod, Keys: presence.NewKeys("push:"), Pods: pods, Log: zerolog.Nop(),
		Redis: Redis{Nodes: redisconn.Open(redisconn.Options{Addresses: []string{"127.0.0.1:1"}}), Timeout: time.Second},
	})
	ctx, cancel := context.WithCancel(t.Context())
	runs := make(chan error, 1)
	go func() { runs <- h.Run(ctx) }()
	for end := time.Now().Add(patience); !began.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there is no heartbeat")
		}
	}
	cancel()
	if err := <-runs; err != nil || !ended.Load() {
		t.Errorf("Run returned %v; its heartbeat has ended: %v", err, ended.Load())
	}
}

func TestRunEndsWhereTheAddressIsTaken(t *testing.T) {
	taken := &madePods{claim: func() error { return presence.ErrAddressTaken }}
	h := New(Options{Pod: testPod, Keys: presence.NewKeys("push:"), Pods: taken, Log: zerolog.Nop()})
	ended := make(chan error, 1)
	go func() { ended <- h.Run(context.Background()) }()
	select {
	case err := <-ended:
		if err != presence.ErrAddressTaken {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Run goes on")
	}
}
