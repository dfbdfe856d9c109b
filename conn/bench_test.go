package conn

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// The way of a message, from the Deliverer to sockets that cost nothing. Its pieces
// are measured in wire and sendq. Nothing here may allocate.

var (
	benchHead = []byte(`{"type":"message","data":`)
	benchBody = bytes.Repeat([]byte("x"), 128)
	benchTail = []byte("}")
)

// BenchmarkPush takes messages for one connection each all the way, in batches of
// what a reader finds at once.
func BenchmarkPush(b *testing.B) {
	for _, batch := range []int{1, 16, 1024} {
		for _, plain := range []bool{true, false} {
			kind := "plain"
			if !plain {
				kind = "message"
			}
			b.Run(fmt.Sprintf("%s/batch=%d", kind, batch), func(b *testing.B) {
				s, all := voidServer(b, 10_000, Options{})
				d := s.NewDeliverer()
				at := time.Now().UnixMilli()
				push := func(i int) {
					c := all[i*7919%len(all)]
					if plain {
						d.Plain(c, at, benchHead, benchBody, benchTail)
					} else {
						send(d, Push{At: at}, benchBody, c)
					}
					if i%batch == 0 {
						flushAll(d)
					}
				}
				for i := range 3 * len(all) { // what is kept is made
					push(i)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					push(i)
				}
			})
		}
	}
}

// BenchmarkBroadcast takes messages to everyone all the way.
func BenchmarkBroadcast(b *testing.B) {
	const conns = 10_000
	for _, burst := range []int{1, 100} {
		b.Run(fmt.Sprintf("burst=%d", burst), func(b *testing.B) {
			s, _ := voidServer(b, conns, Options{})
			d := s.NewDeliverer()
			sendAll := func() {
				for range burst {
					send(d, Push{}, benchBody)
				}
				flushAll(d)
			}
			for range 10 { // what is kept is made
				sendAll()
			}
			b.ReportAllocs()
			for b.Loop() {
				sendAll()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(conns*burst), "ns/delivery")
			b.ReportMetric(0, "ns/op") // is of no interest: it is left out
		})
	}
}
