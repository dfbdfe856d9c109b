package conn

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"pushpod/conn/internal/wire"
)

// BenchmarkCrowd has a crowd of clients come at once, stay idle, and get messages, one
// write each. It reports the server's memory for each connection and its CPU time, and
// what another client, connected before, waits for an answer while the crowd comes.
// The clients are processes of their own. See docs/performance.md.
func BenchmarkCrowd(b *testing.B) {
	for _, c := range []struct {
		name  string
		start func(*testing.B) crowdServer
	}{
		{"plain", func(b *testing.B) crowdServer { return newLoopServer(b, nil) }},
		{"tls", func(b *testing.B) crowdServer { return newLoopServer(b, testTLS) }},
		{"tls-rsa", func(b *testing.B) crowdServer { return newLoopServer(b, rsaConfig) }},
		{"goroutines-plain", func(b *testing.B) crowdServer { return newGoServer(b, nil) }},
		{"goroutines-tls", func(b *testing.B) crowdServer { return newGoServer(b, testServerTLS) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				crowd(b, c.start(b), strings.Contains(c.name, "tls"))
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// crowdServer is what a crowd comes to.
type crowdServer interface {
	Addr() net.Addr
	round() // one message of benchBody to each connection of the crowd
	Close()
}

func crowd(b *testing.B, s crowdServer, secure bool) {
	defer s.Close()
	n, rounds := 5000, 20
	if v, err := strconv.Atoi(os.Getenv("CROWD")); err == nil {
		n = v
	}
	address := s.Addr().String()
	other := startClients(b, address, secure, "echo", 1)
	defer other.end()
	other.wait("ready")
	before, cpu := memory(b), cpuTime(b)
	other.say("measure")

	all := startClients(b, address, secure, "crowd", n)
	defer all.end()
	start := time.Now()
	all.wait("ready")
	took := time.Since(start)
	handshakes := cpuTime(b) - cpu
	other.say("stop")
	waits := other.wait("waits")

	time.Sleep(3 * time.Second) // what the handshakes needed is given back
	b.ReportMetric(float64(memory(b)-before)/float64(n), "B/conn")
	b.ReportMetric(float64(handshakes.Microseconds())/float64(n), "cpu-µs/handshake")
	b.ReportMetric(float64(n)/took.Seconds(), "handshakes/s")

	cpu = cpuTime(b)
	for i := range rounds {
		all.say(fmt.Sprint("expect ", (i+1)*n))
		s.round()
		all.wait("got")
	}
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1000/float64(n*rounds), "cpu-µs/delivery")
	var p50, p99, most float64
	fmt.Sscan(waits, &p50, &p99, &most)
	b.ReportMetric(p50, "ms-p50")
	b.ReportMetric(p99, "ms-p99")
	b.ReportMetric(most, "ms-max")
}

// loopServer is the one of this package.
type loopServer struct {
	*Server
	hub *fakeHub
	d   *Deliverer
}

func newLoopServer(b *testing.B, t func() *tls.Config) crowdServer {
	hub := newFakeHub()
	hub.echo = true
	s := New(Options{Admitter: hub, TLS: t, Settings: Settings{HandshakeTimeout: time.Minute, Ping: time.Hour}})
	if err := s.Listen(b.Context(), "127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		b.Fatal(err)
	}
	return &loopServer{s, hub, s.NewDeliverer()}
}

func (s *loopServer) round() {
	s.hub.mu.Lock()
	var all []*Conn
	for user, o := range s.hub.owners {
		if user != "echo" {
			all = append(all, o.conn)
		}
	}
	s.hub.mu.Unlock()
	for _, c := range all {
		s.d.Plain(c, 0, benchHead, benchBody, benchTail)
	}
	flushAll(s.d)
}

// goServer does as little as will do, with a goroutine for each connection, as net/http
// and most WebSocket libraries do.
type goServer struct {
	net.Listener
	running sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	crowd []net.Conn
}

func newGoServer(b *testing.B, c *tls.Config) crowdServer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if c != nil {
		ln = tls.NewListener(ln, c)
	}
	s := &goServer{Listener: ln}
	s.running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() { s.serve(c) })
		}
	})
	return s
}

