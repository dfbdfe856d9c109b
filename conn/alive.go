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
	ticks, rounds := make([]<-chan struct{}, len(s.loops)), make([]uint64, len(s.loops))
	for i, l := range s.loops { // all are asked before one is waited for: a tick takes its time
		ticks[i], rounds[i] = l.askForLife()
	}
	for i, l := range s.loops {
		select {
		case <-ticks[i]:
		case <-s.closing:
			return
		}
		for l.life.rounds.Load() == rounds[i] {
			select {
			case <-time.After(time.Millisecond):
			case <-s.closing:
				return
			}
		}
	}
}

// askForLife returns what is closed at the next tick, and how many turns the worker has
// had, which gets one more.
func (l *Loop) askForLife() (ticked <-chan struct{}, rounds uint64) {
	asked := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life.asked = asked
	l.io.Timer(true)
	rounds = l.life.rounds.Load()
	l.wakeWorker()
	return asked, rounds
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
