package conn

import (
	"errors"
	"net"
	"sync"
	"time"
)

// portable is the transport with goroutines: one that reads for each
// connection, and one that writes while something waits. It behaves like the
// event loops, and costs more.
type portable struct {
	l       *Loop
	done    chan struct{}
	running sync.WaitGroup // readers and writers

	// Under the loop's lock.
	socks   map[*Conn]*net.TCPConn
	ticking bool
}

func newPortable(l *Loop) *portable {
	return &portable{l: l, done: make(chan struct{}), socks: map[*Conn]*net.TCPConn{}}
}

// run lets the loop's time go on until stop.
func (p *portable) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.l.mu.Lock()
			ticking := p.ticking
			p.l.mu.Unlock()
			if ticking {
				p.l.tick()
			}
		case <-p.done:
			p.running.Wait() // their sockets have been closed
			return
		}
	}
}

func (p *portable) stop() { close(p.done) }

func (p *portable) timer(on bool) { p.ticking = on }

// write takes nothing at once: a socket of package net can't be asked without
// the danger of waiting.
func (p *portable) write(*Conn, []byte) (int, error) { return 0, nil }

// armWrite starts the goroutine that writes, which ends by itself.
func (p *portable) armWrite(c *Conn, on bool) {
	if on {
		p.running.Go(func() { p.writer(c) })
	}
}

const flyingAtOnce = 64

func (p *portable) writer(c *Conn) {
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for c.state != stateClosed {
		l.clock = l.srv.opts.Now()
		c.dropLate()
		if c.out == nil {
			c.clear(flagWantWrite | flagArmed)
			c.flushed()
			return
		}
		var frames net.Buffers
		for n := c.out.head; n != nil && len(frames) < flyingAtOnce && !c.late(n.m); n = n.next {
			frames = append(frames, n.bytes())
		}
		c.out.flying = len(frames)
		sock := p.socks[c]
		l.mu.Unlock()
		start := time.Now()
		n, err := frames.WriteTo(sock)
		waited := time.Since(start) >= tick
		l.mu.Lock()
		if c.state == stateClosed {
			return
		}
		if err != nil {
			c.end(CausePeer)
			return
		}
		if waited {
			c.clear(flagAwaiting) // room was made: someone is there
		}
		c.wrote(int(n))
		if c.out != nil {
			c.out.flying = 0
		}
	}
}

func (p *portable) finish(c *Conn) { _ = p.socks[c].CloseWrite() }

func (p *portable) close(c *Conn) {
	_ = p.socks[c].Close()
	delete(p.socks, c)
}

func (p *portable) register(c *Conn, sock *net.TCPConn) error {
	p.socks[c] = sock
	p.running.Go(func() { p.reader(c, sock) })
	return nil
}

func (p *portable) reader(c *Conn, sock *net.TCPConn) {
	buf := make([]byte, 4<<10)
	for {
		n, err := sock.Read(buf)
		p.l.mu.Lock()
		if n > 0 {
			c.input(buf[:n])
		}
		if err != nil {
			c.eof()
		}
		over := c.state == stateClosed
		p.l.mu.Unlock()
		if over {
			return
		}
	}
}

// portableAcceptor accepts with a goroutine.
type portableAcceptor struct {
	s       *Server
	running sync.WaitGroup
	next    int
}

func (s *Server) newPortableAcceptor() acceptor {
	a := &portableAcceptor{s: s}
	a.running.Go(a.run)
	return a
}

func (a *portableAcceptor) run() {
	for {
		sock, err := a.s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l := a.s.loops[a.next%len(a.s.loops)]
		a.next++
		if err != nil { // no descriptor to be had
			l.mu.Lock()
			l.acceptErrors++
			l.mu.Unlock()
			time.Sleep(50 * time.Millisecond)
			continue
		}
		tcp := sock.(*net.TCPConn)
		var remote [16]byte
		if addr, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
			remote = addr.AddrPort().Addr().As16()
		}
		register := func(c *Conn) error { return l.io.(*portable).register(c, tcp) }
		if !a.s.admitSocket(l, -1, remote, register) {
			tcp.Close()
		}
	}
}

func (a *portableAcceptor) stop() {
	a.s.listener.Close()
	a.running.Wait()
}
