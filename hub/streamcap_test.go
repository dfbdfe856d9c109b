package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pushpod/internal/loglimit"
	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// kept is a stream that is cut after each entry, as Redis does.
type kept struct {
	sizes []int64
	bytes int64
}

func (k *kept) add(c *streamCap, bytes int64) {
	k.sizes = append(k.sizes, bytes)
	k.bytes += bytes
	for n := c.add(bytes); int64(len(k.sizes)) > n; k.sizes = k.sizes[1:] {
		k.bytes -= k.sizes[0]
	}
}

// Whatever sizes come after one another, there is about as much as there may be, once
// there was enough.
func TestTheStreamIsAsLargeAsItMayBe(t *testing.T) {
	const maxLength, maxBytes = 10_000, 1 << 20
	random := rand.New(rand.NewPCG(1, 7))
	for name, size := range map[string]func(i int) int64{
		"small":              func(int) int64 { return 50 }, // bound by the length
		"large":              func(int) int64 { return 20_000 },
		"larger than all":    func(int) int64 { return maxBytes + 1 },
		"any":                func(int) int64 { return 1 + random.Int64N(30_000) },
		"small, then large":  func(i int) int64 { return []int64{100, 20_000}[min(1, i/20_000)] },
		"large, then small":  func(i int) int64 { return []int64{20_000, 100}[min(1, i/2_000)] },
		"by turns, for long": func(i int) int64 { return []int64{100, 20_000}[i/5_000%2] },
		"by turns":           func(i int) int64 { return []int64{100, 20_000}[i%2] },
	} {
		c, stream := &streamCap{caps: caps{maxLength, maxBytes}}, &kept{}
		most, added, total := int64(0), 0, int64(0)
		for i := range 40_000 {
			s := size(i)
			stream.add(c, s)
			added, total = added+1, total+s
			most = max(most, stream.bytes)
			if len(stream.sizes) > maxLength {
				t.Fatalf("%s: %d entries", name, len(stream.sizes))
			}
			// Not before it may.
			if enough := len(stream.sizes) > maxLength*95/100 || stream.bytes > maxBytes*95/100; len(stream.sizes) < added && !enough && len(stream.sizes) > 1 {
				t.Fatalf("%s: after %d entries of %d bytes only %d of %d bytes are kept", name, added, total, len(stream.sizes), stream.bytes)
			}
		}
		if most > maxBytes*102/100 && name != "larger than all" {
			t.Errorf("%s: up to %d bytes are kept", name, most)
		}
	}
	c := streamCap{caps: caps{maxLength: 7}}
	if n := c.add(1 << 30); n != 7 {
		t.Errorf("without a bound %d may be kept", n)
	}
}

// Held against what Redis says of its memory.
func TestTheStreamTakesAboutWhatItMay(t *testing.T) {
	t.Parallel()
	const maxBytes = 4 << 20
	r := redistest.Start(t)
	c := r.Client()
	for _, size := range []int{1, 100, 1000, 1500, 3000, 5000, 20_000, 65_000} {
		u := newUplink(&Options{Pod: testPod, Keys: presence.NewKeys(fmt.Sprint("size", size, ":")), Uplink: redisconn.Of(c), Settings: Settings{UplinkMaxLength: 1 << 30, UplinkMaxBytes: maxBytes}}, new(loglimit.Line))
		data := []byte(strings.Repeat("x", size))
		for added := 0; added < 2*maxBytes; {
			pipe := c.Pipeline()
			for range min(512, 1+maxBytes/size/4) {
				_, cmd := u.command(t.Context(), &uplinked{s: &session{user: "alice"}, id: []byte(`"some id"`), data: data})
				_ = pipe.Process(t.Context(), cmd)
				added += size + 150
			}
			if _, err := pipe.Exec(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		used, err := c.Do(context.Background(), "MEMORY", "USAGE", u.stream, "SAMPLES", "0").Int64()
		if err != nil {
			t.Fatal(err)
		}
		if used > maxBytes*12/10 || used < maxBytes*6/10 {
			t.Errorf("entries of %d bytes: the stream takes %d bytes, of %d that it may", size, used, maxBytes)
		}
		t.Logf("entries of %d bytes: %d of them take %.2f of what they may", size, c.XLen(context.Background(), u.stream).Val(), float64(used)/maxBytes)
	}
}
