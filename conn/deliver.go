package conn

import "time"

const (
	inlineFlush = 256      // connections that are flushed at once, not by a sweep
	inlinePost  = 32       // messages that are flushed at once where a loop could do it on another core
	sliceWrites = 64       // writes while a loop's lock is held in one go
	sliceQueued = 512      // messages that are queued while it is
	maxBacklog  = 64 << 20 // bytes that are on their way, at most, before no more is read
)

// Deliverer sends messages to many connections. It belongs to one goroutine,
// which alone calls its methods, but for Trim; the order of its calls is the
// order in which each connection gets its messages.
//
// Plain queues a message for one connection. A message for several, or one with
// anything special to it, is made by Message, queued by To and All, and let go
// of by Done, before the next one is made. Flush writes where few connections
// are concerned; Work goes on with large fan-outs, in slices.
type Deliverer struct {
	srv   *Server
	arena arena
	own   *segment // nil: none is needed yet
	mark  uint32
	clock int64
	age   int // messages since clock was read
}

// NewDeliverer returns a Deliverer for the server's connections. A server has
// one: two would not keep each other's order.
func (s *Server) NewDeliverer() *Deliverer { return &Deliverer{srv: s} }

// Push describes a message to be delivered.
type Push struct {
	Size      int    // of the text, in bytes: exactly what is then appended to Text
	Expires   int64  // Unix ms; 0: never
	At        int64  // when it was published, Unix ms; 0: not known
	Collapse  string // "": it never takes another's place
	Close     bool   // close the connections after it; with Size 0 there is no text
	CloseCode Code
	Reason    string
}

// Message returns a new message. The caller fills the text by appending exactly
// p.Size bytes to the slice it returns, which has that capacity.
func (d *Deliverer) Message(p Push) (m *Message, text []byte) {
	n := p.Size + maxHeaderSize
	if p.Close {
		n += maxControl + 2
	}
	s := d.own
	if s == nil || len(s.buf)-s.at < n && (len(s.buf) < n || !s.empty()) {
		if s != nil {
			s.retire()
		}
		s = d.arena.take(n)
		d.own = s
	}
	b := s.buf[s.at : s.at : s.at+n]
	s.at += n
	if p.Size > 0 {
		b = appendHeader(b, opText, p.Size)
		text = b[len(b) : len(b) : len(b)+p.Size]
		b = b[:len(b)+p.Size]
	}
	if p.Close {
		b = appendClose(b, p.CloseCode, p.Reason)
	}
	m = s.message()
	m.frame = b
	m.refs.Store(1)
	m.expires, m.at, m.collapse, m.closes = p.Expires, p.At, p.Collapse, p.Close
	d.mark++
	return m, text
}

// To sends m, the newest message, to c. To send it again does nothing.
func (d *Deliverer) To(c *Conn, m *Message) {
	if c.mark == d.mark {
		return
	}
	c.mark = d.mark
	m.retain()
	if d.srv.sweepers {
		c.loop.put(c, m)
		return
	}
	l := d.lock(c.loop, len(m.frame))
	c.enqueue(m)
	c.soil()
	l.mu.Unlock()
}

// Plain sends a text, which is head, body and tail, to c. at is when it was
// published, Unix ms; 0: not known.
func (d *Deliverer) Plain(c *Conn, head, body []byte, tail byte, at int64) {
	if size := len(head) + len(body) + 1; size+maxServerHeader > maxInline || !d.srv.inline {
		m, text := d.Message(Push{Size: size, At: at})
		_ = append(append(append(text, head...), body...), tail)
		d.To(c, m)
		d.Done(m)
		return
	}
	if d.srv.sweepers {
		c.loop.putPlain(c, head, body, tail, at)
		return
	}
	l := d.lock(c.loop, len(head)+len(body)+1)
	c.plain(head, body, tail, at)
	c.soil()
	l.mu.Unlock()
}

// All sends m, the newest message, to every connection.
func (d *Deliverer) All(m *Message) {
	for _, l := range d.srv.loops {
		m.retain()
		if d.srv.sweepers {
			l.put(nil, m)
			continue
		}
		d.lock(l, len(m.frame))
		l.log.append(m)
		l.mu.Unlock()
	}
}

// Done lets go of m, the newest message.
func (d *Deliverer) Done(m *Message) { m.release() }

