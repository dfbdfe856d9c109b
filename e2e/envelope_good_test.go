package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisNow is Redis's clock in Unix milliseconds, by which expiry is judged.
func redisNow(t testing.TB, r *redis.Client) int64 {
	t.Helper()
	now, err := r.Time(t.Context()).Result()
	if err != nil {
		t.Fatalf("TIME: %v", err)
	}
	return now.UnixMilli()
}

func TestGoodEnvelopes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick().with("redis.max_envelope", "128KiB"))
	alice, second, bob := dial(t, p, "alice"), dial(t, p, "alice"), dial(t, p, "bob")
	names := strings.NewReplacer("A1", quote(alice.uuid), "A2", quote(second.uuid), "B", quote(bob.uuid))
	want := books{}
	for _, test := range []struct {
		envelope string
		data     string
		to       []*client
	}{
		{`{"to":A1,"data":1}`, `1`, []*client{alice}},
		{`{"to":[A1,B,A1],"of":"alice","data":1}`, `1`, []*client{alice, bob}},
		{`{"user":["bob","alice","bob"],"data":null}`, `null`, []*client{alice, second, bob}},
		{`{"to":A1,"user":"alice","all":true,"data":1}`, `1`, []*client{alice, second, bob}},
		{" \r\n\t{ \"data\" :\n[ 1 ]\t, \"t\\u006f\" : [ A1 , A2 ] } \n", `[ 1 ]`, []*client{alice, second}},
		{`{"unknown":{"to":[],"data":null},"To":5,"DATA":2,"to":B,"data":1,"":null,"unknown":1}`, `1`, []*client{bob}},
		{`{"to":B,"data":"\ud800 \u0000","id":"x","at":0,"expires":9007199254740991,"collapse":"k"}`, `"\ud800 \u0000"`, []*client{bob}},
	} {
		envelope := names.Replace(test.envelope)
		publish(t, db, p.channel, envelope)
		want.published++
		for _, c := range test.to {
			c.wantMessage(envelope, test.data)
			want.written++
		}
		// What follows shows that nobody got it twice, and nobody else.
		publish(t, db, p.channel, `{"all":true,"data":"mark"}`)
		want.published++
		for _, c := range []*client{alice, second, bob} {
			c.wantMessage("behind "+envelope, `"mark"`)
			want.written++
		}
	}

	// The largest, to the byte.
	envelope := to(`""`, alice)
	data := `"` + strings.Repeat("x", 128<<10-len(envelope)) + `"`
	publish(t, db, p.channel, to(data, alice))
	alice.wantMessage("as large as redis.max_envelope", data)
	want.published++
	want.written++
	wantBooks(t, p, want)
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick())
	c := dial(t, p, "alice")
	ids := []string{"x", strings.Repeat("x", 256), "a \"b\" \\ c\n\u2028 😀", "</script>"}
	for _, id := range ids {
		publish(t, db, p.channel, fmt.Sprintf(`{"id":%s,"to":%q,"data":1}`, quote(id), c.uuid))
		if m := c.wantMessage("with an id", `1`); m.ID == nil || *m.ID != id {
			t.Errorf("id %q, want %q", deref(m.ID), id)
		}
	}
	publish(t, db, p.channel, to(`1`, c))
	if m := c.wantMessage("without an id", `1`); m.ID != nil {
		t.Errorf("id %q where none was given", *m.ID)
	}
}

func TestExpiredMessages(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick())
	c, bob := dial(t, p, "alice"), dial(t, p, "bob")
	now := redisNow(t, db)
	publish(t, db, p.channel, fmt.Sprintf(`{"to":[%q,%q],"data":"late","expires":%d}`, c.uuid, bob.uuid, now-5000))
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"data":"long ago","expires":100000000000}`, c.uuid))
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"data":"in time","expires":%d}`, c.uuid, now+60_000))
	c.wantMessage("expires in a minute", `"in time"`)
	bob.wantNothing("expired", 50*time.Millisecond)
	wantBooks(t, p, books{published: 3, written: 1, expired: 3})
}

