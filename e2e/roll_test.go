package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	pushclient "pushpod/clients/go"
	"pushpod/internal/redistest"
)

// A rollCase is how pods are replaced under users, and what these are.
type rollCase struct {
	name     string
	balancer string        // nginx or haproxy
	late     time.Duration // how far away the pods' Redis is
	killed   bool          // pods are not told to leave
	naive    bool          // clients only obey retry_ms
}

// A rollSize is how large and long it is.
type rollSize struct {
	users, rounds int
	pause         time.Duration // for which a machine with other work may stop
	settings      settings
}

// TestRoll replaces three pods one by one, once. With PUSHPOD_FAULTS, TestFaultsRoll does it twice, with ten times as many users.
func TestRoll(t *testing.T) {
	t.Parallel()
	small := rollSize{users: 30, rounds: 1, pause: 8 * time.Second, settings: quick().with("shutdown.delay", "300ms", "shutdown.drain", "700ms")}
	for _, c := range []rollCase{
		{name: "behind nginx", balancer: "nginx"},
		{name: "behind HAProxy with Redis 20 ms away", balancer: "haproxy", late: 20 * time.Millisecond},
		{name: "behind nginx with pods that are killed", balancer: "nginx", killed: true},
		{name: "behind HAProxy with naive clients", balancer: "haproxy", naive: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, small)
		})
	}
}

func TestFaultsRoll(t *testing.T) {
	redistest.Faults(t)
	large := rollSize{users: 300, rounds: 2, pause: 2 * time.Second, settings: settings{"log.format": "json", "shutdown.delay": "2s", "shutdown.drain": "5s"}}
	for _, balancer := range []string{"nginx", "haproxy"} {
		for _, c := range []rollCase{
			{name: "roll"},
			{name: "roll with Redis 20 ms away", late: 20 * time.Millisecond},
			{name: "pods that are killed", killed: true},
			{name: "roll with naive clients", naive: true},
		} {
			c.balancer = balancer
			t.Run(balancer+", "+c.name, func(t *testing.T) { c.run(t, large) })
		}
	}
}

// run is the whole of a case.
func (c rollCase) run(t *testing.T, size rollSize) {
	r := startRedis(t)
	s := size.settings.with("auth.trusted_proxies", "loopback", "auth.insecure", "on")
	if c.late > 0 {
		s = s.with("redis.addresses", redistest.Late(t, r.Addr(), c.late))
	}
	var pods []*pod
	for range 3 {
		pods = append(pods, launchPod(t, r, s))
	}
	for _, p := range pods {
		p.waitReady()
	}
	addr := freeAddr(t)
	if c.balancer == "nginx" {
		startNginx(t, "nginx.conf", addr, on(pods...)...)
	} else {
		startHAProxy(t, "haproxy.cfg", addr, append(on(pods...), "inter 1s", "inter 100ms")...)
	}
	eventually(t, c.balancer+" listens", settle, func() (bool, any) { return !isFree(addr), nil })

	push, err := os.ReadFile(script("push.lua"))
	if err != nil {
		t.Fatal(err)
	}
	producers := &rollProducers{db: asProducer(r)}
	if producers.sha, err = producers.db.ScriptLoad(t.Context(), string(push)).Result(); err != nil {
		t.Fatal(err)
	}
	var users []*rolledUser
	for i := range size.users {
		users = append(users, startRolledUser(t, fmt.Sprintf("user-%d", i), addr, c.naive))
	}
	for _, u := range users {
		u.wantConnected()
	}
	const every = 200 * time.Millisecond
	for i, u := range users {
		pause := every
		if i < 2 {
			pause = 5 * time.Millisecond // so that many are under way in the moment of a handover
		}
		producers.start(u, pause, time.Duration(i)*every/time.Duration(len(users)))
	}
	time.Sleep(5 * every)
	began := time.Now()
	for range size.rounds {
		for i, p := range pods {
			if c.killed {
				p.sigkill()
			} else {
				p.sigterm()
				p.wantExit("roll", 0, time.Minute)
			}
			pods[i] = p.restart()
			pods[i].waitReady()
			time.Sleep(500 * time.Millisecond) // HAProxy sees that it is back
		}
	}
	ended := time.Now()
	producers.stop()

	books := rollBooks{usual: every}
	settleAll(users)
	for _, u := range users {
		u.audit(&books, c, began)
		if u.pause < every {
			books.hammered += len(u.pushes)
		}
	}
	books.log(t, c, size, ended.Sub(began))
	books.judge(t, c, size)
}

// rollProducers push to users until they are stopped.
type rollProducers struct {
	db    *redis.Client
	sha   string // of push.lua
	stops []context.CancelFunc
	work  sync.WaitGroup
}

// start pushes to a user every pause, both ways, after a delay.
func (p *rollProducers) start(u *rolledUser, pause, delay time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	p.stops = append(p.stops, cancel)
	u.pause = pause
	p.work.Go(func() {
		time.Sleep(delay)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			u.pushed(p.byScript(u.user, fmt.Sprint("script-", n)))
			u.pushed(p.byLookUp(u.user, fmt.Sprint("look-", n)))
			<-tick.C
		}
	})
}