// lock locks the loop for a message of n bytes, and sets its clock.
func (d *Deliverer) lock(l *Loop, n int) *Loop {
	l.backlog.Add(int64(n))
	// Asking for the time costs as much as queueing a message.
	const often = 64
	if d.age--; d.age < 0 {
		d.clock, d.age = d.srv.opts.Now(), often
	}
	l.mu.Lock()
	l.clock = d.clock
	return l
}

// soil notes that c has something to be written.
func (c *Conn) soil() {
	if c.out != nil && !c.has(flagDirty|flagWantWrite) {
		c.set(flagDirty)
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// Flush writes what was sent, at once, or, where many connections are
// concerned, leaves it to Work.
func (d *Deliverer) Flush() {
	d.age = 0
	for _, l := range d.srv.loops {
		l.flushFew()
	}
}

// Work brings out a slice of what Flush left, and reports whether it shall be
// called again. Where loops have their own goroutines for that, it only lends a
// hand while they are behind.
func (d *Deliverer) Work() (more bool) {
	d.age = 0
	if d.srv.sweepers && !d.Full() {
		return false
	}
	for _, l := range d.srv.loops {
		if l.sweep(sliceWrites) {
			more = true
		}
	}
	return more
}

// Rest says for how long Work has nothing to do, where there is more to do.
func (d *Deliverer) Rest() (rest time.Duration) {
	for _, l := range d.srv.loops {
		rest = max(rest, l.rest())
	}
	return rest
}

// Parallel reports whether what was sent is brought out while more is sent.
func (d *Deliverer) Parallel() bool { return d.srv.sweepers }

// Full reports whether so much is on its way that no more should be read until
// Work has brought it out.
func (d *Deliverer) Full() bool {
	var n int64
	for _, l := range d.srv.loops {
		n += l.backlog.Load()
	}
	return n > maxBacklog
}

// Idle is called when there is nothing to do for now.
func (d *Deliverer) Idle() {
	d.age = 0
	if s := d.own; s != nil && s.empty() && len(s.buf) > segmentBytes {
		s.retire() // a large message has passed
		d.own = nil
	}
}

// Trim gives up memory that was not needed since the last call. It may be called
// from anywhere.
func (d *Deliverer) Trim() {
	d.arena.trim()
	for _, l := range d.srv.loops {
		l.mu.Lock()
		l.pools.trim()
		if l.sender != nil {
			l.sender.trim()
		}
		l.box.trim()
		l.dirty, l.answers = trimmed(l.dirty), trimmed(l.answers)
		g := &l.log
		g.run, g.messages, g.starts = trimmed(g.run), trimmed(g.messages), trimmed(g.starts)
		l.mu.Unlock()
	}
}

// flushFew writes what waits for the connections that are to be flushed, where
// they are few; else it leaves them to sweeps.
func (l *Loop) flushFew() {
	if l.srv.sweepers {
		switch n := l.box.waiting(); {
		case n == 0:
			return
		case n > inlinePost || l.box.busy.Load():
			l.wakeSweeper()
			return
		}
	}
	for few := true; few; {
		l.mu.Lock()
		l.clock = l.srv.opts.Now()
		if l.srv.sweepers {
			l.collect(sliceQueued)
		}
		few = len(l.dirty)-l.dirtyAt <= inlineFlush && l.flushDirty(sliceWrites) == 0
		left := !l.idle()
		if !left {
			l.backlog.Store(0)
		}
		l.mu.Unlock() // let the loop have its turn
		if !few && left && l.srv.sweepers {
			l.wakeSweeper()
		}
	}
}

// flushDirty flushes connections that wait for it: budget of them at most. It
// returns what is left of the budget.
func (l *Loop) flushDirty(budget int) (left int) {
	waiting := len(l.dirty) - l.dirtyAt
	if waiting == 0 {
		return budget
	}
	n := min(budget, waiting)
	timed := l.rounds.timed(waiting)
	if timed {
		if n = min(n, l.rounds.share(time.Now(), waiting)); n == 0 {
			return budget
		}
	}
	lift := l.many(n)
	for range n {
		c := l.dirty[l.dirtyAt]
		l.dirty[l.dirtyAt] = nil
		l.dirtyAt++
		c.clear(flagDirty)
		if lift {
			c.lift()
		} else {
			c.flush()
		}
	}
	l.complete()
	if timed {
		l.rounds.flushed(time.Now(), n)
	}
	if l.dirtyAt == len(l.dirty) {
		l.dirty, l.dirtyAt = l.dirty[:0], 0
	}
	return budget - n
}

// rest returns how long nothing shall be flushed.
func (l *Loop) rest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rounds.rest(time.Now(), len(l.dirty)-l.dirtyAt)
}