func TestExpiryInTheQueue(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, patient().with("conn.queue_bytes", "1MiB"))
	c := dial(t, p, "alice", sleeper())
	n := jam(t, p, db, c)
	expires := redisNow(t, db) + 500
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"data":"too late","expires":%d}`, c.uuid, expires))
	publish(t, db, p.channel, to(`"last"`, c))
	time.Sleep(time.Second)
	c.read()
	for range n {
		c.wantText("what jammed it")
	}
	c.wantMessage("expired while it waited", `"last"`)
	wantBooks(t, p, books{published: n + 2, written: n + 1, expired: 1})
}

func TestCollapse(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
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
	c.read()
	for range n {
		c.wantText("what jammed it")
	}
	c.wantMessage("the newest takes the place of the first", `4`)
	c.wantMessage("another key", `"other"`)
	c.wantMessage("no key", `"without a key"`)
	c.wantNothing("collapsed", 50*time.Millisecond)
	wantBooks(t, p, books{published: n + 6, written: n + 3 + 5, collapsed: 3})
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
	db := r.Client()
	p := startPod(t, r, quick())
	for _, code := range []int{4000, 4500, 4501, 4100, 4300, 4499, 4600, 4999} {
		c := dial(t, p, "alice")
		reason := fmt.Sprintf("because of é %d", code)
		publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"close":{"reason":%q,"code":%d},"data":"last words"}`, c.uuid, reason, code))
		c.wantMessage("data comes first", `"last words"`)
		if f := c.wantClose("with data", code); f.reason != reason {
			t.Errorf("reason %q, want %q", f.reason, reason)
		}
		c.wantEnd("closed", 5*time.Second+slack)
	}
	wantEntries(t, db, "alice", settle, nil)

	// Without data; several at once, but only the user's own.
	one, two, other := dial(t, p, "alice"), dial(t, p, "alice"), dial(t, p, "bob")
	longest := strings.Repeat("r", 123)
	publish(t, db, p.channel, fmt.Sprintf(`{"user":"alice","close":{"code":4321,"reason":%q}}`, longest))
	for _, c := range []*client{one, two} {
		if f := c.wantClose("without data", 4321); f.reason != longest {
			t.Errorf("reason %q, want %q", f.reason, longest)
		}
		c.wantEnd("closed", 5*time.Second+slack)
	}
	other.check("not closed")
	wantEntries(t, db, "alice", settle, nil)
	p.wantMetric("only bob is left", 1, "pushpod_connections")

	// A peer that never answers the close frame is cut off.
	silent := dial(t, p, "alice", mute())
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"close":{"code":4100,"reason":"x"}}`, silent.uuid))
	closed := silent.wantClose("a mute peer", 4100)
	end := silent.wantEnd("a mute peer", 5*time.Second+slack)
	if took := end.at.Sub(closed.at); took > 5*time.Second+slack {
		t.Errorf("TCP ended %v after the close frame, want at most 5 s", took)
	}
	wantEntries(t, db, "alice", settle, nil)
	if bad := p.metric("pushpod_envelopes_total", "result", "bad"); bad != 0 {
		t.Errorf("%v envelopes were bad", bad)
	}
}

func TestPublishToWriteLatency(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick())
	c := dial(t, p, "alice")
	publish(t, db, p.channel, to(`"no at"`, c))
	c.wantMessage("without at", `"no at"`)
	publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"data":1,"at":%d}`, c.uuid, redisNow(t, db)))
	c.wantMessage("with at", `1`)
	luaPush(t, r, "alice", `2`) // sets it
	c.wantMessage("by push.lua", `2`)
	p.wantMetric("messages with at", 2, "pushpod_publish_to_write_seconds_count")
	if sum := p.metric("pushpod_publish_to_write_seconds_sum"); sum < 0 || sum > 20 {
		t.Errorf("two latencies add up to %v s", sum)
	}
}

// A message larger than the queue is written where the queue is empty.
func TestMessageLargerThanTheQueue(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("conn.queue_bytes", "16KiB"))
	c := dial(t, p, "alice")
	data := `"` + strings.Repeat("y", 900<<10) + `"`
	publish(t, r.Client(), p.channel, to(data, c))
	c.wantMessage("larger than conn.queue_bytes", data)
	c.check("it stays")
	wantBooks(t, p, books{published: 1, written: 1})
}
