package conn

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pushpod/conn/internal/wire"
	"pushpod/internal/rawio"
)

// BenchmarkCores shows what a second loop on a second core is worth: every message
// is a write of its own, to a TCP socket whose peer reads it while the clock stands.
// Compare loops=1 and loops=2; with fewer processors than loops they say nothing.
func BenchmarkCores(b *testing.B) {
	const conns = 9500
	body := strings.Repeat("x", 128)
	for _, load := range []struct {
		name string
		send func(d *Deliverer, all []*Conn)
	}{
		{"fanout", func(d *Deliverer, _ []*Conn) {
			send(d, Push{}, []byte(body))
		}},
		{"pushes", func(d *Deliverer, all []*Conn) {
			for i := range all {
				d.Plain(all[i*7919%len(all)], 0, []byte(body))
				if i%500 == 0 {
					d.Flush() // as often as a reader of Redis's socket does
				}
			}
		}},
	} {
		for _, loops := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/loops=%d", load.name, loops), func(b *testing.B) {
				s, all, peers := rawPeers(b, conns, Options{Loops: loops})
				d := s.NewDeliverer()
				room := make([]byte, 4096)
				var took time.Duration
				for range b.N {
					start := time.Now()
					load.send(d, all)
					flushAll(d)
					for s.behind.Load() > 0 { // without a loop's lock, which would be in its way
						time.Sleep(50 * time.Microsecond)
					}
					took += time.Since(start)
					b.StopTimer()
					for i, fd := range peers {
						if n, errno := rawio.Read(fd, room); n != wire.HeaderSize(len(body))+len(body) {
							b.Fatalf("peer %d received %d bytes, %v", i, n, errno)
						}
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(b.N)*conns/took.Seconds(), "deliveries/s")
			})
		}
	}
}

// rawPeers returns n open connections, and the sockets at their other ends.
func rawPeers(b *testing.B, n int, o Options) (s *Server, all []*Conn, peers []int) {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	hub := newFakeHub()
	o.Admitter, o.Ping = hub, time.Hour
	s = New(o)
	must(s.Listen(context.Background(), "127.0.0.1:0"))
	must(s.Serve())
	b.Cleanup(s.Close)
	at := &unix.SockaddrInet4{Port: s.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	room := make([]byte, 4096)
	for i := range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(err)
		b.Cleanup(func() { unix.Close(fd) })
		must(unix.Connect(fd, at))
		user := fmt.Sprint("u", i)
		_, err = unix.Write(fd, []byte(request("?user="+user)))
		must(err)
		_, err = unix.Read(fd, room) // the answer and the welcome, in one write
		must(err)
		must(unix.SetNonblock(fd, true))
		all, peers = append(all, hub.told(user).conn), append(peers, fd)
	}
	return s, all, peers
}
