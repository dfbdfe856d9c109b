package hub

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pushpod/conn"
	"pushpod/presence"
)

// The pieces of an envelope's way: it is read from Redis's bytes, parsed, its targets
// are looked up; then all of it together, to a transport that takes everything. A
// regression shows in its piece.

func BenchmarkParse(b *testing.B) {
	for _, shape := range []string{"to", "user", "all", "by script"} {
		for _, size := range []int{128, 1 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%dB", strings.ReplaceAll(shape, " ", "-"), size), func(b *testing.B) {
				text := usual(size)[shape]
				var e envelope
				b.ReportAllocs()
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					if e.parse(text) != "" {
						b.Fatal("refused")
					}
				}
			})
		}
	}
}

// BenchmarkLookup finds connections in an order that no cache expects.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		if n > 10_000 && testing.Short() {
			b.Skip("a million takes its time")
		}
		g := newRegistry()
		uuids := make([]presence.UUID, n)
		users := make([][]byte, n)
		for i := range n {
			uuids[i] = presence.NewUUID(int64(i))
			users[i] = []byte(voidUser(i))
			g.add(&session{user: string(users[i]), uuid: uuids[i]})
		}
		r := rand.New(rand.NewPCG(1, 1))
		r.Shuffle(n, func(i, j int) { uuids[i], uuids[j] = uuids[j], uuids[i] })
		r.Shuffle(n, func(i, j int) { users[i], users[j] = users[j], users[i] })
		b.Run(fmt.Sprintf("user/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if g.user(users[i%n]) == nil {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprintf("uuid/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if g.uuid(uuids[i%n]) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkWholePath takes messages from Redis's bytes to the transport, in batches as
// large as one read finds them.
func BenchmarkWholePath(b *testing.B) {
	const conns, batches = 10_000, 64
	run := func(name string, batch int, one func(p *voidPod, r *rand.Rand) string) {
		b.Run(name, func(b *testing.B) {
			p := newVoidPod(b, conns, conn.Options{Loops: 1, Settings: conn.Settings{Renew: time.Hour}})
			r := rand.New(rand.NewPCG(1, 1))
			var streams [batches][]byte
			bytes := 0
			for i := range streams {
				for range batch {
					streams[i] = append(streams[i], one(p, r)...)
				}
				bytes += len(streams[i])
			}
			bring := func(i int) {
				if err := p.bring(streams[i%batches]); err != nil {
					b.Fatal(err)
				}
			}
			for i := range 3 * batches { // what is kept is made
				bring(i)
			}
			before := p.server.Stats().Written
			b.ReportAllocs()
			b.SetBytes(int64(bytes / batches))
			for i := 0; b.Loop(); i++ {
				bring(i)
			}
			written := p.server.Stats().Written - before
			if want := uint64(b.N * batch); written != want && written != want*conns {
				b.Fatalf("%d deliveries, want %d to one or to all", written, want)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/message")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(written), "ns/delivery")
			b.ReportMetric(0, "ns/op") // of a batch: is left out
		})
	}
	data := `{"text":"` + strings.Repeat("x", 117) + `"}`
	for _, batch := range []int{1, 100} {
		for _, by := range []string{"user", "to"} {
			for _, kind := range kinds() {
				run(fmt.Sprintf("%s/%s/batch=%d", by, kind.name, batch), batch, func(p *voidPod, r *rand.Rand) string {
					return string(p.appendToOne(nil, p.conns[r.IntN(conns)], by, kind.more, data))
				})
			}
		}
	}
	run("all/conns=10000", 1, func(*voidPod, *rand.Rand) string {
		return message("push:all", `{"all":true,"data":`+data+`}`)
	})
}

// kind is what an envelope holds besides its target and its data.
type kind struct{ name, more string }

func kinds() []kind {
	return []kind{{"plain", ``}, {"at", `,"at":1700000000000`}, {"id", `,"id":"m-1"`}, {"at-and-id", `,"at":1700000000000,"id":"m-1"`}}
}