func (p *rollProducers) stop() {
	for _, stop := range p.stops {
		stop()
	}
	p.work.Wait()
}

// A rolledPush is one push and what Redis answered.
type rolledPush struct {
	id      string
	script  bool
	at      time.Time
	took    time.Duration
	answer  int // connections on pods that are subscribed
	entries int // where presence was looked up: connections
	err     error
}

func (p *rollProducers) byScript(user, id string) rolledPush {
	at := time.Now()
	n, err := p.db.EvalSha(context.Background(), p.sha, []string{userKey(user)}, `{"text":"hi"}`, "id", id).Int()
	return rolledPush{id: id, script: true, at: at, took: time.Since(at), answer: n, entries: n, err: err}
}

func (p *rollProducers) byLookUp(user, id string) rolledPush {
	push := rolledPush{id: id, at: time.Now()}
	entries, err := p.db.HGetAll(context.Background(), userKey(user)).Result()
	push.err, push.entries = err, len(entries)
	for uuid, channel := range entries {
		n, err := p.db.Publish(context.Background(), channel, fmt.Sprintf(`{"to":%q,"of":%q,"id":%q,"data":{"text":"hi"}}`, uuid, user, id)).Result()
		push.answer += int(n)
		push.err = errors.Join(push.err, err)
	}
	push.took = time.Since(push.at)
	return push
}

// A rolledUser is a user with one device, and all that happened to it.
type rolledUser struct {
	t      *testing.T
	user   string
	pause  time.Duration
	pushes []rolledPush // the producer's, until it has been stopped

	mu        sync.Mutex // protects what follows
	connected chan struct{}
	connects  []time.Time
	ends      []time.Time // of connections that none took the place of
	handovers int
	handed    map[string][]time.Time // to the application
	frames    int                    // messages that came, doubles too
}

