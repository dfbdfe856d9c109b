package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// spublish publishes to a channel's shard as a producer, and returns how many got it.
func (p *producers) spublish(channel, text string) int64 {
	p.t.Helper()
	n, err := p.of(channel).SPublish(p.t.Context(), channel, text).Result()
	if err != nil {
		p.t.Errorf("SPUBLISH %s: %v", channel, err)
	}
	return n
}

// From plain to sharded: first the pods, one after the other, then the producers. A stream of
// pushes, by both ways as the step allows, loses nothing to connections that stand.
func TestChangeToShardedLosesNoPush(t *testing.T) {
	t.Parallel()
	cluster := startRedisCluster(t, 0)
	db := newProducers(t, cluster)
	plain := inCluster(quick(), cluster)
	sharded := plain.with("redis.pubsub", "sharded")
	old := startPod(t, cluster.Masters[0], plain)
	alice := dial(t, old, "alice")

	// A producer that still publishes reaches pods of both kinds.
	changed := startPod(t, cluster.Masters[0], sharded)
	bob := dial(t, changed, "bob")
	push := func(user, data string, env ...string) {
		t.Helper()
		out := mustRun(t, operatorEnv(cluster.Masters[1].Addr(), env...), "push", user, data)
		if strings.TrimSpace(out) != "1" {
			t.Errorf("push of %s to %s: %q, want 1", data, user, out)
		}
	}
	push("alice", `"published"`)
	push("bob", `"published"`)
	alice.wantMessage("a plain pod", `"published"`)
	bob.wantMessage("a sharded pod", `"published"`)

	// Once all pods are sharded, producers may be.
	alice.leave()
	old.sigterm()
	old.wantExit("leaving", 0, 20*time.Second)
	alice = dial(t, changed, "alice")
	for i := range 3 {
		push("alice", fmt.Sprint(2*i))
		alice.wantMessage("by PUBLISH", fmt.Sprint(2*i))
		push("alice", fmt.Sprint(2*i+1), "PUSHPOD_REDIS_PUBSUB=sharded")
		alice.wantMessage("by SPUBLISH", fmt.Sprint(2*i+1))
	}
	if n := db.spublish(changed.channel, `{"user":"bob","data":"by hand"}`); n != 1 {
		t.Errorf("SPUBLISH reached %d", n)
	}
	bob.wantMessage("by hand", `"by hand"`)
	db.of("push:all").Publish(t.Context(), "push:all", `{"all":true,"data":"all"}`)
	alice.wantMessage("push:all stays plain", `"all"`)
	bob.wantMessage("push:all stays plain", `"all"`)
	for _, pubsub := range []string{"plain", "sharded"} {
		for data, args := range map[string][]string{`"one"`: {"--to", alice.uuid, "alice"}, `"her"`: {"--to", alice.uuid}, `"everybody"`: {"--all"}} {
			out := mustRun(t, operatorEnv(cluster.Masters[1].Addr(), "PUSHPOD_REDIS_PUBSUB="+pubsub), append(append([]string{"push"}, args...), data)...)
			if strings.TrimSpace(out) != "1" { // connection or pod
				t.Errorf("push %q, %s: %q, want 1", args, pubsub, out)
			}
			alice.wantMessage("pushpod push "+strings.Join(args, " "), data)
			if args[0] == "--all" {
				bob.wantMessage("pushpod push --all", data)
			}
		}
	}
	changed.wantMetric("nothing was lost", 0, "pushpod_subscription_gaps_total")

	// The slot of the pod's channel moves, and the pod follows it. What was published to nobody
	// meanwhile is counted as a gap.
	slot := cluster.Slot(changed.channel)
	from := cluster.At(slot)
	to := cluster.Masters[0]
	if to == from {
		to = cluster.Masters[1]
	}
	cluster.Move(slot, to)
	moved := time.Now()
	eventually(t, "the pod is at the new shard", 10*time.Second, func() (bool, any) {
		n, err := asProducer(to).SPublish(t.Context(), changed.channel, `{"user":"bob","data":"followed"}`).Result()
		return n == 1, err
	})
	t.Logf("followed the slot in %v", time.Since(moved).Round(time.Millisecond))
	bob.wantMessage("the shard was followed", `"followed"`)
	changed.waitReady()
	changed.wantMetric("a gap", 1, "pushpod_subscription_gaps_total")
	push("bob", `"after"`, "PUSHPOD_REDIS_PUBSUB=sharded")
	bob.wantMessage("after the move", `"after"`)
	changed.sigterm()
	changed.wantExit("leaving", 0, 20*time.Second)
}

