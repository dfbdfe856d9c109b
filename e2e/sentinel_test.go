package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// startSentinels starts a master, a replica and Sentinels, with the users of
// configs/redis-acl.conf at the servers.
func startSentinels(t *testing.T, o redistest.SentinelOptions) *redistest.Sentinels {
	t.Helper()
	o.Args = append([]string{"--include", usersFile(t)}, o.Args...)
	o.ServerUser, o.ServerPassword = admin, passwordOf(admin)
	return redistest.StartSentinels(t, o)
}

// bySentinels are the settings of a pod that finds its Redis by Sentinels.
func bySentinels(s settings, set *redistest.Sentinels) settings {
	addrs := set.Addrs()
	list := addrs[0]
	for _, a := range addrs[1:] {
		list += "," + a
	}
	return s.with("redis.addresses", list, "redis.sentinel_master", redistest.MasterName)
}

// A stream is pushes to one connection, numbered, each published at the server that the
// Sentinels name at that moment.
type stream struct {
	stop func() // and waits

	master    atomic.Pointer[string] // address
	switched  atomic.Int64           // Unix ns: when a Sentinel has named another one for the first time
	published atomic.Int64
}

// startStream begins one that sends every 2 ms, to whoever it is.
func startStream(t *testing.T, set *redistest.Sentinels, c *client, channel string) *stream {
	t.Helper()
	s := new(stream)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	s.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(s.stop)
	for _, sentinel := range set.Sentinels {
		asks := sentinel.Client()
		running.Go(func() {
			for epoch := int64(-1); ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
				if state, err := asks.Do(ctx, "SENTINEL", "MASTER", redistest.MasterName).Slice(); err == nil {
					epoch = max(epoch, s.heard(ctx, asks, state, epoch))
				}
			}
		})
	}
	eventually(t, "a master is named", settle, func() (bool, any) { return s.master.Load() != nil, nil })
	clients := map[string]*redis.Client{}
	running.Go(func() {
		for n := int64(1); ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
			addr := *s.master.Load()
			if clients[addr] == nil {
				clients[addr] = redis.NewClient(&redis.Options{Addr: addr, Username: producer, Password: passwordOf(producer), MaxRetries: -1, DialerRetries: 1, ReadTimeout: 200 * time.Millisecond, DialTimeout: 200 * time.Millisecond, Protocol: 2})
			}
			if clients[addr].Publish(ctx, channel, to(strconv.FormatInt(n, 10), c)).Err() == nil {
				s.published.Store(n)
			}
			n++ // also where it is not known whether it was published
		}
		for _, c := range clients {
			_ = c.Close()
		}
	})
	return s
}

// heard takes what a Sentinel says, if nobody has said so before.
func (s *stream) heard(ctx context.Context, asks *redis.Client, state []any, known int64) (epoch int64) {
	for i := 0; i+1 < len(state); i += 2 {
		if state[i] == "config-epoch" {
			epoch, _ = strconv.ParseInt(fmt.Sprint(state[i+1]), 10, 64)
		}
	}
	if epoch <= known {
		return known
	}
	addr, err := asks.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", redistest.MasterName).StringSlice()
	if err != nil || len(addr) != 2 {
		return known
	}
	named := net.JoinHostPort(addr[0], addr[1])
	if before := s.master.Swap(&named); before == nil || *before != named {
		s.switched.Store(time.Now().UnixNano())
	}
	return epoch
}

// flows waits until c gets what is published now, and returns how long after the
// switch that was. What c gets is in order, and nothing twice.
func (s *stream) flows(t *testing.T, c *client, last *int64) time.Duration {
	t.Helper()
	from := s.published.Load()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		f, ok := c.take(settle, pings)
		if !ok {
			continue
		}
		var frame serverFrame
		if f.err != nil || json.Unmarshal([]byte(f.text), &frame) != nil {
			t.Fatalf("%s got %v", c.name, f)
		}
		n, err := strconv.ParseInt(string(frame.Data), 10, 64)
		if err != nil || n <= *last {
			t.Fatalf("%s got %v behind %d", c.name, f, *last)
		}
		if *last = n; n > from {
			return f.at.Sub(time.Unix(0, s.switched.Load())).Round(time.Millisecond)
		}
	}
	t.Fatalf("%s: pushes do not flow: the last one is %d of %d", c.name, *last, s.published.Load())
	return 0
}

