package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// startRedisCluster starts three masters, so many of them with a replica, with the users of
// configs/redis-acl.conf.
func startRedisCluster(t testing.TB, replicas int, args ...string) *redistest.Cluster {
	t.Helper()
	return redistest.StartClusterAs(t, admin, passwordOf(admin), replicas, append([]string{"--include", usersFile(t)}, args...)...)
}

// producers are producer's clients of a Cluster's nodes.
type producers struct {
	t       testing.TB
	cluster *redistest.Cluster
	clients map[*redistest.Server]*redis.Client
}

func newProducers(t testing.TB, c *redistest.Cluster) *producers {
	return &producers{t, c, map[*redistest.Server]*redis.Client{}}
}

// of returns the client of the node that has a key.
func (p *producers) of(key string) *redis.Client {
	p.t.Helper()
	node := p.cluster.Of(key)
	if p.clients[node] == nil {
		p.clients[node] = asProducer(node)
	}
	return p.clients[node]
}

// wantWhole waits until each connection has its entry, on one of the pods, and its user no other.
func (p *producers) wantWhole(why string, within time.Duration, all []*client, pods ...*pod) {
	p.t.Helper()
	eventually(p.t, why+": presence is whole", within, func() (bool, any) {
		mine := map[string]int{}
		for _, c := range all {
			mine[c.user]++
		}
		for _, c := range all {
			fields := p.of(userKey(c.user)).HGetAll(p.t.Context(), userKey(c.user)).Val()
			named := false
			for _, q := range pods {
				named = named || fields[c.uuid] == q.channel
			}
			if !named || len(fields) != mine[c.user] {
				return false, fmt.Sprint(c.user, ": ", fields)
			}
		}
		return true, nil
	})
}

// inCluster is how pods are configured for a Cluster of which one address is named.
func inCluster(s settings, c *redistest.Cluster) settings { return s.with("redis.addresses", c.Addr()) }

// userOf returns users of whom each has the slot at this node.
func usersAt(c *redistest.Cluster, node *redistest.Server, n int) (list []string) {
	for i := 0; len(list) < n; i++ {
		if user := fmt.Sprint("user-", i); c.Of(userKey(user)) == node {
			list = append(list, user)
		}
	}
	return list
}

// operatorEnv is the environment of commands that an operator calls.
func operatorEnv(addr string, more ...string) []string {
	return append([]string{"PUSHPOD_REDIS_ADDRESSES=" + addr, "PUSHPOD_REDIS_USERNAME=" + operator, "PUSHPOD_REDIS_PASSWORD=" + passwordOf(operator)}, more...)
}

