package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/redisconn"
)

// watcher is a Pods whose clock, and Redis's, the test moves.
type watcher struct {
	*Pods
	t     *testing.T
	redis *miniredis.Miniredis
	now   time.Time
}

// newWatcher returns a watcher with the default times: a heartbeat of 3 s and a lease of 10 s.
func newWatcher(t *testing.T, o PodsOptions) *watcher {
	w := &watcher{t: t, redis: miniredis.RunT(t), now: time.Unix(1e9, 0)}
	w.redis.SetTime(w.now)
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{w.redis.Addr()}, NoRetry: true})
	t.Cleanup(func() { _ = c.Close() })
	o.Redis, o.Keys, o.Pod = redisconn.Of(c), NewKeys("push:"), "a:1"
	o.Now = func() time.Time { return w.now }
	w.Pods = NewPods(o)
	return w
}

func (w *watcher) claim() *watcher {
	w.t.Helper()
	if err := w.Claim(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return w
}

// pass lets time go by, and makes a heartbeat.
func (w *watcher) pass(d time.Duration) {
	w.t.Helper()
	w.now = w.now.Add(d)
	w.redis.SetTime(w.now)
	w.beatNow()
}

func (w *watcher) beatNow() {
	w.t.Helper()
	if err := w.Beat(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// beats writes the scores of other pods, as their heartbeats do.
func (w *watcher) beats(channels ...string) {
	for _, channel := range channels {
		_, _ = w.redis.ZAdd("push:pods", float64(w.now.UnixMilli()), channel)
	}
}

func TestAnAbsenceOfALeaseIsToldOf(t *testing.T) {
	var told []time.Duration
	w := newWatcher(t, PodsOptions{Regained: func(away time.Duration) { told = append(told, away) }}).claim()
	w.pass(3 * time.Second)
	w.pass(10*time.Second - 1)
	w.pass(10 * time.Second)
	w.pass(time.Minute)
	if want := []time.Duration{10 * time.Second, time.Minute}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
	newWatcher(t, PodsOptions{}).claim().pass(time.Minute) // nobody wants to know
}

func TestAHeartbeatThatFailsSaysWhy(t *testing.T) {
	w := newWatcher(t, PodsOptions{}).claim()
	w.redis.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd == "TIME" {
			c.WriteError("NOPERM no TIME for you")
		}
		return cmd == "TIME"
	})
	before := w.Stats()
	err := w.Beat(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "presence: heartbeat: NOPERM") || !errors.Is(w.Err(), err) {
		t.Errorf("Beat: %v; Err: %v", err, w.Err())
	}
	if got := w.Stats(); got.Beats != before.Beats || got.Failures != before.Failures+1 {
		t.Errorf("stats: %+v, before: %+v", got, before)
	}
}

func TestAClaimWithoutRedissTimeWritesNothing(t *testing.T) {
	w := newWatcher(t, PodsOptions{})
	w.redis.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd == "TIME" {
			c.WriteError("NOPERM no TIME for you")
		}
		return cmd == "TIME"
	})
	ctx, cancel := context.WithCancel(t.Context())
	claimed := make(chan error, 1)
	go func() { claimed <- w.Claim(ctx) }()
	until(t, "it has failed", func() bool { return w.Stats().Failures > 0 })
	cancel()
	if err := <-claimed; err == nil || w.redis.Exists("push:pods") {
		t.Errorf("Claim: %v; a score is written: %v", err, w.redis.Exists("push:pods"))
	}
}

// Two processes find one address free in the same millisecond of Redis's.
func TestAScoreOfAnotherIsNotTakenForOnesOwn(t *testing.T) {
	w := newWatcher(t, PodsOptions{Lease: 100 * time.Millisecond})
	score := float64(w.now.UnixMilli())
	var looks atomic.Int64
	w.redis.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		switch cmd {
		case "ZSCORE":
			looks.Add(1)
		case "EXEC":
			if looks.Load() == 1 {
				_, _ = w.redis.ZAdd("push:pods", score, w.channel) // the other one is first
			}
		}
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	claimed := make(chan error, 1)
	go func() { claimed <- w.Claim(ctx) }()
	until(t, "it has looked again", func() bool { return looks.Load() >= 3 || len(claimed) > 0 })
	cancel()
	if err := <-claimed; !errors.Is(err, context.Canceled) {
		t.Errorf("Claim: %v, want that it waits", err)
	}
}

func TestTheOwnScoreIsTheLastHeartbeats(t *testing.T) {
	w := newWatcher(t, PodsOptions{})
	if text, ok := w.ownScore(); ok {
		t.Errorf("%q before it has claimed its address", text)
	}
	w.claim()
	for range 2 {
		if text, ok := w.ownScore(); !ok || text != strconv.FormatInt(w.now.UnixMilli(), 10) {
			t.Errorf("score %q, %v at %d", text, ok, w.now.UnixMilli())
		}
		w.pass(3 * time.Second)
	}
	if err := w.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, ok := w.ownScore(); ok {
		t.Errorf("%q after it has left", text)
	}
}

