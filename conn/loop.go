package conn

import (
	"runtime"
	"sync"
	"time"

	"pushpod/conn/internal/httphead"
	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/sendq"
	"pushpod/conn/internal/tlsloop"
	"pushpod/conn/internal/wheel"
)

// Loop holds a share of the server's connections. Everything in it is guarded
// by mu, but what is static.
type Loop struct {
	// Static, since Serve.
	srv    *Server
	codec  *webSocket
	index  int
	io     netloop.Loop
	tls    *tlsloop.Loop // io, where clients speak TLS; else nil
	sender netloop.Sender
	wake   chan struct{} // capacity 1: there is work for the loop's worker
	box    mailbox       // guards itself
	life   life

	mu sync.Mutex // protects following; held for microseconds, never across anything that blocks

	slots   []*Conn  // the connections, by Conn.slot
	free    []uint32 // unused slots
	lastGen uint32
	wheel   *wheel.Wheel
	clock   int64 // Options.Now, as of the start of this hold of mu

	parser   *httphead.Parser
	read     []byte // what is being read
	scratch  []byte // a frame that is being made
	inbounds freeList[inbound]
	pool     sendq.Pool
	closes   map[*Conn]waitingClose

	inflight []inflight // prepared writes
	spareIn  []inflight // room for the next ones
	prompt   []*Conn    // to be flushed before mu is unlocked
	dirty    []*Conn    // to be flushed by sweeps, in order
	dirtyAt  int
	spare    []*Conn // room for the next prompt
	bufs     [netloop.MaxBuffers][]byte
	everyone audience
	queuing  batch // taken out of the mailbox, and not all queued
	queued   int   // how many of its items are
	taken    int64 // bytes that count in Server.behind

	counters
}

const readBytes = 64 << 10

func newLoop(s *Server, index int) *Loop {
	l := &Loop{srv: s, codec: &s.codec, index: index, wake: make(chan struct{}, 1)}
	l.parser = httphead.NewParser(s.opts.Headers...)
	l.handshakes = map[int]uint64{}
	l.closes = map[*Conn]waitingClose{}
	l.wheel = wheel.New(netloop.Tick, time.Now())
	return l
}

// settings is the one way to the options that may change.
func (l *Loop) settings() *Settings { return l.srv.settings.Load() }

// lock locks mu, and sets the clock. Whoever acts on connections locks by it.
func (l *Loop) lock() {
	l.mu.Lock()
	l.clock = l.srv.opts.Now()
}

// unlock flushes what must not wait, and unlocks mu.
func (l *Loop) unlock() {
	l.flushPrompt()
	l.mu.Unlock()
}

// Ready is called by the network for an event. One of an ended connection finds
// its slot empty, or a connection of another generation in it.
func (l *Loop) Ready(r netloop.Ref, readable, writable bool) {
	l.lock()
	defer l.unlock()
	if r.Slot >= uint32(len(l.slots)) {
		return
	}
	c := l.slots[r.Slot]
	if c == nil || c.gen != r.Gen {
		return
	}
	if writable {
		c.writable()
	}
	if readable && c.state != stateClosed {
		c.readable()
	}
}

// Turn is called by the network after it has told of events.
func (l *Loop) Turn(events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turns++
	l.events += uint64(events)
}

// Tick is called by the network while there are connections. With a million of
// them thousands are due at once: others must have their turn between them.
func (l *Loop) Tick() {
	for more := true; more; {
		l.lock()
		more = l.wheel.Advance(time.Now(), sliceDue, l.due)
		l.showLife()
		l.unlock()
		if more {
			runtime.Gosched() // there may be one processor only
		}
	}
}

// sliceDue bounds how many connections get what is due while mu is held.
const sliceDue = 64

// after is the tick at which d has gone by.
func (l *Loop) after(d time.Duration) uint32 { return l.wheel.After(d, time.Now()) }

// due does what is due for the connection in a slot.
func (l *Loop) due(slot uint32) { l.slots[slot].onDue() }

// add makes a connection of an accepted socket.
func (l *Loop) add(fd int32, remote [16]byte) *Conn {
	l.lastGen++
	if l.lastGen == 0 {
		l.lastGen++
	}
	c := &Conn{loop: l, fd: fd, gen: l.lastGen}
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
		l.slots[c.slot] = c
	} else {
		c.slot = uint32(len(l.slots))
		l.slots = append(l.slots, c)
	}
	if len(l.slots)-len(l.free) == 1 {
		l.wheel.Resume(time.Now())
		l.io.Timer(true)
	}
	l.pending++
	c.half().remote = remote
	c.fillBucket()
	return c
}

// remove forgets a connection.
func (l *Loop) remove(c *Conn) {
	l.wheel.Remove(c.slot)
	l.slots[c.slot] = nil
	l.free = append(l.free, c.slot)
	if len(l.free) == len(l.slots) {
		l.slots, l.free = l.slots[:0], l.free[:0]
		l.io.Timer(l.life.asked != nil)
	}
}

// trim gives up memory that was not needed since the last call.
func (l *Loop) trim() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.Trim()
	l.inbounds.trim()
	l.dirty, l.prompt, l.spare = trimmed(l.dirty), trimmed(l.prompt), trimmed(l.spare)
	l.everyone.trimRoom()
	l.box.trim()
}

// close gives up what is left when nothing of the server runs any more; a
// Deliverer may still be at work.
func (l *Loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.Close()
}
