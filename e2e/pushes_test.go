package e2e

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// oddData is JSON that only survives where nobody decodes and encodes it again.
func oddData() map[string]string {
	return map[string]string{
		"odd spacing":      "{ \"a\" :\t1 ,\n\"b\":[ ] , \"c\" : { } }",
		"unicode escapes":  `"\u0041\u00e9\uD83D\uDE00 \/ \b\f"`,
		"raw unicode":      `"é 😀   \u2028"`,
		"big numbers":      `[12345678901234567890123456789, 1.000000000000000000001, 1E400, -0, -0.0, 1e-400]`,
		"doubled members":  `{"a":1,"a":2,"type":"welcome","data":3}`,
		"nested":           strings.Repeat("[", 500) + strings.Repeat("]", 500),
		"60 KiB":           `"` + strings.Repeat("abcdefghijklmno\\n", 60<<10/17) + `"`,
		"string":           `"maintenance at 22:00"`,
		"null":             `null`,
		"false":            `false`,
		"zero":             `0`,
		"looks like an id": `{"to":"x","close":{"code":4100,"reason":"no"}}`,
		"markup":           `"</script><b>&amp;"`,
	}
}

// cluster is three pods on one Redis: alice has a device on each of the first
// two, bob one on the third. Its methods push, and keep account in books.
type cluster struct {
	t             *testing.T
	redis         *redistest.Server
	db            *redis.Client
	pods          []*pod
	books         []books // by pod
	phone, laptop *client // alice's
	bob           *client
}

func startCluster(t *testing.T, s settings) *cluster {
	t.Helper()
	c := &cluster{t: t, redis: startRedis(t), books: make([]books, 3)}
	c.db = asProducer(c.redis)
	for range 3 {
		c.pods = append(c.pods, launchPod(t, c.redis, s))
	}
	for _, p := range c.pods {
		p.waitReady()
	}
	c.phone = dial(t, c.pods[0], "alice")
	c.laptop = dial(t, c.pods[1], "alice")
	c.bob = dial(t, c.pods[2], "bob")
	return c
}

// wantAlice checks that both of alice's devices get the data once, and that
// nobody else does.
func (c *cluster) wantAlice(why, data string) {
	c.t.Helper()
	for i, device := range []*client{c.phone, c.laptop} {
		c.books[i].published++
		c.books[i].written++
		device.wantMessage(why, data)
	}
	c.phone.wantNothing(why+": once", 50*time.Millisecond)
	c.laptop.wantNothing(why+": once", 10*time.Millisecond)
	c.bob.wantNothing(why+": not bob's", 10*time.Millisecond)
}

// wantBob checks that bob gets the data.
func (c *cluster) wantBob(why, data string) serverFrame {
	c.t.Helper()
	c.books[2].published++
	c.books[2].written++
	return c.bob.wantMessage(why, data)
}

func TestPushesReachTheRightDevices(t *testing.T) {
	t.Parallel()
	c := startCluster(t, quick())
	c.pushByHand()
	c.pushByScript()
	c.pushByFunction()
	c.pushToAll()
	c.pushOddData()
	for i, p := range c.pods {
		wantBooks(t, p, c.books[i])
	}
}

// pushByHand finds the connections as a producer does with redis-cli, and
// publishes to the channel that each entry names.
func (c *cluster) pushByHand() {
	t, r := c.t, c.redis
	fields := strings.Split(producerCLI(t, r, "HGETALL", userKey("alice")), "\n")
	if len(fields) != 4 {
		t.Fatalf("HGETALL of alice: %q, want two fields", fields)
	}
	got := map[string]string{fields[0]: fields[1], fields[2]: fields[3]}
	if got[c.phone.uuid] != c.pods[0].channel || got[c.laptop.uuid] != c.pods[1].channel {
		t.Fatalf("HGETALL of alice: %v, want %s on %s and %s on %s",
			got, c.phone.uuid, c.pods[0].channel, c.laptop.uuid, c.pods[1].channel)
	}
	version7 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for uuid, channel := range got {
		if !version7.MatchString(uuid) {
			t.Errorf("UUID %q is not of version 7 in lower case", uuid)
		}
		if n := producerCLI(t, r, "PUBLISH", channel, `{"to":"`+uuid+`","data":{"text":"hi"}}`); n != "1" {
			t.Errorf("PUBLISH to %s: %s subscribers, want 1", channel, n)
		}
	}
	c.wantAlice("PUBLISH by hand", `{"text":"hi"}`)
}

