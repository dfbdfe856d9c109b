package redistest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy forwards TCP connections to a target and puts faults in their way.
// All methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex // protects what follows
	target   string
	moved    *sync.Cond // signalled at every change that a waiting link must see
	links    map[*link]struct{}
	closed   bool
	stalled  bool
	refusing bool
	refuse   int   // so many new connections, and no more
	replies  int64 // bytes of replies until the next cut; -1: no cut is set
	requests int64 // bytes of requests until the next cut; -1: no cut is set
	accepted int
	cuts     int
	carried  int64
}

// link is one forwarded connection; stranded is guarded by Proxy.mu.
type link struct {
	client, server net.Conn
	stranded       bool
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// NewProxy starts a proxy before target on a free port of 127.0.0.1. It is
// closed when the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("redistest: listen for a proxy: %v", err)
	}
	p := &Proxy{
		listener: l, target: target, links: make(map[*link]struct{}),
		replies: -1, requests: -1,
	}
	p.moved = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr returns the host and port at which the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut closes all connections. New ones are taken as before.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

// CutAfter lets n more bytes of replies (target to client, all connections
// together) through, and then closes all connections, once. A negative n takes
// the order back.
func (p *Proxy) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replies = n
}

// CutRequestsAfter is CutAfter for what the clients send.
func (p *Proxy) CutRequestsAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = n
}

// Stall holds back all bytes, both ways, while on is true, and lets them go
// when it is called with false. Connections stay open.
func (p *Proxy) Stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = on
	p.moved.Broadcast()
}

// Strand holds back all bytes of the connections that exist now, both ways, and
// lets new ones pass. What was sent into a stranded connection reaches the target
// at Release, even where the client has closed it meanwhile.
func (p *Proxy) Strand() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.stranded = true
	}
}

// Release lets the stranded connections' bytes go.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.stranded = false
	}
	p.moved.Broadcast()
}

// Refuse closes every connection, and every new one as soon as it is accepted,
// while on is true: the target is away.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = on
	if on {
		p.cutAll()
	}
}

// RefuseNext closes the next n connections as soon as they are accepted.
func (p *Proxy) RefuseNext(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = n
}

// Retarget makes target the one for new connections, and closes the others: a
// server is replaced by another.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	p.cutAll()
}

// Lead makes target the one for new connections, and leaves the others where they are: a
// name is led elsewhere.
func (p *Proxy) Lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Accepted returns how many connections the proxy has taken so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Cuts returns how many times connections were closed by order.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Carried returns how many bytes went through, both ways together.
func (p *Proxy) Carried() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.carried
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.moved.Broadcast()
	for l := range p.links {
		l.close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// cutAll closes all links. The caller holds p.mu.
func (p *Proxy) cutAll() {
	p.cuts++
	for l := range p.links {
		l.close()
	}
	p.moved.Broadcast()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

// serve forwards one connection until either side ends it.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	p.accepted++
	refused, target := p.refusing || p.closed || p.refuse > 0, p.target
	p.refuse = max(p.refuse-1, 0)
	p.mu.Unlock()
	if refused {
		return
	}
	server, err := net.DialTimeout("tcp", target, 3*time.Second)
	if err != nil {
		return
	}
	l := &link{client: client, server: server}
	defer l.close()
	p.mu.Lock()
	if p.refusing || p.closed || p.target != target {
		p.mu.Unlock()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.forward(l, server, client, &p.replies) })
	p.forward(l, client, server, &p.requests)
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// forward copies from one side to the other; left is the count, guarded by
// p.mu, of bytes until a cut in this direction.
func (p *Proxy) forward(l *link, from, to net.Conn, left *int64) {
	defer l.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			allowed, cut := p.admit(l, n, left)
			if _, err := to.Write(buf[:allowed]); err != nil {
				return
			}
			if cut {
				p.Cut()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// admit waits while the proxy is stalled, or the link is stranded, then says how many of n bytes may
// pass, and whether all connections are to be cut behind them.
func (p *Proxy) admit(l *link, n int, left *int64) (allowed int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.stalled || l.stranded) && !p.closed {
		p.moved.Wait()
	}
	allowed = n
	if *left >= 0 {
		if int64(n) >= *left {
			allowed, cut = int(*left), true
			*left = -1
		} else {
			*left -= int64(n)
		}
	}
	p.carried += int64(allowed)
	return allowed, cut
}