func TestThePodsTimeIsRedissButNeverBeforeItsStart(t *testing.T) {
	w := newWatcher(t, PodsOptions{}).claim()
	w.pass(time.Hour)
	if got := w.NowMs(); got != w.now.UnixMilli() {
		t.Errorf("%d, want %d", got, w.now.UnixMilli())
	}
	w.redis.SetTime(w.now.Add(-2 * time.Hour))
	w.beatNow()
	if got := w.NowMs(); got != w.Started() {
		t.Errorf("%d after Redis's clock was put back, want the start, %d", got, w.Started())
	}
	asked := false
	w.opt.Now = func() time.Time {
		if asked {
			return w.now.Add(time.Millisecond)
		}
		asked = true
		return w.now
	}
	w.beatNow()
	if rtt := w.Stats().RTT; rtt != time.Millisecond {
		t.Errorf("a round trip of %v, want 1 ms", rtt)
	}
}

// Of 13 pods one reads all at every third heartbeat, and in between those that are suspected.
func TestAllPodsAreReadNowAndThenAndSuspectsAlways(t *testing.T) {
	w := newWatcher(t, PodsOptions{}).claim()
	var others []string
	for i := range 10 {
		others = append(others, fmt.Sprint("push:pod:b:", i))
	}
	const silent, unnamed = "push:pod:silent:1", "push:pod:silent:2"
	w.beats(silent, unnamed)
	w.redis.HSet("push:pods:info", silent, `{"started":7}`)
	var surveys, suspected []int
	for i := range 8 {
		w.now = w.now.Add(3 * time.Second)
		w.beats(others...)
		w.redis.SetTime(w.now)
		w.beatNow()
		if w.seen.pods[others[0]].read.Equal(w.now) {
			surveys = append(surveys, i)
		}
		if w.Suspected(silent) {
			suspected = append(suspected, i)
		}
		if i == 4 && !w.seen.pods[silent].read.Equal(w.now) {
			t.Errorf("heartbeat %d does not read a suspect", i)
		}
	}
	if want := []int{0, 3, 6}; !slices.Equal(surveys, want) {
		t.Errorf("heartbeats %v read all pods, want %v", surveys, want)
	}
	// Its score is a lease old at the fourth, and has been watched for a lease at the fifth.
	if want := []int{3}; !slices.Equal(suspected, want) || !w.Dead(silent) || !w.Dead(unnamed) {
		t.Errorf("suspected at heartbeats %v, want %v; dead: %v", suspected, want, w.Dead(silent))
	}
	if got := w.Stats(); got.Alive != 11 || got.Dead != 2 || got.Beats != 9 {
		t.Errorf("stats: %+v", got)
	}
	if !w.seen.outdated(silent, NewUUID(6)) {
		t.Error("what a pod tells of itself is not known")
	}
	_, _ = w.redis.ZRem("push:pods", others[0])
	for range 3 {
		w.pass(3 * time.Second)
	}
	if got := w.Stats(); got.Alive != 10 || w.seen.pods[others[0]] != nil {
		t.Errorf("a pod that left is remembered: %+v", got)
	}
}

func TestDeadPodsAreForgottenAfterTenLeasesAndATTL(t *testing.T) {
	w := newWatcher(t, PodsOptions{}).claim()
	const silent = "push:pod:silent:1"
	w.beats(silent)
	w.redis.HSet("push:pods:info", silent, "{}")
	w.pass(time.Second)
	stands := func() bool { pods, _ := w.redis.ZMembers("push:pods"); return slices.Contains(pods, silent) }
	for range 95 { // 100 s and 90 s
		w.pass(2 * time.Second)
	}
	if !stands() {
		t.Error("removed too early")
	}
	w.pass(time.Second)
	if stands() || w.redis.HGet("push:pods:info", silent) != "" || w.Stats().Removed != 1 {
		t.Errorf("still there; stats: %+v", w.Stats())
	}
}

func TestNoPodJudgesItself(t *testing.T) {
	w := newWatcher(t, PodsOptions{}).claim()
	for range 5 { // Redis's clock stands still, and so does the score
		w.now = w.now.Add(3 * time.Second)
		w.beatNow()
	}
	if !w.seen.dead(w.channel, w.now) {
		t.Fatal("the own score has not stood still")
	}
	own := Located{UUID: NewUUID(w.Started()), Channel: w.channel}
	if w.Dead(w.channel) || w.Stale(own) || w.Stats().Dead != 0 || w.Stats().Alive != 1 {
		t.Errorf("dead: %v, stale: %v, %+v", w.Dead(w.channel), w.Stale(own), w.Stats())
	}
	read := w.now
	w.now = w.now.Add(time.Second)
	if err := w.Look(t.Context(), []string{w.channel}); err != nil || w.seen.pods[w.channel].read != read {
		t.Errorf("it reads its own score, %v", err)
	}
	w.seen.pods[w.channel].score, w.seen.pods[w.channel].since = 0, w.now
	if w.Suspected(w.channel) {
		t.Error("it suspects itself")
	}
}

