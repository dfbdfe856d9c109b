package presence_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/presence"
	"pushpod/redisconn"
)

func TestClaimedPodStandsInBothKeys(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		before := time.Now().UnixMilli()
		p := w.pods("a:1", func(o *presence.PodsOptions) {
			o.Info = func() presence.Info { return presence.Info{Connections: 7, Draining: true} }
		})
		score, err := w.admin.ZScore(t.Context(), w.keys.Pods(), p.Channel()).Result()
		if err != nil || int64(score) < before || int64(score) > time.Now().UnixMilli() {
			t.Fatalf("score = %v, %v", score, err)
		}
		var info map[string]any
		text, err := w.admin.HGet(t.Context(), w.keys.PodsInfo(), p.Channel()).Result()
		if err != nil || json.Unmarshal([]byte(text), &info) != nil {
			t.Fatalf("info = %q, %v", text, err)
		}
		if int64(info["started"].(float64)) != p.Started() || info["version"] != "test" ||
			info["connections"] != 7.0 || info["draining"] != true {
			t.Fatalf("info = %s", text)
		}
		if err := p.Err(); err != nil {
			t.Fatalf("Err = %v", err)
		}
		if now := p.NowMs(); now < p.Started() || now > time.Now().UnixMilli()+1000 {
			t.Fatalf("NowMs = %d, Started = %d", now, p.Started())
		}
		for ms, want := range map[int64]bool{p.Started() - 1: true, p.Started(): false} {
			if got := p.Stale(presence.Located{UUID: presence.NewUUID(ms), Channel: p.Channel()}); got != want {
				t.Errorf("an own UUID made %d ms after the start: stale = %v", ms-p.Started(), got)
			}
		}
		pods, err := presence.ListPods(t.Context(), redisconn.Of(w.admin), w.keys)
		if err != nil || len(pods) != 1 || pods[0].Address != "a:1" || pods[0].Info.Connections != 7 {
			t.Fatalf("ListPods = %+v, %v", pods, err)
		}
		if err := p.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := w.admin.Exists(t.Context(), w.keys.Pods(), w.keys.PodsInfo()).Result(); err != nil || n != 0 {
			t.Fatalf("%d keys after leaving, %v", n, err)
		}
		mustBe(t, "a heartbeat after leaving", p.Beat(t.Context()), presence.ErrLeft)
	})
}

func TestHeartbeatBeforeClaimIsRefused(t *testing.T) {
	w := miniWorld(t)
	p := w.unclaimed("a:1", nil)
	mustBe(t, "Beat", p.Beat(t.Context()), presence.ErrNotClaimed)
	mustBe(t, "Err", p.Err(), presence.ErrNotClaimed)
	if p.Dead("push:pod:b:1") || p.Started() != 0 {
		t.Fatal("it judges, or has started, before it has claimed its address")
	}
}

func TestClaimTakesOverAnAddressWhoseScoreStandsStill(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		channel := w.keys.PodChannel("a:1")
		w.score(channel, float64(time.Now().UnixMilli()-500)) // killed just now
		begun := time.Now()
		p := w.pods("a:1", nil)
		if waited := time.Since(begun); waited < 500*time.Millisecond {
			t.Fatalf("taken after %v, before the lease was over", waited)
		}
		score, err := w.admin.ZScore(t.Context(), w.keys.Pods(), channel).Result()
		if err != nil || int64(score) < p.Started() {
			t.Fatalf("score %v, %v; started %d", score, err, p.Started())
		}
	})
}

