package conn

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Loop holds a share of the server's connections. Everything in it is guarded
// by mu, but what is static.
type Loop struct {
	// Static.
	srv   *Server
	index int
	io    transport
	wake  chan struct{} // capacity 1: the sweeper has work
	box   mailbox       // guards itself

	// Bytes that came since the loop last had nothing left to bring out, about.
	backlog atomic.Int64

	mu sync.Mutex // protects following; held for microseconds, never across anything that blocks

	slots   []*Conn  // the connections, by Conn.slot
	free    []uint32 // unused slots
	lastGen uint32
	wheel   wheel
	clock   int64 // Options.Now, as of the start of this hold of mu where it matters

	pools    pools
	scratch  []byte // frames put together for one write
	requests requestReader
	answers  []byte // to handshakes, with the welcomes
	sender   sender // nil: there is none
	flights  []flight
	bufs     [sendBuffers][]byte // for one flight
	log      broadcastLog
	dirty    []*Conn // connections to flush, in order
	dirtyAt  int
	rounds   rounds

	counters
}

// transport is what a loop needs of the operating system. All methods but
// start, run and stop are called with the loop locked.
type transport interface {
	// run waits for readiness and due times until stop, and returns when
	// nothing of it runs any more.
	run()
	stop()
	// timer starts or stops the calls of Loop.advance.
	timer(on bool)
	// write writes what the socket takes at once. n < len(b) without an error:
	// it takes no more for now.
	write(c *Conn, b []byte) (n int, err error)
	// armWrite starts or ends telling when the socket takes more.
	armWrite(c *Conn, on bool)
	// finish says that nothing more will be written (TCP FIN).
	finish(c *Conn)
	close(c *Conn)
}

func newLoop(s *Server) *Loop {
	l := &Loop{srv: s, wake: make(chan struct{}, 1)}
	l.handshakes = map[int]uint64{}
	l.wheel.init()
	l.pools.init()
	l.rounds.most = s.opts.Gather
	return l
}

// add makes a connection of an accepted socket.
func (l *Loop) add(fd int32, remote [16]byte) *Conn {
	l.lastGen++
	if l.lastGen == 0 {
		l.lastGen++
	}
	c := &Conn{loop: l, fd: fd, remote: remote, gen: l.lastGen}
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
		l.slots[c.slot] = c
	} else {
		c.slot = uint32(len(l.slots))
		l.slots = append(l.slots, c)
	}
	if len(l.slots)-len(l.free) == 1 {
		l.wheel.resume()
		l.io.timer(true)
	}
	l.pending++
	return c
}

// remove forgets a connection.
func (l *Loop) remove(c *Conn) {
	l.wheel.remove(l, c)
	l.slots[c.slot] = nil
	l.free = append(l.free, c.slot)
	if len(l.free) == len(l.slots) {
		l.slots, l.free = l.slots[:0], l.free[:0]
		l.io.timer(false)
	}
}

// advance lets the loop's time go on, and does a slice of what is due; more: there is
// more of it. With a million connections thousands are due at once: others must have
// their turn between them.
func (l *Loop) advance() (more bool) {
	l.clock = l.srv.opts.Now()
	more = l.wheel.advance(l, sliceDue, (*Conn).onDue)
	l.complete()
	return more
}

// tick is advance without the lock, to the end.
func (l *Loop) tick() {
	for more := true; more; {
		l.mu.Lock()
		more = l.advance()
		l.mu.Unlock()
		if more {
			runtime.Gosched() // there may be one processor only
		}
	}
}

// ticksOf rounds up: nothing is due too early.
func ticksOf(d time.Duration) uint32 { return uint32((d + tick - 1) / tick) }
