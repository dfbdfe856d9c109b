package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// secret stands in the data of bad envelopes: it must not get into the log.
const secret = "zq-secret-zq"

// A bad envelope of each kind is counted and dropped, and the next one is delivered.
// hub/envelope_test.go and internal/json have the cases of each kind.
func TestBadEnvelopes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, quick().with("redis.max_envelope", "128KiB"))
	c := dial(t, p, "alice")
	bad := []string{
		``, `[]`, `{"to":"U","data":nan}`, "{\"to\":\"U\",\"data\":\"\xff\"}", `{"data":1}`, `{"to":"U"}`, `{"to":"X","data":1}`, `{"to":"U","close":{"code":1000}}`,
		`{"to":"U","data":"` + secret + `" `, `{"unknown":"` + secret + `"}`, `{"data":"` + secret + `"}`,
		`{"to":"U","data":"` + strings.Repeat("x", 128<<10) + `"}`,
	}
	for i, envelope := range bad {
		publish(t, db, p.channel, strings.ReplaceAll(envelope, `"U"`, `"`+c.uuid+`"`))
		publish(t, db, p.channel, to(fmt.Sprint(i), c))
		c.wantMessage("behind the bad envelope "+short(envelope), fmt.Sprint(i))
	}
	largest := `"` + strings.Repeat("x", 128<<10-len(to(`""`, c))) + `"`
	publish(t, db, p.channel, to(largest, c))
	c.wantMessage("as large as redis.max_envelope", largest)
	wantBooks(t, p, books{published: 2*len(bad) + 1, bad: len(bad), written: len(bad) + 1})

	log := p.stderr.String() + p.stdout.String()
	if strings.Contains(log, secret) {
		t.Error("the log holds the data of a bad envelope")
	}
	if !strings.Contains(log, "envelope") || !strings.Contains(log, "unknown") {
		t.Error("the log says nothing of bad envelopes, or of unknown members")
	}
	p.wantMetric("unknown members", 1, "pushpod_envelopes_unknown_members_total")
}

// A bad envelope a thousand times is not a thousand lines.
func TestBadEnvelopesDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, quick())
	before := strings.Count(p.stderr.String()+p.stdout.String(), "\n")
	start := time.Now()
	pipe := db.Pipeline()
	for range 2000 {
		pipe.Publish(t.Context(), p.channel, `{"bad"`)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantBooks(t, p, books{published: 2000, bad: 2000})
	lines := strings.Count(p.stderr.String()+p.stdout.String(), "\n") - before
	if seconds := int(time.Since(start).Seconds()) + 1; lines == 0 || lines > 20*seconds {
		t.Errorf("%d lines of log for 2,000 bad envelopes in %d s, want a few a second", lines, seconds)
	}
}

// redisNow is Redis's clock in Unix milliseconds, by which expiry is judged.
func redisNow(t testing.TB, r *redis.Client) int64 {
	t.Helper()
	now, err := r.Time(t.Context()).Result()
	if err != nil {
		t.Fatalf("TIME: %v", err)
	}
	return now.UnixMilli()
}

func TestExpiredMessages(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, quick())
	c, bob := dial(t, p, "alice"), dial(t, p, "bob")
	now := redisNow(t, db)
	publish(t, db, p.channel, fmt.Sprintf(`{"to":[%q,%q],"data":"late","expires":%d}`, c.uuid, bob.uuid, now-5000))
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"data":"long ago","expires":100000000000}`, c.uuid))
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"data":"in time","expires":%d,"at":%d}`, c.uuid, now+60_000, now))
	c.wantMessage("expires in a minute", `"in time"`)
	bob.wantNothing("expired", 50*time.Millisecond)
	wantBooks(t, p, books{published: 3, written: 1, expired: 3})
	p.wantMetric("what is written has a latency", 1, "pushpod_publish_to_write_seconds_count")
	if latency := p.metric("pushpod_publish_to_write_seconds_sum"); latency < 0 || latency > 20 {
		t.Errorf("the latency is %v s", latency)
	}
}

// What waits is replaced by what collapses with it, and is not written once it has expired.
func TestCollapse(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, patient().with("conn.queue_bytes", "1MiB"))
	c, reader := dial(t, p, "alice", sleeper()), dial(t, p, "alice")
	n := jam(t, p, db, c)
	push := func(data, key string) {
		t.Helper()
		publish(t, db, p.channel, fmt.Sprintf(`{"user":"alice","data":%s,"collapse":%q}`, data, key))
		reader.wantMessage("where nothing waits: "+data, data)
	}
	push(`1`, "k")
	push(`"other"`, "other")
	push(`2`, "k")
	push(`3`, "k")
	publish(t, db, p.channel, to(`"without a key"`, c))
	push(`4`, "k")
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"data":"too late","expires":%d}`, c.uuid, redisNow(t, db)+500))
	publish(t, db, p.channel, to(`"last"`, c))
	time.Sleep(time.Second)
	c.read()
	for range n {
		c.wantText("what jammed it")
	}
	c.wantMessage("the newest takes the place of the first", `4`)
	c.wantMessage("another key", `"other"`)
	c.wantMessage("no key", `"without a key"`)
	c.wantMessage("behind what expired while it waited", `"last"`)
	wantBooks(t, p, books{published: n + 8, written: n + 4 + 5, collapsed: 3, expired: 1})
}

// jam publishes to a sleeper until messages wait in its queue, and returns how
// many it took.
func jam(t *testing.T, p *pod, db *redis.Client, c *client) int {
	t.Helper()
	filler := to(`"`+strings.Repeat("x", 32<<10)+`"`, c)
	before := p.metric("pushpod_deliveries_total", "result", "written")
	for n := 1; n <= 1000; n++ {
		publish(t, db, p.channel, filler)
		// Time enough to write it, if the socket takes it.
		for range 10 {
			if p.metric("pushpod_deliveries_total", "result", "written")-before >= float64(n) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if written := int(p.metric("pushpod_deliveries_total", "result", "written") - before); written <= n-2 {
			return n
		}
	}
	t.Fatal("1,000 messages of 32 KiB to a client that does not read, and none waits")
	return 0
}

func TestProducerCloses(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, quick())
	one, two, other := dial(t, p, "alice"), dial(t, p, "alice"), dial(t, p, "bob")
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"close":{"reason":"because of é","code":4500},"data":"last words"}`, one.uuid))
	one.wantMessage("data comes first", `"last words"`)
	if f := one.wantClose("with data", 4500); f.reason != "because of é" {
		t.Errorf("reason %q", f.reason)
	}
	one.wantEnd("closed", 5*time.Second+slack)
	wantEntries(t, db, "alice", settle, map[string]string{two.uuid: p.channel})

	three, longest := dial(t, p, "alice"), strings.Repeat("r", 123)
	publish(t, db, p.channel, fmt.Sprintf(`{"user":"alice","close":{"code":4321,"reason":%q}}`, longest))
	for _, c := range []*client{two, three} {
		if f := c.wantClose("without data", 4321); f.reason != longest {
			t.Errorf("reason %q, want %q", f.reason, longest)
		}
		c.wantEnd("closed", 5*time.Second+slack)
	}
	other.check("not closed")
	wantEntries(t, db, "alice", settle, nil)
	p.wantMetric("only bob is left", 1, "pushpod_connections")
	p.wantMetric("no envelope was bad", 0, "pushpod_envelopes_total", "result", "bad")
}