func TestClaimSaysForHowLongItWaitsStill(t *testing.T) {
	w := realWorld(t)
	w.score(w.keys.PodChannel("a:1"), 1)
	var now atomic.Int64
	p := w.unclaimed("a:1", func(o *presence.PodsOptions) {
		o.Lease, o.Heartbeat = 10*time.Second, 10*time.Second // looks are never too far apart
		o.Now = func() time.Time { return time.Unix(1_800_000_000, now.Load()) }
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	claimed := make(chan error, 1)
	go func() { claimed <- p.Claim(ctx) }()
	const waits = "push:pods holds this pod's address already: waiting until the score of push:pod:a:1 has stood still for 10s, since whoever wrote it may live; "
	for _, x := range []struct {
		after time.Duration
		left  string
	}{{0, "10s"}, {3800 * time.Millisecond, "6.2s"}, {time.Minute, "0s"}} {
		eventually(t, "it says for how long still", func() error {
			now.Store(x.after.Nanoseconds())
			err := p.Err()
			if err == nil || !errors.Is(err, presence.ErrNotClaimed) || err.Error() != waits+x.left+" left" {
				return fmt.Errorf("Err = %v, want %s left", err, x.left)
			}
			return nil
		})
		if x.after == 3800*time.Millisecond {
			cancel() // else a look at the minute takes the address
			mustBe(t, "claim", wait(t, "the claim", claimed), context.Canceled)
		}
	}
}

func TestClaimFailsOnlyWhereTheScoreMoves(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		first := w.pods("a:1", nil)
		w.keepBeating(first)
		second := w.unclaimed("a:1", nil)
		mustBe(t, "claim of a living pod's address", second.Claim(t.Context()), presence.ErrAddressTaken)
		if second.Started() != 0 {
			t.Fatal("it has started all the same")
		}
	})
}

func TestOfManyClaimsAtOnceOneWins(t *testing.T) {
	for round := range 3 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			w := realWorld(t)
			if round > 0 { // stale, not absent
				w.score(w.keys.PodChannel("a:1"), 1)
			}
			const n = 5
			won := make(chan *presence.Pods, n)
			outcomes := make(chan error, n)
			for range n {
				p := w.unclaimed("a:1", nil)
				go func() {
					err := p.Claim(context.Background())
					if err == nil {
						won <- p
						w.keepBeating(p)
					}
					outcomes <- err
				}()
			}
			taken := 0
			for range n {
				if err := wait(t, "a claim", outcomes); errors.Is(err, presence.ErrAddressTaken) {
					taken++
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if len(won) != 1 || taken != n-1 {
				t.Fatalf("%d won, %d found it taken", len(won), taken)
			}
		})
	}
}

func TestClaimWaitsForRedis(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.real.Kill()
	p := w.unclaimed("a:1", nil)
	claimed := make(chan error, 1)
	go func() { claimed <- p.Claim(context.Background()) }()
	eventually(t, "it says why it waits", func() error {
		if err := p.Err(); err == nil || errors.Is(err, presence.ErrNotClaimed) {
			return fmt.Errorf("Err = %v", err)
		}
		return nil
	})
	w.real.Restart()
	if err := wait(t, "the claim", claimed); err != nil || p.Err() != nil {
		t.Fatalf("claim: %v, Err: %v", err, p.Err())
	}
}

