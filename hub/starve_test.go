package hub

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pushpod/conn"
	"pushpod/internal/redistest"
)

// starve has one client send requests as large as they may be, more than a Redis with so
// much memory could hold, while others connect and are renewed.
func starve(t *testing.T, maxMemory, maxBytes, total int) {
	t.Helper()
	const size, atOnce, settled = 64 << 10, 64, 8
	p := startPod(t, set{
		redis: []string{"--maxmemory", strconv.Itoa(maxMemory), "--maxmemory-policy", "noeviction"},
		hub:   func(o *Options) { o.UplinkMaxBytes = int64(maxBytes) },
		conn:  func(o *conn.Options) { o.Settings.MaxMessage, o.Settings.Renew = size, testProbe },
	})
	greedy, data := p.connect("greedy"), `"`+strings.Repeat("x", size-100)+`"`
	most, rounds := int64(0), total/size/atOnce
	for round := range rounds {
		for i := range atOnce {
			greedy.request(fmt.Sprint(round, " ", i), data)
		}
		for range atOnce {
			if id, why := greedy.receipt(); why != "" {
				t.Fatalf("round %d of %d: request %s: %s", round, rounds, id, why)
			}
		}
		if round%(max(1, rounds/settled)) == 0 {
			user := fmt.Sprint("user", round)
			if c := p.connect(user); p.entries(user)[c.uuid] != p.channel {
				t.Fatalf("%s is not present", user)
			}
		}
		info := p.redis.CLI("INFO", "memory")
		_, used, _ := strings.Cut(info, "used_memory:")
		used, _, _ = strings.Cut(used, "\r")
		n, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, n)
	}
	p.wantReady()
	if stats := p.opts.Presence.Err(); stats != nil {
		t.Error(stats)
	}
	stream, _ := p.admin.MemoryUsage(context.Background(), p.keys.Uplink(), 0).Result()
	if stream > int64(maxBytes)*11/10 {
		t.Errorf("the stream takes %d bytes, of %d that it may", stream, maxBytes)
	}
	t.Logf("%d MiB were sent; the stream takes %.1f MiB, Redis took up to %.1f of %d MiB", total>>20, float64(stream)/(1<<20), float64(most)/(1<<20), maxMemory>>20)
}

func TestOneClientDoesNotStarvePresence(t *testing.T) {
	t.Parallel()
	starve(t, 16<<20, 4<<20, 32<<20)
}

// As large as people have it: the default configuration, and a Redis with 256 MB.
func TestFaultsOneClientDoesNotStarvePresence(t *testing.T) {
	redistest.Faults(t)
	starve(t, 256<<20, 64<<20, 1<<30)
}
