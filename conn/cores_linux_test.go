package conn

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// BenchmarkCores shows what a second loop on a second core is worth: every write
// is a system call, to a descriptor that takes all. Compare loops=1 and loops=2;
// with fewer processors than loops they say nothing.
func BenchmarkCores(b *testing.B) {
	const conns = 10_000
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	body := []byte(strings.Repeat("x", 128))
	for _, load := range []struct {
		name string
		send func(d *Deliverer, all []*Conn)
	}{
		{"fanout", func(d *Deliverer, _ []*Conn) {
			send(d, Push{}, body)
		}},
		{"pushes", func(d *Deliverer, all []*Conn) {
			for i := range all {
				d.Plain(all[i*7919%len(all)], nil, body, '}', 0)
				if i%500 == 0 {
					d.Flush() // as often as a reader of Redis's socket does
				}
			}
		}},
	} {
		for _, loops := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/loops=%d", load.name, loops), func(b *testing.B) {
				s := New(Options{Handler: newFakeHub(), Loops: loops})
				var all []*Conn
				for i := range conns {
					l := s.loops[i%loops]
					if l.io == nil {
						l.io = nullSink{&epoll{l: l}}
						if s.sweepers {
							s.running.Go(func() { s.sweeper(l) })
						}
					}
					c := l.add(int32(null.Fd()), [16]byte{})
					c.state = stateOpen
					all = append(all, c)
				}
				defer func() { close(s.closing); s.running.Wait() }()
				d := s.NewDeliverer()
				ts := &testServer{Server: s, d: d}
				start := time.Now()
				for b.Loop() {
					load.send(d, all)
					ts.flush()
				}
				b.ReportMetric(float64(b.N)*conns/time.Since(start).Seconds(), "deliveries/s")
			})
		}
	}
}

// nullSink is the transport of event loops without events.
type nullSink struct{ *epoll }

func (nullSink) timer(bool) {}