func TestClaimIsTriedAtEverLongerIntervals(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.real.Kill()
	var log strings.Builder // read once the claim has ended
	p := w.unclaimed("a:1", func(o *presence.PodsOptions) { o.Log = zerolog.New(&log) })
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	mustBe(t, "claim", p.Claim(ctx), context.DeadlineExceeded)
	if n := p.Stats().Failures; n < 2 || n > 12 {
		t.Errorf("tried %d times in 1.5 s", n)
	}
	if n := strings.Count(log.String(), "can't claim"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// What happened to the score while a look failed is not known.
func TestClaimWaitsForALeaseAfterALookThatFailed(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.score(w.keys.PodChannel("a:1"), 1)
	client := w.client(w.addr)
	looks, failed := 0, time.Time{}
	client.AddHook(processHook(func(cmd redis.Cmder, send func() error) error {
		if cmd.Name() == "zscore" {
			if looks++; looks == 5 {
				failed = time.Now()
				cmd.SetErr(refusal("LOADING not now"))
				return cmd.Err()
			}
		}
		return send()
	}))
	var log strings.Builder
	w.pods("a:1", func(o *presence.PodsOptions) { o.Redis, o.Log = redisconn.Of(client), zerolog.New(&log) })
	if failed.IsZero() {
		t.Fatal("no look failed")
	}
	if looks > 200 {
		t.Errorf("%d looks within a few leases: there is no pause between them", looks)
	}
	if took := time.Since(failed); took < 500*time.Millisecond {
		t.Errorf("taken %v after a look that failed, before a lease was over", took)
	}
	if n := strings.Count(log.String(), "already holds this pod's address"); n != 1 {
		t.Errorf("logged %d times that it waits", n)
	}
}

// processHook is asked to send each command that is in no pipeline.
type processHook func(cmd redis.Cmder, send func() error) error

func (h processHook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h processHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return h(cmd, func() error { return next(ctx, cmd) })
	}
}
func (h processHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestNobodyIsDeadAfterAHeartbeatOfOnesOwnThatFailed(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		fails := false
		client := w.client(w.addr)
		client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
			if fails {
				return answer(cmds, refusal("OOM"))
			}
			return send()
		}))
		p := w.pods("a:1", func(o *presence.PodsOptions) { o.Redis, o.Heartbeat = redisconn.Of(client), time.Hour })
		never := w.keys.PodChannel("never:1")
		if !p.Dead(never) {
			t.Error("a pod that was never seen is not dead")
		}
		fails = true
		if err := p.Beat(t.Context()); !contains(err, "OOM") || !contains(p.Err(), "OOM") {
			t.Errorf("Beat: %v, Err: %v", err, p.Err())
		}
		if p.Dead(never) || p.Stats().Failures != 1 {
			t.Errorf("dead: %v, %+v", p.Dead(never), p.Stats())
		}
		fails = false
		if err := p.Beat(t.Context()); err != nil || p.Err() != nil {
			t.Errorf("Beat: %v, Err: %v", err, p.Err())
		}
		if !p.Dead(never) {
			t.Error("not dead after a heartbeat that succeeded")
		}
	})
}

func TestPodsAreListedInOrderWithTheirAge(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		now := w.admin.Time(t.Context()).Val()
		for i := range 10 {
			w.score(w.keys.PodChannel(fmt.Sprint(9-i, ":1")), float64(now.Add(-time.Duration(9-i)*time.Minute).UnixMilli()))
		}
		w.score("no channel of a pod's", 0)
		pods, err := presence.ListPods(t.Context(), redisconn.Of(w.admin), w.keys)
		if err != nil || len(pods) != 11 || pods[0].Address != "" {
			t.Fatalf("ListPods = %+v, %v", pods, err)
		}
		for i, pod := range pods[1:] {
			age := time.Duration(i) * time.Minute
			if pod.Address != fmt.Sprint(i, ":1") || pod.Age < age-time.Millisecond || pod.Age > age+time.Minute {
				t.Errorf("pod %d is %+v", i, pod)
			}
		}
	})
}

func TestClaimEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.real.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	mustBe(t, "claim", w.unclaimed("a:1", nil).Claim(ctx), context.DeadlineExceeded)
}

// The answer to the very write that takes the address is lost: the pod finds its
// own score there and must not flee from itself.
func TestClaimRecognisesItsOwnWriteAfterALostAnswer(t *testing.T) {
	for _, stale := range []bool{false, true} {
		t.Run(fmt.Sprint("stale ", stale), func(t *testing.T) {
			t.Parallel()
			w := realWorld(t)
			if stale {
				w.score(w.keys.PodChannel("a:1"), 1)
			}
			client := w.client(w.addr)
			lost := &lostAnswer{to: "zadd"}
			client.AddHook(lost)
			p := w.unclaimed("a:1", func(o *presence.PodsOptions) { o.Redis = redisconn.Of(client) })
			begun := time.Now()
			if err := p.Claim(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !lost.done {
				t.Fatal("no answer was lost")
			}
			if took := time.Since(begun); !stale && took > 450*time.Millisecond {
				t.Errorf("it took %v: it waited for itself", took)
			}
		})
	}
}

// lostAnswer is a hook that loses the answer to the first transaction with a
// command.
type lostAnswer struct {
	to   string
	done bool
}

func (l *lostAnswer) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (l *lostAnswer) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (l *lostAnswer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if !l.done && len(cmds) > 1 && cmds[1].Name() == l.to {
			l.done, err = true, io.ErrUnexpectedEOF
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		return err
	}
}

func TestHeartbeatBringsBackWhatAnEmptiedRedisLost(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		p := w.pods("a:1", nil)
		started := p.Started()
		w.keepBeating(p)
		if err := w.admin.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the pod is back", func() error {
			pods, err := presence.ListPods(t.Context(), redisconn.Of(w.admin), w.keys)
			if err != nil || len(pods) != 1 || pods[0].Info.Started != started {
				return fmt.Errorf("%+v, %v", pods, err)
			}
			return nil
		})
	})
}

