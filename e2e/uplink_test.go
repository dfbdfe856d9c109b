package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// uplink returns the entries of push:uplink, as a backend reads them.
func uplink(t testing.TB, r *redistest.Server) []redis.XMessage {
	t.Helper()
	db := r.ClientAs(backend, passwordOf(backend))
	defer db.Close()
	all, err := db.XRange(t.Context(), "push:uplink", "-", "+").Result()
	if err != nil {
		t.Fatalf("XRANGE: %v", err)
	}
	return all
}

func TestRequestsReachTheStream(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	c := dial(t, p, "alice")
	n := 0
	for name, data := range oddData() {
		id := fmt.Sprintf("r-%d", n)
		c.request(name, id, data)
		n++
		all := uplink(t, r) // the receipt comes only once Redis has it
		if len(all) != n {
			t.Fatalf("%s: %d entries at the receipt, want %d", name, len(all), n)
		}
		want := map[string]any{"user": "alice", "uuid": c.uuid, "pod": p.channel, "id": id, "data": data}
		for field, value := range want {
			if got := all[n-1].Values[field]; got != value {
				t.Errorf("%s: field %s is %s, want %s", name, field, short(fmt.Sprint(got)), short(fmt.Sprint(value)))
			}
		}
	}
	c.say(`{"type":"fly","id":"x"}`)
	c.wantReceipt("a bad frame", "x", "rejected", "unknown_type")
	if n := len(uplink(t, r)); n != len(oddData()) {
		t.Errorf("%d entries in the stream, want %d", n, len(oddData()))
	}
	wantBooks(t, p, books{})
}

func TestUplinkStaysWithinItsSize(t *testing.T) {
	t.Parallel()
	const requests, size, room = 60, 60_000, 1 << 20
	r := startRedis(t)
	p := startPod(t, r, quick().with("uplink.max_bytes", "1MiB"))
	c := dial(t, p, "alice")
	for i := range requests {
		c.request("large", fmt.Sprint(i), quote(strings.Repeat("x", size)))
		time.Sleep(25 * time.Millisecond) // limits.frames_per_second
	}
	if n := len(uplink(t, r)); n < room/size/2 || n > room/size {
		t.Errorf("%d requests of %d bytes are kept in %d", n, size, room)
	}
	c.check("in the end")
}

func TestUplinkIsCapped(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--stream-node-max-entries", "10")
	p := startPod(t, r, quick().with("uplink.max_length", "100", "limits.frames_per_second", "0"))
	c := dial(t, p, "alice")
	for i := range 300 {
		c.request("many", fmt.Sprint(i), `0`)
	}
	all := uplink(t, r)
	if len(all) > 200 || len(all) < 100 {
		t.Errorf("%d entries, want about uplink.max_length, 100", len(all))
	}
	if last := all[len(all)-1].Values["id"]; last != "299" {
		t.Errorf("the last entry is %v, want the newest", last)
	}
}

func TestTooManyFrames(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("limits.frames_per_second", "5"))
	c := dial(t, p, "alice")
	c.request("within the limit", "first", `1`)
	for range 200 {
		if c.trySend(text(`{"type":"request","id":"x","data":1}`)) != nil {
			break
		}
	}
	messages, closed := c.wantClosed("too many requests", 1008, settle)
	rejected := 0
	for _, m := range messages {
		switch {
		case strings.Contains(m.text, `"rejected"`) && strings.Contains(m.text, `"error":"rate"`):
			rejected++
		case !strings.Contains(m.text, `"accepted"`):
			t.Errorf("got %v, want receipts", m)
		}
	}
	if rejected == 0 || !strings.Contains(closed.reason, "rate") {
		t.Errorf("%d rejected for rate, then %v; receipts must say rate first", rejected, closed)
	}
}