// Whoever asks for shards on a server that has none is told so.
func TestShardedNeedsAServerThatKnowsIt(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--rename-command", "SSUBSCRIBE", "")
	p := launchPod(t, r, quick().with("redis.pubsub", "sharded"))
	eventually(t, "the pod says why", 10*time.Second, func() (bool, any) {
		_, body := p.readyz()
		return strings.Contains(strings.ToUpper(body), "SSUBSCRIBE"), body
	})
}

// Slots move round and round under pushes, registrations and renewals of whole pods; then a node
// joins and takes slots, and then the whole Cluster is restarted, empty.
func TestFaultsSlotsMoveUnderLoad(t *testing.T) {
	redistest.Faults(t)
	cluster := startRedisCluster(t, 0)
	db := newProducers(t, cluster)
	s := inCluster(quick(), cluster).with("redis.pubsub", "sharded", "uplink.max_length", "1000")
	p, q := startPod(t, cluster.Masters[0], s), startPod(t, cluster.Masters[0], s)
	var all []*client
	users := map[string]bool{}
	for i := range 40 {
		user := fmt.Sprint("load-", i%20)
		users[user] = true
		all = append(all, dial(t, []*pod{p, q}[i%2], user))
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	var failed int
	running.Go(func() { // connections come and go
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			c, answer, err := tryDial(t, p.listen, fmt.Sprint("load-", i%20))
			if err != nil || answer != nil && !strings.Contains(answer.body, "lost Redis") { // while the shard is followed
				failed++
				t.Logf("handshake: %v %v", answer, err)
			}
			if c != nil {
				c.vanish()
			}
		}
	})
	slots := []int{cluster.Slot("push:pods"), cluster.Slot("push:pods:info"), cluster.Slot("push:uplink"), cluster.Slot(p.channel)}
	for user := range users {
		slots = append(slots, cluster.Slot(userKey(user)))
	}
	move := func(to func(at *redistest.Server, i int) *redistest.Server) {
		for i, slot := range slots {
			at := cluster.At(slot)
			if next := to(at, i); next != at {
				cluster.Move(slot, next)
			}
		}
	}
	ring := func(at *redistest.Server, _ int) *redistest.Server {
		for i, m := range cluster.Masters {
			if m == at {
				return cluster.Masters[(i+1)%len(cluster.Masters)]
			}
		}
		return at
	}
	move(ring)
	joined := cluster.Add()
	move(func(at *redistest.Server, i int) *redistest.Server {
		if i%2 == 0 {
			return joined
		}
		return at
	})
	close(stop)
	running.Wait()
	p.waitReady()
	q.waitReady()
	if failed > 0 {
		t.Errorf("%d handshakes failed while slots moved", failed)
	}
	db.wantWhole("slots have moved", 10*time.Second, all, p, q)
	for user := range users {
		if at := cluster.Holders(userKey(user)); len(at) != 1 || at[0] != cluster.Of(userKey(user)) {
			t.Errorf("%s is at %d nodes", user, len(at))
		}
	}
	for _, c := range all {
		c.check("after it all")
	}

	for _, m := range cluster.Masters {
		m.Kill()
	}
	for _, c := range all {
		c.check("the whole Cluster is away")
	}
	for _, m := range cluster.Masters {
		m.Restart()
	}
	cluster.WaitWell()
	back := time.Now()
	p.waitReady()
	q.waitReady()
	t.Logf("ready %v after the Cluster was well again", time.Since(back).Round(time.Millisecond))
	db.clients = map[*redistest.Server]*redis.Client{}
	db.wantWhole("the Cluster was restarted, empty", 10*time.Second, all, p, q)
	for _, c := range all[:4] {
		if out := mustRun(t, operatorEnv(cluster.Addr(), "PUSHPOD_REDIS_PUBSUB=sharded"), "push", c.user, `"again"`); strings.TrimSpace(out) != "2" {
			t.Errorf("push: %q", out)
		}
		c.wantMessage("after the restart", `"again"`)
	}
}