func TestDeathsAreJudgedByChange(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		p, q := w.pods("a:1", nil), w.pods("b:1", nil)
		w.keepBeating(p)
		stop := w.keepBeating(q)
		acquaint(t, p, q)
		silent := w.keys.PodChannel("c:1")
		w.score(silent, float64(time.Now().Add(time.Hour).UnixMilli())) // the future proves nothing
		dead := func(channel string, want bool) {
			t.Helper()
			eventually(t, fmt.Sprintf("dead(%s) is %v", channel, want), func() error {
				if p.Dead(channel) != want {
					return errors.New("not so")
				}
				return nil
			})
		}
		dead(silent, true)
		for range 10 { // q lives on
			if p.Dead(q.Channel()) || q.Dead(p.Channel()) {
				t.Fatal("a living pod is called dead")
			}
			time.Sleep(50 * time.Millisecond)
		}
		stop()
		dead(q.Channel(), true)
		if stats := p.Stats(); stats.Alive != 1 || stats.Dead != 2 {
			t.Fatalf("stats: %+v", stats)
		}
		if err := q.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		dead(q.Channel(), false)
		if err := q.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		dead(q.Channel(), true)
		if p.Dead(p.Channel()) {
			t.Fatal("a pod calls itself dead")
		}
	})
}

// Redis stands still for longer than a lease. Three pods have entries of one user.
func TestStalledRedisMakesNoPodCallAnotherDead(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	var pods []*presence.Pods
	var stores []*testStore
	var entries []presence.Entry
	for i := range 3 {
		pod := fmt.Sprint("10.0.0.1:", i)
		p := w.pods(pod, func(o *presence.PodsOptions) { o.Timeout = 300 * time.Millisecond })
		w.keepBeating(p)
		s := w.store(pod, func(o *presence.Options) {
			o.Pods, o.Renew, o.TTL, o.Timeout = p, 100*time.Millisecond, time.Minute, 300*time.Millisecond
		})
		e := entry("alice")
		s.mustRegister(e)
		pods, stores, entries = append(pods, p), append(stores, s), append(entries, e)
	}
	acquaint(t, pods...)
	judgedDead := func() bool {
		for _, p := range pods {
			for _, q := range pods {
				if p.Dead(q.Channel()) {
					return true
				}
			}
		}
		return false
	}
	watch := func(d time.Duration) {
		t.Helper()
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
			if judgedDead() {
				t.Fatal("a living pod is called dead")
			}
			for i, s := range stores {
				s.Renew(entries[i]) // which also sweeps
			}
		}
	}
	watch(time.Second)
	w.real.Pause()
	watch(1500 * time.Millisecond) // three leases
	w.real.Resume()
	watch(1500 * time.Millisecond)
	if n := len(w.fields("alice")); n != 3 {
		t.Fatalf("%d entries stand, want 3", n)
	}
	for _, s := range stores {
		if n := s.Stats().Stale; n != 0 {
			t.Fatalf("%d live entries were removed", n)
		}
	}
}

func TestPodIsToldWhenItWasAwayForALease(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	regained := make(chan time.Duration, 10)
	p := w.pods("a:1", func(o *presence.PodsOptions) {
		o.Timeout = 400 * time.Millisecond
		o.Regained = func(away time.Duration) { regained <- away }
	})
	w.keepBeating(p)
	w.real.Pause()
	eventually(t, "the heartbeat fails", failing(p))
	time.Sleep(600 * time.Millisecond)
	w.real.Resume()
	if away := wait(t, "word of it", regained); away < 500*time.Millisecond {
		t.Fatalf("away for %v, less than a lease", away)
	}
}

