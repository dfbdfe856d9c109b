package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRedisKilledAndBackEmpty(t *testing.T) {
	t.Parallel()
	const connections = 30
	r := startRedis(t)
	p := startPod(t, r, quick())
	var clients []*client
	for i := range connections {
		clients = append(clients, dial(t, p, fmt.Sprintf("user-%d", i)))
	}
	if gaps := p.metric("pushpod_subscription_gaps_total"); gaps != 0 {
		t.Errorf("%v gaps before anything was lost, want 0: the first subscription is none", gaps)
	}
	if up := p.metric("pushpod_redis_up"); up != 1 {
		t.Errorf("pushpod_redis_up is %v, want 1", up)
	}

	r.Kill()
	p.wantNotReady("Redis is killed", 1500*time.Millisecond+slack)
	p.wantMetric("Redis is killed", 0, "pushpod_redis_up")
	for range 3 {
		a := exchange(t, p.listen, upgradeRequest("/ws?user=new"))
		wantRefusal(t, "a new connection without Redis", a, http.StatusServiceUnavailable)
		if a.header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		if a.took > time.Second+slack {
			t.Errorf("503 after %v, want within redis.timeout", a.took)
		}
	}
	time.Sleep(time.Second)
	for _, c := range clients {
		c.check("Redis is away")
	}
	clients[0].say(`{"type":"request","id":"away","data":1}`)
	clients[0].wantReceipt("a request without Redis", "away", "rejected", "unavailable")

	r.Restart()
	back := time.Now()
	db := asProducer(r)
	// Trying with jitter, the pod needs a moment to see that it is back.
	p.waitReady()
	t.Logf("ready %v after Redis was back", time.Since(back).Round(time.Millisecond))
	ready := time.Now()
	eventually(t, "presence is whole within a renewal period", time.Second+slack, func() (bool, any) {
		n := 0
		for _, c := range clients {
			if db.HGet(t.Context(), userKey(c.user), c.uuid).Val() == p.channel {
				n++
			}
		}
		return n == connections, fmt.Sprint(n, " entries")
	})
	t.Logf("presence whole %v after ready", time.Since(ready).Round(time.Millisecond))
	if n := p.metric("pushpod_presence_restored_total"); n != connections {
		t.Errorf("%v entries are counted as restored, want %d", n, connections)
	}
	all := r.Client()
	eventually(t, "push:pods:info is back", settle, func() (bool, any) {
		n := all.HLen(t.Context(), "push:pods:info").Val()
		return n == 1, n
	})
	for i, c := range clients {
		if n := luaPush(t, r, c.user, fmt.Sprint(i)); n != 1 {
			t.Errorf("push.lua for %s returned %d, want 1", c.user, n)
		}
		c.wantMessage("after Redis came back", fmt.Sprint(i))
	}
	clients[0].request("after Redis came back", "back", `{"a":1}`)
	dial(t, p, "new")
	p.wantMetric("one subscription was lost", 1, "pushpod_subscription_gaps_total")
	p.wantMetric("Redis is back", 1, "pushpod_redis_up")
	wantBooks(t, p, books{published: connections, written: connections})
}

func TestPodStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	r.Kill()
	p := launchPod(t, r, quick())
	eventually(t, "the pod lives without Redis", settle, func() (bool, any) {
		status, body := p.get("/healthz")
		return status == http.StatusOK, fmt.Sprint(status, body)
	})
	always(t, "not ready without Redis", time.Second, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusServiceUnavailable && !p.hasEnded(), fmt.Sprint(status, body)
	})
	a := exchange(t, p.listen, upgradeRequest("/ws?user=alice"))
	wantRefusal(t, "a connection before Redis was ever there", a, http.StatusServiceUnavailable)
	r.Restart()
	p.waitReady()
	c := dial(t, p, "alice")
	if n := luaPush(t, r, "alice", `1`); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	c.wantMessage("Redis came later", `1`)
	if gaps := p.metric("pushpod_subscription_gaps_total"); gaps != 0 {
		t.Errorf("%v gaps, want 0: nothing established was lost", gaps)
	}
}

func TestRedisRefusesWrites(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	c := dial(t, p, "alice")

	r.CLI("CONFIG", "SET", "maxmemory", "1")
	p.wantNotReady("one renewal has failed", 2*time.Second+slack)
	a := exchange(t, p.listen, upgradeRequest("/ws?user=new"))
	wantRefusal(t, "a new connection while Redis refuses writes", a, http.StatusServiceUnavailable)
	c.say(`{"type":"request","id":"r1","data":1}`)
	c.wantReceipt("a request while Redis refuses writes", "r1", "rejected", "unavailable")
	// PUBLISH is no write: pushes flow on.
	producerCLI(t, r, "PUBLISH", p.channel, to(`"still"`, c))
	c.wantMessage("while Redis refuses writes", `"still"`)

	r.CLI("CONFIG", "SET", "maxmemory", "0")
	p.waitReady()
	c.request("Redis takes writes again", "r2", `1`)
	dial(t, p, "new")
	wantEntries(t, asProducer(r), "alice", settle, map[string]string{c.uuid: p.channel})
	wantBooks(t, p, books{published: 1, written: 1})
}

func TestARedisThatEvictsIsWarnedOf(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
	p := startPod(t, r, quick())
	eventually(t, "/readyz warns and is 200", settle, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusOK && strings.Contains(body, `"warnings":[{"name":"eviction","reason":"Redis removes keys`), fmt.Sprint(status, " ", body)
	})
	wantLine(t, "loudly", p.stderr.String(), `"level":"warn"`, "EVICTION", "volatile-lru")
	r.CLI("CONFIG", "SET", "maxmemory-policy", "noeviction")
	eventually(t, "no more", settle, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusOK && !strings.Contains(body, "warnings"), fmt.Sprint(status, " ", body)
	})
}

func TestASendBufferThatTheSystemCutsIsToldOf(t *testing.T) {
	t.Parallel()
	if b, err := os.ReadFile("/proc/sys/net/core/wmem_max"); err != nil || len(strings.TrimSpace(string(b))) > 7 {
		t.Skip("the system may grant as much: ", string(b), err)
	}
	r := startRedis(t)
	p := startPod(t, r, quick().with("conn.send_buffer", "64MiB"))
	wantLine(t, "at the start", p.stderr.String(), `"level":"warn"`, "conn.send_buffer is cut by the system", `"asked_bytes":67108864`)
	dial(t, p, "alice").check("all the same")
}
