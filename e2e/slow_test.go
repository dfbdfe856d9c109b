package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
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

// numbered reads the numbers of the messages that overrun sent.
func numbered(t *testing.T, messages []received) []int {
	t.Helper()
	var all []int
	for _, m := range messages {
		var f struct{ Data struct{ N int } }
		if err := json.Unmarshal([]byte(m.text), &f); err != nil {
			t.Fatalf("message %v: %v", m, err)
		}
		all = append(all, f.Data.N)
	}
	return all
}

func TestSlowConsumerIsDisconnected(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, patient().with("conn.queue_bytes", "64KiB"))
	slow, reader := dial(t, p, "slow", sleeper()), dial(t, p, "reader")
	sent := overrun(t, p, db, slow, reader, func() bool {
		return p.metric("pushpod_deliveries_total")+p.metric("pushpod_misses_total") > p.metric("pushpod_deliveries_total", "result", "written")
	})
	slow.read() // what the socket holds comes first
	messages, closed := slow.wantClosed("overrun", 1013, settle)
	t.Logf("%d of %d messages, then told to come back in %d ms", len(messages), sent, retryMillis(t, closed.reason))
	for i, n := range numbered(t, messages) {
		if n != i {
			t.Fatalf("message %d is number %d: before it was cut off, nothing may be missing", i, n)
		}
	}
	wantEntries(t, db, "slow", settle, nil)
	reader.check("not disturbed")
	eventually(t, "the books balance", 5*time.Second, func() (bool, any) {
		all, err := p.scrape()
		b := readBooks(all)
		return err == nil && b.published == sent && b.targets() == 2*sent && b.written == len(messages)+sent, fmt.Sprintf("%+v", b)
	})

	// Back again, it is served like anybody.
	back := dial(t, p, "slow")
	publish(t, db, p.channel, to(`"welcome back"`, back))
	back.wantMessage("back again", `"welcome back"`)
}

// conn has what each policy keeps; here it is seen that the settings choose it.
func TestSlowConsumerLosesMessages(t *testing.T) {
	t.Parallel()
	for policy, newestStays := range map[string]bool{"drop_newest": false, "drop_oldest": true} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			p := startPod(t, r, patient().with("conn.queue_bytes", "256KiB", "conn.slow_consumer", policy))
			slow, reader := dial(t, p, "slow", sleeper()), dial(t, p, "reader")
			sent := overrun(t, p, asProducer(r), slow, reader, func() bool {
				return p.metric("pushpod_deliveries_total", "result", "dropped") >= 10
			})
			slow.read()
			var messages []received
			for f, ok := slow.take(time.Second, pings); ok; f, ok = slow.take(time.Second, pings) {
				messages = append(messages, f)
			}
			got := numbered(t, messages)
			last := got[len(got)-1]
			if !slices.IsSorted(got) || got[0] != 0 || (last == sent-1) != newestStays || (last == len(got)-1) == newestStays {
				t.Errorf("got %d of %d messages: %v", len(got), sent, got)
			}
			wantBooks(t, p, books{published: sent, written: sent + len(got), dropped: sent - len(got)})
			slow.check("awake again")
		})
	}
}