// Two pods that know one address of a Cluster do all that they do with one Redis, by all ways
// to push and all commands; then a master is lost, and its replica takes its place.
func TestAClusterIsAChangeOfConfigurationAlone(t *testing.T) {
	t.Parallel()
	cluster := startRedisCluster(t, 1)
	db := newProducers(t, cluster)
	s := inCluster(quick(), cluster)
	p, q := startPod(t, cluster.Masters[0], s), startPod(t, cluster.Masters[1], s)

	var all []*client
	for _, node := range cluster.Masters {
		for _, user := range usersAt(cluster, node, 2) {
			all = append(all, dial(t, p, user), dial(t, q, user))
		}
	}
	db.wantWhole("registered", slack, all, p, q)

	// Every way to push, from any node.
	both := func(why, data string, of int) {
		t.Helper()
		all[of].wantMessage(why, data)
		all[of+1].wantMessage(why, data)
	}
	mustRun(t, operatorEnv(cluster.Masters[2].Addr()), "functions", "load")
	for i, node := range cluster.Masters {
		of := 2 * (2*i + 1) // of another node than the one that is asked
		user := all[of%len(all)].user
		of %= len(all)
		out, err := node.TryCLIAs(producer, passwordOf(producer), "-c", "--eval", "../scripts/push.lua", userKey(user), ",", `"by script"`)
		if err != nil || out != "2" {
			t.Errorf("push.lua through %s: %q, %v; want 2", node.Addr(), out, err)
		}
		both("push.lua", `"by script"`, of)
		if out, err = node.TryCLIAs(producer, passwordOf(producer), "-c", "FCALL", "pushpod_push", "1", userKey(user), `"by function"`); err != nil || out != "2" {
			t.Errorf("FCALL through %s: %q, %v; want 2", node.Addr(), out, err)
		}
		both("FCALL", `"by function"`, of)
		if out := mustRun(t, operatorEnv(node.Addr()), "push", user, `"by command"`); strings.TrimSpace(out) != "2" {
			t.Errorf("pushpod push: %q, want 2", out)
		}
		both("pushpod push", `"by command"`, of)
		if out, err = node.TryCLIAs(producer, passwordOf(producer), "PUBLISH", "push:all", `{"all":true,"data":"to all"}`); err != nil {
			t.Errorf("PUBLISH: %q, %v", out, err)
		}
		for _, c := range all {
			c.wantMessage("push:all through "+node.Addr(), `"to all"`)
		}
		if out := mustRun(t, operatorEnv(node.Addr()), "presence", user); strings.Count(out, "\n") != 3 {
			t.Errorf("pushpod presence: %q", out)
		}
		if out := mustRun(t, operatorEnv(node.Addr()), "pods"); !strings.Contains(out, p.listen) || !strings.Contains(out, q.listen) {
			t.Errorf("pushpod pods: %q", out)
		}
		all[of].request("the uplink", fmt.Sprint("request-", i), `{"n":1}`)
	}
	kicked := []*client{dial(t, p, "unwanted"), dial(t, q, "unwanted")}
	if out := mustRun(t, operatorEnv(cluster.Addr()), "kick", "unwanted", "--for", "1h"); !strings.Contains(out, "2 connections closed") {
		t.Errorf("pushpod kick: %q", out)
	}
	for _, c := range kicked {
		c.wantClose("kick", 4500)
	}
	wantRefusal(t, "blocked", exchange(t, p.listen, upgradeRequest("/ws?user=unwanted")), http.StatusForbidden)
	p.wantMetric("all is well", 0, "pushpod_subscription_gaps_total")

	// A master is lost: who is on another one notices nothing.
	lost := cluster.Masters[0]
	theirs := usersAt(cluster, lost, 1)[0]
	others := usersAt(cluster, cluster.Masters[1], 1)[0]
	lost.Kill()
	var newcomer *client
	eventually(t, "who is on another one is served", slack, func() (bool, any) { // but for a moment, where the pod was subscribed there
		c, answer, err := tryDial(t, p.listen, others)
		if newcomer = c; c == nil {
			return false, fmt.Sprint(answer, err)
		}
		return true, nil
	})
	newcomer.check("its node is well")
	all = append(all, newcomer)
	for _, c := range all {
		c.check("a master is away")
	}
	cluster.WaitMaster(cluster.Replicas[0])
	failedOver := time.Now()
	eventually(t, "its users are served again", 10*time.Second, func() (bool, any) {
		c, answer, err := tryDial(t, p.listen, theirs)
		if err == nil && answer == nil {
			c.leave()
			return true, nil
		}
		return false, answer
	})
	t.Logf("served %v after the failover", time.Since(failedOver).Round(time.Millisecond))
	p.waitReady()
	q.waitReady()
	db.wantWhole("after the failover", slack+2*time.Second, all, p, q)
	for _, c := range all {
		c.check("after the failover")
	}
	if n, err := db.of("push:all").Publish(t.Context(), "push:all", `{"all":true,"data":"after"}`).Result(); err != nil {
		t.Errorf("PUBLISH: %d, %v", n, err)
	}
	for _, c := range all {
		c.wantMessage("after the failover", `"after"`)
	}
}

