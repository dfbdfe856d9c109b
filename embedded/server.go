package embedded

import (
	"context"
	"sync"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// A Server is an embedded Redis that is listening. Its methods may be called
// by several goroutines.
type Server struct {
	// Fixed by Start.
	redis  *miniredis.Miniredis
	socket *server.Server // redis's own, which can be closed without its lock
	addr   string

	stopClock context.CancelFunc
	clock     sync.WaitGroup
	close     sync.Once
}

// Start listens on addr, a host:port, and serves until Close. Where the port is
// taken it tries the next ones, up to 100 of them, and then takes any free
// one; logf is told of that, and Addr is what became of it. logf is not called
// after Start has returned; nil is fine.
//
// Start fails where addr is no address of this machine, or may not be listened
// on.
func Start(addr string, logf func(format string, args ...any)) (*Server, error) {
	redis, err := listen(addr, logf)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{redis: redis, socket: redis.Server(), addr: redis.Addr(), stopClock: cancel}
	s.clock.Go(func() { runClock(ctx, redis) })
	return s, nil
}

// Addr is the host:port on which the server listens, also after Close.
func (s *Server) Addr() string { return s.addr }

// Close disconnects everyone and returns when all goroutines have ended. What
// was stored is gone. Further calls wait for the first one and do nothing.
func (s *Server) Close() {
	s.close.Do(func() {
		s.stopClock()
		s.redis.CtxCancel() // ends blocking commands
		// miniredis holds its lock while it hands a message to a subscriber, and
		// its own Close would wait for that lock: for ever, where the subscriber
		// doesn't read. Without its connection the message goes nowhere, quickly.
		s.socket.Close()
		s.clock.Wait()
		s.redis.Close()
	})
}
