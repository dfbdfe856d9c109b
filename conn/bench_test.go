package conn

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// The pieces of the hot path: a frame is encoded, queued, and flushed; then all of
// it together. A regression shows in its piece. Nothing here may allocate.

var (
	benchHead = []byte(`{"type":"message","data":`)
	benchBody = bytes.Repeat([]byte("x"), 128)
)

func BenchmarkFrame(b *testing.B) {
	for _, size := range []int{100, 1_000, 100_000} {
		b.Run(fmt.Sprintf("header/%dB", size), func(b *testing.B) {
			dst := make([]byte, 0, maxHeaderSize)
			b.ReportAllocs()
			for b.Loop() {
				dst = appendHeader(dst[:0], opText, size)
			}
		})
	}
	for _, size := range []int{16, 128, 1 << 10, 16 << 10} {
		b.Run(fmt.Sprintf("text/%dB", size), func(b *testing.B) {
			body := bytes.Repeat([]byte("x"), size)
			dst := make([]byte, 0, size+len(benchHead)+1+maxHeaderSize)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				dst = appendText(dst[:0], benchHead, body, '}')
			}
		})
	}
}

// emptied runs fill and then, untimed, empties all queues. It reports the time of one
// of the n things that fill does.
func emptied(b *testing.B, s *Server, n int, unit string, fill func()) {
	l := s.loops[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	empty := func() {
		for _, c := range l.slots {
			if c.out != nil {
				c.wrote(c.out.bytes)
			}
		}
	}
	l.clock = s.opts.Now()
	for range 10 { // what is kept is made
		fill()
		empty()
	}
	b.ReportAllocs()
	for b.Loop() {
		fill()
		b.StopTimer()
		empty()
		b.StartTimer()
	}
	perOp(b, n, unit)
}

func perOp(b *testing.B, n int, unit string) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/"+unit)
	b.ReportMetric(0, "ns/op") // is of no interest: it is left out
}

// BenchmarkQueue has frames wait: into chunks where they are for one connection, and
// as messages where they are for several.
func BenchmarkQueue(b *testing.B) {
	const frames = 10_000
	for _, conns := range []int{1, 100, 10_000} {
		for _, timed := range []bool{false, true} {
			b.Run(fmt.Sprintf("plain/conns=%d/timed=%v", conns, timed), func(b *testing.B) {
				s, all := sinkServer(conns)
				s.opts.QueueBytes = 1 << 30
				emptied(b, s, frames, "frame", func() {
					at := int64(0)
					if timed {
						at = s.loops[0].clock
					}
					for i := range frames {
						all[i%conns].plain(benchHead, benchBody, '}', at)
					}
				})
			})
		}
	}
	for _, receivers := range []int{3, 1000} {
		b.Run(fmt.Sprintf("shared/receivers=%d", receivers), func(b *testing.B) {
			s, all := sinkServer(receivers)
			s.opts.QueueBytes = 1 << 30
			d := s.NewDeliverer()
			emptied(b, s, frames/receivers*receivers, "frame", func() {
				for range frames / receivers {
					m, t := d.Message(Push{Size: len(benchBody)})
					_ = append(t, benchBody...)
					for _, c := range all {
						m.retain()
						c.enqueue(m)
					}
					d.Done(m)
				}
			})
		})
	}
}

// BenchmarkFlush writes what waits, gathered, to a transport that costs nothing.
func BenchmarkFlush(b *testing.B) {
	const conns = 1000
	for _, kind := range []string{"plain", "timed", "shared"} {
		for _, waiting := range []int{1, 3, 25} {
			b.Run(fmt.Sprintf("%s/waiting=%d", kind, waiting), func(b *testing.B) {
				s, all := sinkServer(conns)
				l := s.loops[0]
				d := s.NewDeliverer()
				l.mu.Lock()
				defer l.mu.Unlock()
				l.clock = s.opts.Now()
				at := int64(0)
				if kind == "timed" {
					at = l.clock
				}
				fill := func() {
					for range waiting {
						m, t := d.Message(Push{Size: len(benchBody)})
						_ = append(t, benchBody...)
						for _, c := range all {
							if kind != "shared" {
								c.plain(benchHead, benchBody, '}', at)
								continue
							}
							m.retain()
							c.enqueue(m)
						}
						d.Done(m)
					}
				}
				flush := func() {
					for _, c := range all {
						c.flush()
					}
				}
				for range 10 { // what is kept is made
					fill()
					flush()
				}
				b.ReportAllocs()
				b.StopTimer()
				for {
					fill()
					b.StartTimer()
					if !b.Loop() {
						break
					}
					flush()
					b.StopTimer()
				}
				flush()
				perOp(b, conns, "flush")
			})
		}
	}
}

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
				s, all := sinkServer(10_000)
				d := s.NewDeliverer()
				at := time.Now().UnixMilli()
				push := func(i int) {
					c := all[i*7919%len(all)]
					if plain {
						d.Plain(c, benchHead, benchBody, '}', at)
					} else {
						m, t := d.Message(Push{Size: len(benchBody), At: at})
						_ = append(t, benchBody...)
						d.To(c, m)
						d.Done(m)
					}
					if i%batch == 0 {
						d.Flush()
						for d.Work() {
						}
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
			s, _ := sinkServer(conns)
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
			perOp(b, conns*burst, "delivery")
		})
	}
}