func TestOnlyWhatIsNotFreshIsReadAgain(t *testing.T) {
	const live, dead, unknown = "push:pod:live:1", "push:pod:dead:1", "push:pod:unknown:1"
	w := newWatcher(t, PodsOptions{}).claim()
	w.beats(live)
	w.redis.HSet("push:pods:info", dead, "{}")
	w.pass(time.Second)
	w.redis.HSet("push:pods:info", live, `{"started":7}`)
	w.redis.HSet("push:pods:info", unknown, `{"started":8}`)
	if got := w.Stats(); got.Alive != 2 || got.Dead != 0 {
		t.Errorf("of a pod only its description is left: %+v", got)
	}
	surveyed := w.now
	look := func() {
		t.Helper()
		if err := w.Look(t.Context(), []string{w.channel, live, dead, unknown}); err != nil {
			t.Fatal(err)
		}
	}
	w.now = w.now.Add(time.Second)
	w.beats(dead, unknown)
	look()
	if got := w.seen.pods[live].read; got != surveyed {
		t.Errorf("a living pod that has just been read is read again, at %v", got)
	}
	if w.Dead(dead) || w.Dead(unknown) {
		t.Error("pods that have come in between are dead")
	}
	before := Located{UUID: NewUUID(6), Channel: live}
	if w.Stale(before) {
		t.Error("what the living pod tells of itself has been read")
	}
	w.now = w.now.Add(2 * time.Second)
	look()
	if got := w.seen.pods[live].read; got != w.now {
		t.Errorf("a heartbeat later: read at %v", got)
	}
	if w.Dead(live) || !w.Stale(before) || w.Stale(Located{UUID: NewUUID(7), Channel: live}) {
		t.Error("its start is not known")
	}
	w.seen.fail()
	if w.Stale(before) {
		t.Error("entries are judged after a heartbeat that failed")
	}
	w.beatNow()
	w.redis.Close()
	if err := w.Look(t.Context(), []string{w.channel, live}); err != nil {
		t.Errorf("what need not be read: %v", err)
	}
	if err := w.Look(t.Context(), []string{"push:pod:another:1"}); err == nil || w.seen.pods["push:pod:another:1"] != nil {
		t.Errorf("without Redis a pod is read: %v", err)
	}
	if err := w.Leave(t.Context()); err == nil {
		t.Error("it has left without Redis")
	}
}

func TestEachChannelInUsersHashesIsLookedAtOnce(t *testing.T) {
	exams := []*exam{
		{reply: redis.NewMapStringStringResult(map[string]string{"1": "b", "2": "a"}, nil)},
		{reply: redis.NewMapStringStringResult(nil, redis.Nil)},
		{reply: redis.NewMapStringStringResult(map[string]string{"3": "b", "4": "c"}, nil)},
	}
	if got := slices.Sorted(slices.Values(channelsIn(exams))); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%v", got)
	}
}

// running is a Pods under Run whose heartbeats come when they are asked for, or have failed.
// Its log is read once it has ended.
func running(t *testing.T) (w *watcher, ended chan struct{}, log func() string) {
	var text strings.Builder
	w = newWatcher(t, PodsOptions{Heartbeat: time.Hour, Log: zerolog.New(&text)})
	w.opt.Now = time.Now
	w.claim()
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan struct{})
	go func() { _ = w.Run(ctx); close(ended) }()
	stop := func() { cancel(); <-ended }
	t.Cleanup(stop)
	return w, ended, func() string { stop(); return text.String() }
}

// until waits for what comes soon.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestAHeartbeatThatFailedIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	w, _, log := running(t)
	beats := w.Stats().Beats
	w.missing()
	until(t, "one succeeds", func() bool { return w.Stats().Beats > beats })
	for range 2 {
		failures, begun := w.Stats().Failures, time.Now()
		w.redis.SetError("LOADING not now")
		w.missing()
		until(t, "some have failed", func() bool { return w.Stats().Failures >= failures+3 })
		if took := time.Since(begun); took < 2*firstBackoff {
			t.Errorf("three have failed within %v: there is no pause between them", took)
		}
		w.redis.SetError("")
		until(t, "one succeeds", func() bool { return w.Err() == nil })
	}
	text := log()
	if fails, again := strings.Count(text, "heartbeat fails"), strings.Count(text, "heartbeat succeeds again"); fails != 2 || again != 2 {
		t.Errorf("logged %d failures and %d successes, want 2 and 2:\n%s", fails, again, text)
	}
}

func TestRunWaitsForItsEndAfterLeaving(t *testing.T) {
	t.Parallel()
	w, ended, log := running(t)
	beats := w.Stats().Beats
	if err := w.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.missing()
	until(t, "it has been asked for a heartbeat", func() bool { return len(w.kick) == 0 })
	time.Sleep(5 * time.Millisecond) // what it does wrong it has done by then
	select {
	case <-ended:
		t.Error("Run has returned before its context ended")
	default:
	}
	text := log()
	if got := w.Stats(); got.Beats != beats || got.Failures != 0 || strings.Contains(text, "heartbeat") {
		t.Errorf("stats: %+v, log:\n%s", got, text)
	}
}