func (c *cluster) pushByScript() {
	t, r := c.t, c.redis
	if n := luaPush(t, r, "alice", `{"by": "lua"}`); n != 2 {
		t.Errorf("push.lua returned %d, want 2", n)
	}
	c.wantAlice("push.lua", `{"by": "lua"}`)
	if n := luaPush(t, r, "nobody", `{}`); n != 0 {
		t.Errorf("push.lua for nobody returned %d, want 0", n)
	}
	if n := luaPush(t, r, "bob", `1`, "id", "m-1", "ttl", "60000", "collapse", "k"); n != 1 {
		t.Errorf("push.lua with id returned %d, want 1", n)
	}
	if m := c.wantBob("push.lua with id", `1`); m.ID == nil || *m.ID != "m-1" {
		t.Errorf("push.lua with id: id %q, want m-1", deref(m.ID))
	}
	if n := shellPush(t, r, "alice", `{"by":   "shell"}`); n != 2 {
		t.Errorf("push.sh returned %d, want 2", n)
	}
	c.wantAlice("push.sh", `{"by":   "shell"}`)
}

func (c *cluster) pushByFunction() {
	t, r := c.t, c.redis
	if out, err := r.TryCLI("FCALL", "pushpod_push", "1", userKey("alice"), `1`); err == nil {
		t.Errorf("FCALL before the library is loaded: %q, want an error", out)
	}
	mustRun(t, envOf(r, operator), "functions", "load")
	mustRun(t, envOf(r, operator), "functions", "load") // again: nothing to do
	if n := producerCLI(t, r, "FCALL", "pushpod_push", "1", userKey("alice"), `{"by":  "fcall"}`); n != "2" {
		t.Errorf("FCALL returned %s, want 2", n)
	}
	c.wantAlice("FCALL", `{"by":  "fcall"}`)
}

func (c *cluster) pushToAll() {
	if n := producerCLI(c.t, c.redis, "PUBLISH", "push:all", `{"all":true,"data":"maintenance at 22:00"}`); n != "3" {
		c.t.Errorf("PUBLISH push:all: %s subscribers, want 3", n)
	}
	for i, device := range []*client{c.phone, c.laptop, c.bob} {
		c.books[i].published++
		c.books[i].written++
		device.wantMessage("push:all", `"maintenance at 22:00"`)
		device.wantNothing("push:all: once", 20*time.Millisecond)
	}
	// No pod misses a user there: it is the pods' common channel.
	publish(c.t, c.db, "push:all", `{"user":"bob","data":"x"}`)
	c.wantBob("a user on push:all", `"x"`)
	c.books[0].published++
	c.books[1].published++
}

func (c *cluster) pushOddData() {
	for name, data := range oddData() {
		if n := luaPush(c.t, c.redis, "alice", data); n != 2 {
			c.t.Errorf("%s: push.lua returned %d, want 2", name, n)
		}
		c.wantAlice(name+" by push.lua", data)
		publish(c.t, c.db, c.pods[2].channel, to(data, c.bob))
		c.wantBob(name+" by PUBLISH", data)
	}
}

func TestPresenceFollowsTheConnection(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, quick())

	c := dial(t, p, "alice")
	// The entry is there before the welcome.
	if got := entriesOf(t, db, "alice"); got[c.uuid] != p.channel || len(got) != 1 {
		t.Fatalf("presence at the welcome: %v, want %s on %s", got, c.uuid, p.channel)
	}
	ttl, err := strconv.Atoi(r.CLI("PTTL", userKey("alice")))
	if err != nil || ttl > 15000 {
		t.Errorf("the key's TTL is %d ms, want at most presence.ttl: %v", ttl, err)
	}
	if _, port, _ := net.SplitHostPort(p.listen); strings.Contains(c.hello, port) || strings.Contains(c.hello, "127.0.0.1") {
		t.Errorf("the welcome tells of the inside: %s", c.hello)
	}
	if c.welcome.MaxMessage != 64<<10 || c.welcome.Ping != 8 {
		t.Errorf("welcome %+v, want max_message 65536 and ping 8", c.welcome)
	}
	if d := time.Since(time.UnixMilli(c.welcome.Time)); d < -2*time.Second || d > 10*time.Second {
		t.Errorf("welcome's time is %v old", d)
	}

	second := dial(t, p, "alice")
	wantEntries(t, db, "alice", settle, map[string]string{c.uuid: p.channel, second.uuid: p.channel})
	c.leave()
	wantEntries(t, db, "alice", settle, map[string]string{second.uuid: p.channel})
	second.vanish()
	wantEntries(t, db, "alice", settle, nil)
	p.wantMetric("all have left", 0, "pushpod_connections")

	// The pod tells of itself.
	third := dial(t, p, "alice")
	eventually(t, "push:pods:info counts the connection", settle, func() (bool, any) {
		info := p.info(r)
		return info.Connections == 1 && info.Started > 0 && !info.Draining, fmt.Sprintf("%+v", info)
	})
	score := func() string { return r.CLI("ZSCORE", "push:pods", p.channel) }
	before := score()
	eventually(t, "the pod's score moves", settle, func() (bool, any) { now := score(); return now != before, now })
	third.leave()
	wantBooks(t, p, books{})
}