func TestPodsLongDeadAreRemovedAndLivingOnesNot(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		short := func(o *presence.PodsOptions) {
			o.Heartbeat, o.Lease, o.TTL = 250*time.Millisecond, 120*time.Millisecond, 100*time.Millisecond
		}
		p, q := w.pods("a:1", short), w.pods("b:1", short)
		w.keepBeating(p)
		w.keepBeating(q)
		gone := w.keys.PodChannel("c:1")
		begun := time.Now()
		w.score(gone, 1)
		for _, channel := range []string{gone, w.keys.PodChannel("only-info:1")} {
			if err := w.admin.HSet(t.Context(), w.keys.PodsInfo(), channel, `{"started":1}`).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.admin.HSet(t.Context(), w.keys.PodsInfo(), "garbage", "{").Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the dead pods are removed", func() error {
			infos, err := w.admin.HKeys(t.Context(), w.keys.PodsInfo()).Result()
			if slices.Contains(w.members(), gone) || slices.Contains(infos, gone) || slices.Contains(infos, w.keys.PodChannel("only-info:1")) || err != nil {
				return fmt.Errorf("%v, %v, %v", w.members(), infos, err)
			}
			return nil
		})
		if took := time.Since(begun); took < 1300*time.Millisecond {
			t.Errorf("removed after %v: ten leases and a ttl were not over", took)
		}
		if got := w.members(); len(got) != 2 {
			t.Fatalf("%v are left, want the two living pods", got)
		}
	})
}

// Only the monotonic clock and Redis's count, and Redis's may jump.
func TestClockThatJumpsIsHarmless(t *testing.T) {
	w := miniWorld(t)
	p, q := w.pods("a:1", nil), w.pods("b:1", nil)
	w.keepBeating(p)
	w.keepBeating(q)
	acquaint(t, p, q)
	started := p.Started()
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 0} {
		at := time.Now().Add(jump)
		w.mini.SetTime(at)
		beats := p.Stats().Beats
		eventually(t, "some heartbeats after the jump", func() error {
			if p.Dead(q.Channel()) || q.Dead(p.Channel()) {
				t.Fatalf("after a jump by %v a living pod is called dead", jump)
			}
			// The clock stands still in miniredis now: step it, as time does.
			at = at.Add(10 * time.Millisecond)
			w.mini.SetTime(at)
			if p.Stats().Beats < beats+8 {
				return errors.New("not yet")
			}
			return nil
		})
		now := p.NowMs()
		if now < started {
			t.Fatalf("after a jump by %v the pod's time is before its start", jump)
		}
		if jump > 0 && now < time.Now().Add(jump/2).UnixMilli() {
			t.Fatalf("Redis's jump by %v was not followed", jump)
		}
		if u := p.NewUUID(); presence.UUIDTime(u) < started {
			t.Fatal("a UUID older than the pod's start")
		}
	}
}

func TestHeartbeatFailsWithWhatRedisSays(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	p := w.pods("a:1", nil)
	w.keepBeating(p)
	w.real.CLI("CONFIG", "SET", "maxmemory", "1")
	eventually(t, "the heartbeat fails", failing(p))
	if err := p.Err(); err == nil || !contains(err, "OOM") {
		t.Fatalf("Err = %v, want OOM", err)
	}
	w.real.CLI("CONFIG", "SET", "maxmemory", "0")
	eventually(t, "the heartbeat succeeds again", p.Err)
}

// acquaint lets all pods see each other.
func acquaint(t *testing.T, pods ...*presence.Pods) {
	t.Helper()
	for _, p := range pods {
		if err := p.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// failing waits for a heartbeat that fails.
func failing(p *presence.Pods) func() error {
	return func() error {
		if p.Err() == nil {
			return errors.New("it succeeds")
		}
		return nil
	}
}