func TestSentinelsFailOverUnderConnections(t *testing.T) {
	t.Parallel()
	set := startSentinels(t, redistest.SentinelOptions{Proxies: true})
	first, second := set.Servers[0], set.Servers[1]
	p := startPod(t, first, bySentinels(quick().with("presence.ttl", "1m"), set))
	var clients []*client
	for i := range 20 {
		clients = append(clients, dial(t, p, fmt.Sprintf("user-%d", i)))
	}
	reader := dial(t, p, "reader")
	pushes := startStream(t, set, reader, p.channel)
	last := int64(0)
	pushes.flows(t, reader, &last)

	whole := func(why string, master *redistest.Server) {
		t.Helper()
		db := asProducer(master)
		eventually(t, why+": presence is whole", settle, func() (bool, any) {
			n := 0
			for _, c := range clients {
				if db.HGet(t.Context(), userKey(c.user), c.uuid).Val() == p.channel {
					n++
				}
			}
			return n == len(clients), n
		})
		p.waitReady()
		clients[0].request(why, "r-"+why, `1`)
		for _, c := range clients {
			c.check(why)
		}
	}

	// By hand, while the master lives: it becomes a replica, whose connections go on.
	set.Failover()
	eventually(t, "a failover", settle, func() (bool, any) {
		return pushes.switched.Load() > 0 && *pushes.master.Load() == set.Proxies[1].Addr(), nil
	})
	t.Logf("by hand: pushes flow %v after the failover", pushes.flows(t, reader, &last))
	whole("a failover by hand", second)
	set.AwaitReplica(first)

	// The master dies, a Sentinel too, and the new master refuses the first who come.
	set.Sentinels[2].Kill()
	set.Proxies[0].RefuseNext(30)
	second.Kill()
	eventually(t, "a failover", time.Minute, func() (bool, any) { return *pushes.master.Load() == set.Proxies[0].Addr(), nil })
	t.Logf("the master has died: pushes flow %v after the failover", pushes.flows(t, reader, &last))
	whole("the master has died", first)

	// It comes back, as a replica: nobody goes there.
	second.Restart()
	set.AwaitReplica(second)
	pushes.flows(t, reader, &last)
	whole("the old master is back", first)

	// Without any Sentinel the pod goes on with the master that it knows, and warns.
	for _, s := range set.Sentinels {
		s.Kill()
	}
	eventually(t, "the pod warns, and is ready", settle, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusOK && strings.Contains(body, "no Sentinel names the master"), body
	})
	first.CLI("CLIENT", "KILL", "TYPE", "pubsub")
	pushes.flows(t, reader, &last)
	whole("without Sentinels", first)
	pushes.stop()
	if at := second.CLI("PUBSUB", "NUMSUB", p.channel); at != p.channel+"\n0" {
		t.Errorf("subscribed at the replica: %s", at)
	}
	p.wantMetric("three subscriptions were lost", 3, "pushpod_subscription_gaps_total")
}

// TestFaultsSentinelsFailOverUnderACrowd prints how long it takes.
func TestFaultsSentinelsFailOverUnderACrowd(t *testing.T) {
	redistest.Faults(t)
	n := crowdSize(t)
	set := startSentinels(t, redistest.SentinelOptions{Proxies: true, DownAfter: time.Second})
	p := startPod(t, set.Servers[0], bySentinels(settings{"conn.ping": "5m", "presence.ttl": "10m", "log.format": "json"}, set))
	crowd := make([]*client, n)
	if err := forEach(n, func(i int) (err error) {
		crowd[i], err = joinCrowd(t, p.listen, i)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	reader := dial(t, p, "reader")
	pushes := startStream(t, set, reader, p.channel)
	last := int64(0)
	pushes.flows(t, reader, &last)
	gaps := 0
	fail := func(what string, to int, begin func()) {
		t.Helper()
		set.AwaitReplica(set.Servers[to])
		began, lostFrom := time.Now(), last
		begin()
		eventually(t, "a failover", time.Minute, func() (bool, any) { return *pushes.master.Load() == set.Proxies[to].Addr(), nil })
		switched := time.Unix(0, pushes.switched.Load())
		flows := pushes.flows(t, reader, &last)
		p.waitReady()
		ready := time.Since(switched)
		db := asProducer(set.Servers[to])
		eventually(t, "presence is whole", 30*time.Second+slack, func() (bool, any) {
			got := registered(t, db, p, crowd)
			return got == n, got
		})
		t.Logf("%s: named a new master after %v; from then, pushes flow after %v (from push %d to %d), ready after %v, presence of %d connections whole within %v",
			what, switched.Sub(began).Round(time.Millisecond), flows, lostFrom, last, ready.Round(time.Millisecond), n, time.Since(switched).Round(time.Millisecond))
		if open := p.metric("pushpod_connections"); open != float64(n+1) {
			t.Errorf("%s: %v connections are open, of %d", what, open, n+1)
		}
		gaps++
		p.wantMetric(what, float64(gaps), "pushpod_subscription_gaps_total")
	}
	fail("by hand", 1, set.Failover)
	fail("the master dies, and the new one refuses the first connections", 0, func() {
		set.Proxies[0].RefuseNext(30)
		set.Servers[1].Kill()
	})
	set.Servers[1].Restart()
	fail("the master hangs, and a Sentinel is gone", 1, func() {
		set.Sentinels[0].Kill()
		set.Servers[0].Pause()
	})
	set.Servers[0].Resume()
	set.AwaitReplica(set.Servers[0])
	pushes.flows(t, reader, &last)
	pushes.stop()
	if at := set.Servers[0].CLI("PUBSUB", "NUMSUB", p.channel); at != p.channel+"\n0" {
		t.Errorf("subscribed at the replica: %s", at)
	}
	if open := p.metric("pushpod_connections"); open != float64(n+1) {
		t.Errorf("%v connections are open, of %d", open, n+1)
	}
}