func (s *goServer) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 1024)
	n, err := c.Read(buf)
	if err != nil {
		return
	}
	echo := strings.Contains(string(buf[:n]), "user=echo")
	s.mu.Lock()
	if s.conns = append(s.conns, c); !echo {
		s.crowd = append(s.crowd, c)
	}
	s.mu.Unlock()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"+string(textOf(welcome)))
	buf = make([]byte, 256)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if h, ok := wire.ParseHeader(buf[:n]); ok && echo {
			_, _ = c.Write(wire.AppendFrame(nil, wire.OpText, buf[h.Size:n]))
		}
	}
}

func (s *goServer) round() {
	message := wire.AppendFrame(nil, wire.OpText, slices.Concat(benchHead, benchBody, benchTail))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.crowd {
		_, _ = c.Write(message)
	}
}

func (s *goServer) Close() {
	_ = s.Listener.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// memory is what the process holds, in bytes.
func memory(b *testing.B) int {
	b.Helper()
	debug.FreeOSMemory()
	all, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	var size, resident int
	fmt.Sscan(string(all), &size, &resident)
	return resident * os.Getpagesize()
}

// cpuTime is what the process has taken.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// clients is a process of clients.
type clients struct {
	b   *testing.B
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

const clientsVariable = "CROWD_OF_CLIENTS"

func startClients(b *testing.B, address string, secure bool, mode string, n int) *clients {
	b.Helper()
	p := &clients{b: b, cmd: exec.Command(os.Args[0], "-test.run=^TestCrowdOfClients$")}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %v %s %d", clientsVariable, address, secure, mode, n))
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *clients) say(line string) { fmt.Fprintln(p.in, line) }

// wait waits for a line that begins with a word, and returns the rest of it.
func (p *clients) wait(word string) string {
	p.b.Helper()
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			p.b.Fatalf("the clients have ended before %q: %v", word, err)
		}
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), word); ok {
			return rest
		}
	}
}

func (p *clients) end() {
	p.in.Close()
	_ = p.cmd.Wait()
}

// TestCrowdOfClients is the process of clients of BenchmarkCrowd.
func TestCrowdOfClients(t *testing.T) {
	var address, mode string
	var secure bool
	var n int
	if _, err := fmt.Sscan(os.Getenv(clientsVariable), &address, &secure, &mode, &n); err != nil {
		t.SkipNow()
	}
	if mode == "echo" {
		askAgainAndAgain(t, open(t, address, secure, "echo"))
		return
	}
	var got atomic.Int64
	var opening sync.WaitGroup
	for i := range n {
		opening.Go(func() {
			r := open(t, address, secure, fmt.Sprint("u", i))
			go func() {
				for {
					h, err := ws.ReadHeader(r)
					if err != nil {
						return
					}
					_, _ = r.Discard(int(h.Length))
					got.Add(1)
				}
			}()
		})
	}
	opening.Wait()
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var want int64
		fmt.Sscanf(in.Text(), "expect %d", &want)
		for got.Load() < want {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("got")
	}
}

// open opens a connection, and reads the welcome.
func open(t *testing.T, address string, secure bool, user string) *bufio.ReadWriter {
	c, err := net.DialTimeout("tcp", address, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // the processes' certificates differ
	}
	_, err = io.WriteString(c, request("?user="+user))
	rw := bufio.NewReadWriter(bufio.NewReaderSize(c, 512), bufio.NewWriterSize(c, 16))
	for line := ""; err == nil && line != "\r\n"; {
		line, err = rw.ReadString('\n')
	}
	h, err2 := ws.ReadHeader(rw)
	if err != nil || err2 != nil {
		t.Fatal(user, err, err2)
	}
	_, _ = rw.Discard(int(h.Length))
	return rw
}

// askAgainAndAgain sends a text and waits for it to come back, every 5 ms, while it is told
// to; then it says how long that took, in ms.
func askAgainAndAgain(t *testing.T, rw *bufio.ReadWriter) {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	stop := make(chan struct{})
	go func() {
		in.Scan()
		close(stop)
	}()
	var waits []float64
	for next := time.Now(); ; next = next.Add(5 * time.Millisecond) {
		time.Sleep(time.Until(next))
		start := time.Now()
		_, _ = rw.Write(text("echo"))
		_ = rw.Flush()
		h, err := ws.ReadHeader(rw)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = rw.Discard(int(h.Length))
		waits = append(waits, float64(time.Since(start).Microseconds())/1000)
		select {
		case <-stop:
			slices.Sort(waits)
			at := func(q float64) float64 { return waits[int(math.Ceil(q*float64(len(waits)))-1)] }
			fmt.Println("waits", at(0.5), at(0.99), at(1))
			in.Scan()
			return
		default:
		}
	}
}