func startRolledUser(t *testing.T, user, addr string, naive bool) *rolledUser {
	t.Helper()
	u := &rolledUser{t: t, user: user, connected: make(chan struct{}), handed: make(map[string][]time.Time)}
	note := func(change func(now time.Time)) {
		u.mu.Lock()
		defer u.mu.Unlock()
		change(time.Now())
	}
	c, err := pushclient.New(pushclient.Options{
		URL: "ws://" + addr + "/ws", User: user, NoHandover: naive,
		OnConnect: func(pushclient.Welcome) {
			note(func(now time.Time) {
				if u.connects = append(u.connects, now); len(u.connects) == 1 {
					close(u.connected)
				}
			})
		},
		OnDisconnect: func(err error) {
			note(func(now time.Time) {
				if errors.Is(err, pushclient.ErrHandover) {
					u.handovers++
				} else {
					u.ends = append(u.ends, now)
				}
			})
		},
		OnMessage: func(m pushclient.Message) {
			note(func(now time.Time) { u.handed[m.ID] = append(u.handed[m.ID], now) })
		},
		OnFrame: func(f pushclient.Frame) {
			if f.Type == "message" {
				note(func(time.Time) { u.frames++ })
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return u
}

func (u *rolledUser) wantConnected() {
	u.t.Helper()
	select {
	case <-u.connected:
	case <-time.After(settle):
		u.t.Fatalf("%s is not connected", u.user)
	}
}

func (u *rolledUser) pushed(p rolledPush) { u.pushes = append(u.pushes, p) }

// lacks reports whether a push that was promised has not been handed over.
func (u *rolledUser) lacks() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.pushes, func(p rolledPush) bool {
		return p.answer > 0 && len(u.handed[p.id]) == 0 && !u.isAway(p)
	})
}

// settleAll waits until all have what they were promised, and no longer than that takes where nothing is lost.
func settleAll(users []*rolledUser) {
	for end := time.Now().Add(settle); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !slices.ContainsFunc(users, (*rolledUser).lacks) {
			return
		}
	}
}

// rollBooks are what all users' pushes came to.
type rollBooks struct {
	usual     time.Duration
	pushes    int
	hammered  int // of them to users who get hundreds a second
	handovers int
	cuts      int // times that a user had no connection

	away        []time.Duration // for how long
	excused     int             // pushes to a user who had none
	answered    map[int]int     // other pushes, by answer
	lost, twice []string
	doubles     int                      // messages that came over two connections
	longest     map[string]time.Duration // between two pushes of a kind, before the roll and during it
	slowest     map[string]time.Duration // from a push to the application, to users who were connected
	medians     []time.Duration          // each user's longest
}

// audit books one user.
func (u *rolledUser) audit(b *rollBooks, c rollCase, began time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if b.answered == nil {
		b.answered, b.longest, b.slowest = make(map[int]int), make(map[string]time.Duration), make(map[string]time.Duration)
	}
	b.pushes += len(u.pushes)
	b.handovers += u.handovers
	b.cuts += len(u.ends)
	b.doubles += u.frames
	for _, end := range u.ends {
		b.away = append(b.away, u.connectAfter(end).Sub(end))
	}
	for _, p := range u.pushes {
		got := len(u.handed[p.id])
		b.doubles -= got
		if got > 1 {
			b.twice = append(b.twice, u.user+" "+p.id)
		}
		if u.isAway(p) {
			b.excused++
			continue
		}
		b.answered[p.answer]++
		if got > 0 {
			b.slowest[phase(p.at, began)] = max(b.slowest[phase(p.at, began)], u.handed[p.id][0].Sub(p.at))
		}
		if p.err != nil {
			u.t.Errorf("push %s to %s: %v", p.id, u.user, p.err)
		}
		if got == 0 && p.answer > 0 {
			b.lost = append(b.lost, fmt.Sprintf("%s %s %v after the beginning, answered %d in %v", u.user, p.id, p.at.Sub(began).Round(time.Millisecond), p.answer, p.took))
		}
	}
	if u.pause < b.usual {
		return // its gaps are no measure
	}
	for _, script := range []bool{true, false} {
		var came []time.Time
		for _, p := range u.pushes {
			if at := u.handed[p.id]; p.script == script && len(at) > 0 {
				came = append(came, at[0])
			}
		}
		slices.SortFunc(came, time.Time.Compare)
		var longest time.Duration
		for i := 1; i < len(came); i++ {
			gap := came[i].Sub(came[i-1])
			if !came[i].Before(began) {
				longest = max(longest, gap)
			}
			b.longest[phase(came[i], began)] = max(b.longest[phase(came[i], began)], gap)
		}
		b.medians = append(b.medians, longest)
	}
}

func phase(at, began time.Time) string {
	if at.Before(began) {
		return "before"
	}
	return "roll"
}

// connectAfter is when a connection followed on an end.
func (u *rolledUser) connectAfter(end time.Time) time.Time {
	for _, c := range u.connects {
		if c.After(end) {
			return c
		}
	}
	return time.Now()
}

// isAway reports whether a push was made while its user had no connection, or was about to lose it: nothing is promised
// then.
func (u *rolledUser) isAway(p rolledPush) bool {
	const onTheWay = time.Second
	for _, end := range u.ends {
		if p.at.Add(p.took).After(end.Add(-onTheWay)) && p.at.Before(u.connectAfter(end)) {
			return true
		}
	}
	return false
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (b *rollBooks) log(t *testing.T, c rollCase, size rollSize, took time.Duration) {
	away := slices.Clone(b.away)
	slices.Sort(away)
	most := time.Duration(0)
	if len(away) > 0 {
		most = away[len(away)-1]
	}
	text, _ := json.Marshal(b.answered)
	t.Logf("%d users, 3 pods %d times in %v; %d pushes, %d of them to two users; answered %s; lost %d, twice %d, %d came over two connections and were dropped; %d handovers; without a connection: %d times, median %v, at most %v, %d pushes meanwhile; longest gap between two pushes of a kind %v before and %v during the roll, each user's longest: median %v; slowest push %v before and %v during the roll",
		size.users, size.rounds, took.Round(100*time.Millisecond), b.pushes, b.hammered, text, len(b.lost), len(b.twice), b.doubles, b.handovers,
		b.cuts, median(away).Round(time.Millisecond), most.Round(time.Millisecond), b.excused,
		b.longest["before"].Round(time.Millisecond), b.longest["roll"].Round(time.Millisecond), median(b.medians).Round(time.Millisecond),
		b.slowest["before"].Round(time.Millisecond), b.slowest["roll"].Round(time.Millisecond))
}

// judge fails the test where a promise was broken. What is a matter of time is held against bounds that a busy machine keeps;
// the figures are in the log.
func (b *rollBooks) judge(t *testing.T, c rollCase, size rollSize) {
	t.Helper()
	for answer, n := range b.answered {
		if answer != 1 {
			t.Errorf("%d pushes to users with a connection were answered %d, want 1", n, answer)
		}
	}
	if len(b.lost) > 0 {
		t.Errorf("%d pushes were lost: %q", len(b.lost), b.lost[:min(len(b.lost), 10)])
	}
	if len(b.twice) > 0 {
		t.Errorf("%d pushes were handed to the application twice: %q", len(b.twice), b.twice[:min(len(b.twice), 10)])
	}
	if m := median(b.away); m > time.Second+size.pause {
		t.Errorf("the median time without a connection is %v, want less than a second", m)
	}
	if c.killed || c.naive {
		if b.cuts < size.users*size.rounds {
			t.Errorf("%d ends of a connection, want at least one of each user in each round: has nothing been rolled?", b.cuts)
		}
		return
	}
	if b.cuts > 0 {
		t.Errorf("users had no connection %d times, want none", b.cuts)
	}
	if b.handovers < size.users*size.rounds {
		t.Errorf("%d handovers, want at least one of each user in each round", b.handovers)
	}
	if gap := b.longest["roll"]; gap > 2*b.usual+size.pause {
		t.Errorf("the longest gap between two pushes is %v, want less than twice the usual, %v", gap, b.usual)
	}
}
