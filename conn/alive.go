package conn

import (
	"sync/atomic"
	"time"
)

// life is how a loop shows that it goes on.
type life struct {
	rounds atomic.Uint64 // of the worker

	asked chan struct{} // closed at the next tick; nil: nobody asks. Guarded by Loop.mu
}

// Alive returns once every loop has shown that it goes on: its lock was free, its network
// has told of a tick, and its worker has had a turn. Where one hangs it does not return,
// unless the server is closed. It may be called from anywhere but a callback, by one
// goroutine at a time, since Serve.
func (s *Server) Alive() {
	for _, l := range s.loops {
		l.alive()
	}
}

func (l *Loop) alive() {
	ticked := make(chan struct{})
	l.mu.Lock()
	l.life.asked = ticked
	l.io.Timer(true)
	l.mu.Unlock()
	select {
	case <-ticked:
	case <-l.srv.closing:
		return
	}
	for before := l.life.rounds.Load(); l.life.rounds.Load() == before; {
		l.wakeWorker()
		select {
		case <-time.After(time.Millisecond):
		case <-l.srv.closing:
			return
		}
	}
}

// showLife answers alive, at a tick. The caller holds l.mu.
func (l *Loop) showLife() {
	if l.life.asked == nil {
		return
	}
	close(l.life.asked)
	l.life.asked = nil
	l.io.Timer(len(l.slots) > len(l.free)) // as add and remove left it
}
