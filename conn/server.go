package conn

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/tlsloop"
)

// Server accepts and holds connections.
//
// Listen and Serve start it; StopAccepting, and then Close, end it. Close waits
// for every goroutine that the server has started.
type Server struct {
	opts    Options
	loops   []*Loop
	network netloop.Network
	codec   webSocket
	events  events

	settings atomic.Pointer[Settings]
	conns    atomic.Int64 // sockets that were accepted and are not closed
	behind   atomic.Int64 // bytes that a Deliverer has brought and that are not written, about

	sendBuffer int // of the listener; set by Listen
	listener   net.Listener
	stopAccept func()
	deal       dealer // used while accepting
	closing    chan struct{}
	stop, end  sync.Once // of accepting; of the server
	running    sync.WaitGroup
}

// New makes a server, which does nothing until Listen and Serve.
func New(o Options) *Server {
	s := &Server{opts: o.withDefaults(), closing: make(chan struct{})}
	s.Set(o.Settings)
	s.network = s.opts.network()
	s.codec, s.events = newWebSocket(s.opts.AppPing), newEvents(s.opts.AppPing)
	for i := range s.opts.Loops {
		s.loops = append(s.loops, newLoop(s, i))
	}
	return s
}

// Set changes the settings. It may be called at any time, from any goroutine. Those who
// are at work with the ones before end with them. Of connections that are open,
//   - MaxAge holds as it was when they opened, HandshakeTimeout as when they came, and
//     PingTimeout until the next ping;
//   - Ping holds where it is less than before, from the next ping on: a client may rest on
//     what its welcome has said;
//   - QueueBytes bounds what is added to a queue; what is in it stays, until a message that
//     does not fit has SlowConsumer decide.
func (s *Server) Set(to Settings) {
	to = to.withDefaults()
	s.settings.Store(&to)
}

// Settings returns what was set last.
func (s *Server) Settings() Settings { return *s.settings.Load() }

// Listen opens the address, so that a taken port is known at once. Nothing is
// accepted before Serve.
func (s *Server) Listen(ctx context.Context, address string) error {
	var lc net.ListenConfig
	// Go would listen for Multipath TCP, which makes each handshake dearer, by a
	// twentieth, also of those that don't use it.
	lc.SetMultipathTCP(false)
	if s.opts.SendBuffer > 0 {
		lc.Control = s.boundSendBuffers
	}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("conn: listen: %w", err)
	}
	s.listener = ln
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// SendBuffer is how large the system's buffer for what is sent is, since Listen, in
// bytes: Options.SendBuffer or, where the system has a bound of its own (net.core.wmem_max),
// that. 0: the system chooses, from moment to moment.
func (s *Server) SendBuffer() int { return s.sendBuffer }

// Serve starts the loops and accepts connections. It returns at once.
func (s *Server) Serve() error {
	for _, l := range s.loops {
		io, err := s.network.Loop()
		if err != nil {
			return fmt.Errorf("conn: start a loop: %w", err)
		}
		l.io, l.sender = io, io.Sender()
		l.tls, _ = io.(*tlsloop.Loop)
		l.read = make([]byte, readBytes)
		if l.tls != nil {
			l.read = make([]byte, tlsloop.ReadBytes)
		}
		s.running.Go(func() { io.Run(l) })
		s.running.Go(l.work)
	}
	stop, err := s.network.Accept(s.listener, s.accepted, s.acceptFailed)
	if err != nil {
		return fmt.Errorf("conn: accept: %w", err)
	}
	s.stopAccept = stop
	return nil
}

// IOUring reports whether io_uring is used, since Serve; if it was to be and is
// not, err says why.
func (s *Server) IOUring() (used bool, err error) { return s.network.IOUring() }

// StopAccepting closes the listener; connections stay. It may be called twice.
func (s *Server) StopAccepting() {
	s.stop.Do(func() {
		if s.stopAccept != nil {
			s.stopAccept()
		}
		if s.listener != nil {
			s.listener.Close()
		}
	})
}

// Close ends every connection at once, without a close frame, and waits until
// nothing of the server runs any more. It may be called twice.
func (s *Server) Close() { s.end.Do(s.close) }

func (s *Server) close() {
	s.StopAccepting()
	for _, l := range s.loops {
		l.lock()
		for i := 0; i < len(l.slots); i++ {
			if c := l.slots[i]; c != nil {
				c.end(CauseServer)
			}
		}
		l.unlock()
	}
	close(s.closing)
	for _, l := range s.loops {
		if l.io != nil {
			l.io.Stop()
		}
	}
	s.running.Wait()
	for _, l := range s.loops {
		l.close()
	}
}

// Len is how many connections are open, closing, or in their handshake.
func (s *Server) Len() int { return int(s.conns.Load()) }

// open returns the connections that are open or registering now.
func (s *Server) open() []*Conn {
	var all []*Conn
	for _, l := range s.loops {
		l.lock()
		for _, c := range l.slots {
			if c != nil && (c.state == stateOpen || c.state == stateRegistering) {
				all = append(all, c)
			}
		}
		l.unlock()
	}
	return all
}
