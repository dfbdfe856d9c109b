package conn

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Server accepts and holds connections.
//
// Listen and Serve start it; StopAccepting, and then Close, end it. Close waits
// for every goroutine that the server has started.
type Server struct {
	opts     Options
	loops    []*Loop
	sweepers bool  // each loop has a mailbox, and a goroutine that empties it
	inline   bool  // frames may wait in chunks: nobody writes them without the loop's lock
	noRing   error // why there is no io_uring
	wsPing   *Message
	appPing  *Message

	conns atomic.Int64 // descriptors of accepted connections

	listener net.Listener
	accept   acceptor
	closing  chan struct{}
	once     sync.Once
	running  sync.WaitGroup
}

// New makes a server, which does nothing until Listen and Serve.
func New(o Options) *Server {
	s := &Server{opts: o.withDefaults(), closing: make(chan struct{})}
	s.wsPing = &Message{frame: appendFrame(nil, opPing, nil), control: true}
	s.appPing = &Message{frame: appendFrame(nil, opText, s.opts.AppPing), control: true}
	for i := range s.opts.Loops {
		l := newLoop(s)
		l.index = i
		s.loops = append(s.loops, l)
	}
	s.sweepers = len(s.loops) > 1
	s.inline = !s.opts.Portable && eventLoops
	return s
}

// Listen opens the address, so that a taken port is known at once. Nothing is
// accepted before Serve.
func (s *Server) Listen(ctx context.Context, address string) error {
	var lc net.ListenConfig
	// Go would listen for Multipath TCP, which makes each handshake dearer, by a
	// twentieth, also of those that don't use it.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("conn: listen: %w", err)
	}
	s.listener = ln
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve starts the loops and accepts connections. It returns at once.
func (s *Server) Serve() error {
	for _, l := range s.loops {
		if err := s.startLoop(l); err != nil {
			return fmt.Errorf("conn: start a loop: %w", err)
		}
	}
	if s.opts.Void {
		return nil // nobody connects
	}
	a, err := s.newAcceptor()
	if err != nil {
		return fmt.Errorf("conn: accept: %w", err)
	}
	s.accept = a
	return nil
}

func (s *Server) startLoop(l *Loop) error {
	io, err := s.transportFor(l)
	if err != nil {
		return err
	}
	l.io = io
	if s.opts.IOUring && s.inline {
		if l.sender, err = s.opts.sender(); err != nil {
			l.sender, s.noRing = nil, err
		}
	}
	s.running.Go(io.run)
	if s.sweepers {
		s.running.Go(func() { s.sweeper(l) })
	}
	return nil
}

// IOUring reports whether io_uring is used, since Serve; if it was to be and is
// not, err says why.
func (s *Server) IOUring() (used bool, err error) {
	return s.opts.IOUring && s.inline && s.noRing == nil, s.noRing
}

// StopAccepting closes the listener; connections stay. It may be called twice.
func (s *Server) StopAccepting() {
	s.once.Do(func() {
		if s.accept != nil {
			s.accept.stop()
		}
		if s.listener != nil {
			s.listener.Close()
		}
	})
}

// Close ends every connection at once, without a close frame, and waits until
// nothing of the server runs any more.
func (s *Server) Close() {
	s.StopAccepting()
	for _, l := range s.loops {
		l.mu.Lock()
		for i := 0; i < len(l.slots); i++ {
			if c := l.slots[i]; c != nil {
				c.end(CauseServer)
			}
		}
		l.mu.Unlock()
	}
	close(s.closing)
	for _, l := range s.loops {
		if l.io != nil {
			l.io.stop()
		}
	}
	s.running.Wait()
	for _, l := range s.loops {
		l.mu.Lock() // a Deliverer may still be at work
		if l.sender != nil {
			l.sender.close()
			l.sender = nil
		}
		l.pools.close()
		l.mu.Unlock()
	}
}

// Len is how many connections are open, closing, or in their handshake.
func (s *Server) Len() int { return int(s.conns.Load()) }

// Conns returns the connections that are open now.
func (s *Server) Conns() []*Conn {
	var all []*Conn
	for _, l := range s.loops {
		l.mu.Lock()
		for _, c := range l.slots {
			if c != nil && c.state == stateOpen {
				all = append(all, c)
			}
		}
		l.mu.Unlock()
	}
	return all
}

// CloseAll closes the connections that are open or registering now, one by
// one, evenly over the time d, each with the code and a reason that reason
// draws. It returns early with ctx's error; its caller waits for Len to be 0.
func (s *Server) CloseAll(ctx context.Context, d time.Duration, code Code, reason func() string) error {
	conns := s.Conns()
	start := time.Now()
	for i, c := range conns {
		if wait := time.Until(start.Add(d * time.Duration(i) / time.Duration(len(conns)))); wait > time.Millisecond {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
		}
		c.Close(code, reason())
	}
	return ctx.Err()
}

// acceptor hands accepted sockets to loops.
type acceptor interface {
	// stop ends accepting, and returns when no socket is handed over any more.
	stop()
}

// overflow is how many connections beyond MaxConns are still told so.
const overflowConns = 64

// admitSocket makes a connection of an accepted socket on the loop l, which is
// not locked. false: there are too many even to say so, close it.
func (s *Server) admitSocket(l *Loop, fd int32, remote [16]byte, register func(*Conn) error) bool {
	n := s.conns.Add(1)
	if n > int64(s.opts.MaxConns)+overflowConns {
		s.conns.Add(-1)
		l.mu.Lock()
		l.acceptErrors++
		l.mu.Unlock()
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.add(fd, remote)
	if err := register(c); err != nil {
		l.acceptErrors++
		c.end(CauseRefused)
		return true
	}
	c.fillBucket()
	if n > int64(s.opts.MaxConns) {
		c.cause = CauseRefused
		c.refuse(&Refusal{Status: 503, Error: "unavailable", Reason: "this pod holds as many connections as it can", RetryAfter: 5})
		return true
	}
	c.endAt = l.wheel.now + ticksOf(s.opts.HandshakeTimeout)
	c.schedule()
	return true
}
