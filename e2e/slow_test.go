package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// overrun publishes numbered messages of 16 KiB to a sleeper and to a reader,
// who gets each at once, until enough says so, and returns how many there were.
func overrun(t *testing.T, p *pod, db *redis.Client, sleeper, reader *client, enough func() bool) int {
	t.Helper()
	padding := strings.Repeat("x", 16<<10)
	for n := range 3000 {
		data := fmt.Sprintf(`{"n":%d,"padding":%q}`, n, padding)
		publish(t, db, p.channel, to(data, sleeper, reader))
		reader.wantMessage("others get theirs while one sleeps", data)
		if n%10 == 9 && enough() {
			return n + 1
		}
	}
	t.Fatal("3,000 messages of 16 KiB to a client that does not read, and nothing came of it")
	return 0
}

// numbered reads the numbers of messages that overrun sent.
func numbered(t *testing.T, texts []string) []int {
	t.Helper()
	var all []int
	for _, s := range texts {
		var f struct{ Data struct{ N int } }
		if err := json.Unmarshal([]byte(s), &f); err != nil {
			t.Fatalf("message %s: %v", short(s), err)
		}
		all = append(all, f.Data.N)
	}
	return all
}

// lost reports whether the pod has given up on a message.
func lost(t *testing.T, p *pod) bool {
	t.Helper()
	all, err := p.scrape()
	if err != nil {
		t.Fatal(err)
	}
	b := readBooks(all)
	return b.closed+b.dropped+b.misses > 0
}

func TestSlowConsumerIsDisconnected(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, patient().with("conn.queue_bytes", "64KiB"))
	slow, reader := dial(t, p, "slow", sleeper()), dial(t, p, "reader")
	sent := overrun(t, p, db, slow, reader, func() bool { return lost(t, p) })
	slow.read() // what the socket holds comes first
	messages, closed := slow.wantClosed("overrun", 1013, settle)
	t.Logf("%d of %d messages, then told to come back in %d ms", len(messages), sent, retryMillis(t, closed.reason))
	var texts []string
	for _, m := range messages {
		texts = append(texts, m.text)
	}
	for i, n := range numbered(t, texts) {
		if n != i {
			t.Fatalf("message %d is number %d: before it was cut off, nothing may be missing", i, n)
		}
	}
	wantEntries(t, db, "slow", settle, nil)
	reader.check("not disturbed")
	eventually(t, "the books balance", 5*time.Second, func() (bool, any) {
		all, err := p.scrape()
		if err != nil {
			return false, err
		}
		b := readBooks(all)
		return b.published == sent && b.targets() == 2*sent && b.written == len(texts)+sent, fmt.Sprintf("%+v", b)
	})

	// Back again, it is served like anybody.
	back := dial(t, p, "slow")
	publish(t, db, p.channel, to(`"welcome back"`, back))
	back.wantMessage("back again", `"welcome back"`)
}

// A slow consumer that never wakes is cut off all the same.
func TestSlowConsumerThatNeverReads(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, patient().with("conn.queue_bytes", "64KiB"))
	slow, reader := dial(t, p, "slow", sleeper()), dial(t, p, "reader")
	sent := overrun(t, p, db, slow, reader, func() bool { return lost(t, p) })
	wantEntries(t, db, "slow", 5*time.Second+slack, nil)
	p.wantMetric("only the reader is left", 1, "pushpod_connections")
	reader.check("not disturbed")
	all, err := p.scrape()
	if err != nil {
		t.Fatal(err)
	}
	if b := readBooks(all); b.published != sent || b.targets() != 2*sent {
		t.Errorf("books %+v, want %d published, %d targets", b, sent, 2*sent)
	}
}

func TestSlowConsumerLosesMessages(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"drop_newest", "drop_oldest"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			db := r.Client()
			p := startPod(t, r, patient().with("conn.queue_bytes", "256KiB", "conn.slow_consumer", policy))
			slow, reader := dial(t, p, "slow", sleeper()), dial(t, p, "reader")
			sent := overrun(t, p, db, slow, reader, func() bool {
				return p.metric("pushpod_deliveries_total", "result", "dropped") >= 10
			})
			slow.read()
			var texts []string
			for {
				f, ok := slow.take(time.Second, pings)
				if !ok {
					break
				}
				if f.err != nil || f.opcode != opText {
					t.Fatalf("got %v, want messages", f)
				}
				texts = append(texts, f.text)
			}
			got := numbered(t, texts)
			for i := range got[1:] {
				if got[i+1] <= got[i] {
					t.Fatalf("number %d behind %d: out of order or doubled", got[i+1], got[i])
				}
			}
			lost := sent - len(got)
			if got[0] != 0 || lost < 10 {
				t.Errorf("got %d of %d messages, the first number %d", len(got), sent, got[0])
			}
			if last := got[len(got)-1]; policy == "drop_oldest" && last != sent-1 {
				t.Errorf("the last is number %d, want the newest, %d", last, sent-1)
			}
			if policy == "drop_newest" {
				for i, n := range got {
					if n != i {
						t.Errorf("number %d in place %d: the newest are dropped, not those that wait", n, i)
						break
					}
				}
			}
			wantBooks(t, p, books{published: sent, written: sent + len(got), dropped: lost})

			publish(t, db, p.channel, to(`"again"`, slow))
			slow.wantMessage("awake again", `"again"`)
		})
	}
}

// Many that never read do not keep anybody else waiting.
func TestSleepersDoNotDelayOthers(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, patient().with("conn.queue_bytes", "32KiB", "conn.slow_consumer", "drop_newest"))
	var asleep []*client
	for range 20 {
		asleep = append(asleep, dial(t, p, "asleep", sleeper()))
	}
	reader := dial(t, p, "reader")
	data := `"` + strings.Repeat("x", 48<<10) + `"`
	var slowest time.Duration
	for range 100 {
		publish(t, db, p.channel, to(data, append(asleep, reader)...))
		start := time.Now()
		reader.wantMessage("beside the sleepers", data)
		slowest = max(slowest, time.Since(start))
	}
	t.Logf("the slowest of 100 pushes took %v beside %d sleepers", slowest.Round(time.Microsecond), len(asleep))
	all, err := p.scrape()
	if err != nil {
		t.Fatal(err)
	}
	if b := readBooks(all); b.published != 100 || b.written < 100 {
		t.Errorf("books %+v", b)
	}
	for _, c := range asleep {
		c.vanish()
	}
	wantEntries(t, db, "asleep", settle, nil)
}