func TestADatabaseOfAClusterIsRefusedByName(t *testing.T) {
	t.Parallel()
	cluster := startRedisCluster(t, 0)
	p := launchPod(t, cluster.Masters[0], inCluster(quick(), cluster).with("redis.db", "3"))
	eventually(t, "the pod says why", 10*time.Second, func() (bool, any) {
		_, body := p.readyz()
		return strings.Contains(body, "redis.db"), body
	})
	if r := run(t, operatorEnv(cluster.Addr(), "PUSHPOD_REDIS_DB=3"), "pods"); r.status != 1 || !strings.Contains(r.stderr, "redis.db must be 0") {
		t.Errorf("pushpod pods: %d %q", r.status, r.stderr)
	}
}

// A node that the others have forgotten still answers, and hears nothing of what is published
// elsewhere: the pod's probe, which goes through another node, tells.
func TestASubscriptionOnAForgottenNodeIsNoticed(t *testing.T) {
	t.Parallel()
	cluster := startRedisCluster(t, 0)
	p := startPod(t, cluster.Masters[0], inCluster(quick(), cluster))
	at := func() *redistest.Server {
		for _, m := range cluster.Masters {
			if strings.Contains(m.CLI("PUBSUB", "NUMSUB", p.channel), "\n1") {
				return m
			}
		}
		return nil
	}
	var forgotten *redistest.Server
	eventually(t, "the pod is subscribed", slack, func() (bool, any) { forgotten = at(); return forgotten != nil, nil })
	var other *redistest.Server
	id := cluster.ID(forgotten)
	for _, m := range cluster.Masters {
		if m != forgotten {
			other = m
		}
	}
	c := dial(t, p, usersAt(cluster, other, 1)[0])
	for _, m := range cluster.Masters {
		if m != forgotten {
			m.CLI("CLUSTER", "FORGET", id)
		}
	}
	eventually(t, "the pod is subscribed at another node", 10*time.Second, func() (bool, any) {
		now := at()
		return now != nil && now != forgotten, nil
	})
	p.wantMetric("the loss is counted", 1, "pushpod_subscription_gaps_total")
	c.check("its connections stay")
	asProducer(other).Publish(t.Context(), p.channel, `{"all":true,"data":"heard"}`)
	c.wantMessage("published through the others", `"heard"`)
}

// A Cluster that wants all slots to be served refuses everybody while a master is away: the pod
// warns of that before, is then not ready, and still delivers what is published.
func TestFaultsFullCoverage(t *testing.T) {
	redistest.Faults(t)
	cluster := startRedisCluster(t, 0, "--cluster-require-full-coverage", "yes")
	s := inCluster(quick(), cluster).with("redis.username", admin, "redis.password", passwordOf(admin)) // CONFIG GET
	p := startPod(t, cluster.Masters[0], s)
	eventually(t, "the pod warns", slack, func() (bool, any) {
		_, body := p.readyz()
		return strings.Contains(body, "cluster-require-full-coverage"), body
	})
	c := dial(t, p, "alice")
	cluster.Masters[2].Kill()
	eventually(t, "the others refuse", 20*time.Second, func() (bool, any) {
		info := cluster.Masters[0].CLI("CLUSTER", "INFO") + cluster.Masters[1].CLI("CLUSTER", "INFO")
		return strings.Count(info, "cluster_state:fail") == 2, info
	})
	p.wantNotReady("a master is away", 20*time.Second)
	c.check("connections stay")
	eventually(t, "what is published is delivered", 20*time.Second, func() (bool, any) {
		err := asProducer(cluster.Masters[0]).Publish(t.Context(), "push:all", `{"all":true,"data":"still"}`).Err()
		_, heard := c.take(200*time.Millisecond, pings)
		return heard, err
	})
	wantRefusal(t, "nobody new is taken", exchange(t, p.listen, upgradeRequest("/ws?user=bob")), http.StatusServiceUnavailable)
	cluster.Masters[2].Restart()
	p.waitReady()
}
