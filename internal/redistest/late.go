package redistest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Late starts a proxy before target on a free port of 127.0.0.1 and returns its address. It passes each byte on after wait,
// both ways: the target is far away, not slow. It is closed when the test ends.
func Late(t testing.TB, target string, wait time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("redistest: listen for a late proxy: %v", err)
	}
	p := &late{target: target, wait: wait, conns: make(map[net.Conn]struct{})}
	p.running.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		_ = l.Close()
		p.close()
		p.running.Wait()
	})
	return l.Addr().String()
}

type late struct {
	target  string
	wait    time.Duration
	running sync.WaitGroup

	mu     sync.Mutex // protects what follows
	conns  map[net.Conn]struct{}
	closed bool
}

func (p *late) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve forwards one connection until either side ends it.
func (p *late) serve(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", p.target, 3*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.keep(client, server) {
		return
	}
	defer p.forget(client, server)
	var both sync.WaitGroup
	both.Go(func() { p.forward(client, server) })
	p.forward(server, client)
	both.Wait()
}

// A piece is what was read at once, and when it is due.
type piece struct {
	due   time.Time
	bytes []byte
}

// forward copies from one side to the other, and closes both at the end.
func (p *late) forward(from, to net.Conn) {
	onTheWay := make(chan piece, 1024) // beyond that, reading waits
	var writing sync.WaitGroup
	writing.Go(func() {
		for next := range onTheWay {
			time.Sleep(time.Until(next.due))
			if _, err := to.Write(next.bytes); err != nil {
				_ = from.Close() // ends the reading below
			}
		}
		_ = to.Close()
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			onTheWay <- piece{time.Now().Add(p.wait), append([]byte(nil), buf[:n]...)}
		}
		if err != nil {
			break
		}
	}
	close(onTheWay)
	writing.Wait()
}

func (p *late) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

func (p *late) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

func (p *late) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
}
