package conn

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
			text, tail := []byte(body[1:]), body[0]
			for i := range all {
				d.Plain(all[i*7919%len(all)], nil, text, tail, 0)
				if i%500 == 0 {
					d.Flush() // as often as a reader of Redis's socket does
				}
			}
		}},
	} {
		for _, loops := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/loops=%d", load.name, loops), func(b *testing.B) {
				ours, peers := tcpPairs(b, conns)
				s := New(Options{Handler: newFakeHub(), Loops: loops})
				all := make([]*Conn, conns)
				var deal dealer
				for i, fd := range ours {
					l := s.loops[deal.next(loops, i)]
					if l.io == nil {
						l.io = eventless{&epoll{l: l}}
						if s.sweepers {
							s.running.Go(func() { s.sweeper(l) })
						}
					}
					all[i] = l.add(int32(fd), [16]byte{})
					all[i].state = stateOpen
				}
				defer func() { close(s.closing); s.running.Wait() }()
				d := s.NewDeliverer()
				room := make([]byte, 4096)
				var took time.Duration
				for range b.N {
					start := time.Now()
					load.send(d, all)
					flushAll(d)
					for _, l := range s.loops { // without its lock, which would be in its way
						for l.backlog.Load() > 0 {
							time.Sleep(50 * time.Microsecond)
						}
					}
					took += time.Since(start)
					b.StopTimer()
					for i, fd := range peers {
						if n, errno := rawio.Read(fd, room); n != headerSize(len(body))+len(body) {
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

// eventless is the transport of event loops that wait for nothing.
type eventless struct{ *epoll }

func (eventless) timer(bool) {}

// tcpPairs returns sockets, which don't block, and those that they are connected to.
func tcpPairs(b *testing.B, n int) (ours, peers []int) {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	const kind = unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	keep := func(fd int) int {
		b.Cleanup(func() { unix.Close(fd) })
		must(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
		return fd
	}
	listener, err := unix.Socket(unix.AF_INET, kind, 0)
	must(err)
	defer unix.Close(listener)
	must(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(unix.Listen(listener, 16))
	at, err := unix.Getsockname(listener)
	must(err)
	for range n {
		peer, err := unix.Socket(unix.AF_INET, kind, 0)
		must(err)
		peers = append(peers, keep(peer))
		must(unix.Connect(peer, at))
		our, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		must(err)
		ours = append(ours, keep(our))
		must(unix.SetNonblock(peer, true))
	}
	return ours, peers
}
