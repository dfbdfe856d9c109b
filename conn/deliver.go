package conn

import "sync"

const (
	inlineFlush = 256 // connections that are flushed at once, not by a sweep
	sliceWrites = 32  // writes while a loop's lock is held in one go
	applyAtOnce = 512 // messages queued while a loop's lock is held in one go
	maxBacklog  = 32 << 20
)

// Deliverer sends messages to many connections. It belongs to one goroutine,
// which alone calls its methods; the order of its calls is the order in which
// each connection gets its messages.
//
// To and All only note what is to be sent; Flush queues it and writes where few
// connections are concerned; Work goes on with large fan-outs, in slices.
type Deliverer struct {
	srv     *Server
	arena   arena
	pool    sync.Pool
	pending [][]delivery // by loop
	mark    uint32
}

// delivery is a message for a connection; for all of the loop where it is nil.
type delivery struct {
	c *Conn
	m *Message
}

// NewDeliverer returns a Deliverer for the server's connections. A server has
// one: two would not keep each other's order.
func (s *Server) NewDeliverer() *Deliverer {
	d := &Deliverer{srv: s, pending: make([][]delivery, len(s.loops))}
	d.pool.New = func() any { return new(Message) }
	return d
}

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

// Message returns a new message, which the caller holds until Done. The caller
// fills the text by appending exactly p.Size bytes to the slice it returns,
// which has that capacity.
func (d *Deliverer) Message(p Push) (m *Message, text []byte) {
	m = d.pool.Get().(*Message)
	n := p.Size + maxHeaderSize
	if p.Close {
		n += maxControl + 2
	}
	seg, b := d.arena.take(n)
	m.pool, m.seg = &d.pool, seg
	m.refs.Store(1)
	m.expires, m.at, m.collapse, m.closes = p.Expires, p.At, p.Collapse, p.Close
	if p.Size > 0 {
		b = appendHeader(b, opText, p.Size)
		text = b[len(b) : len(b) : len(b)+p.Size]
		b = b[:len(b)+p.Size]
	}
	if p.Close {
		b = appendClose(b, p.CloseCode, p.Reason)
	}
	m.frame = b
	d.mark++
	return m, text
}

// To addresses m, the newest message, to c. Addressing c again does nothing.
func (d *Deliverer) To(c *Conn, m *Message) {
	if c.mark == d.mark {
		return
	}
	c.mark = d.mark
	m.retain()
	i := c.loop.index
	d.pending[i] = append(d.pending[i], delivery{c, m})
}

// All addresses m to every connection.
func (d *Deliverer) All(m *Message) {
	for i := range d.pending {
		m.retain()
		d.pending[i] = append(d.pending[i], delivery{nil, m})
	}
}

// Done lets go of m.
func (d *Deliverer) Done(m *Message) { m.release() }

// Flush queues all that was addressed, and writes it, at once or, where many
// connections are concerned, by Work.
func (d *Deliverer) Flush() {
	for i, l := range d.srv.loops {
		if p := d.pending[i]; len(p) > 0 {
			l.apply(p)
			clear(p)
			if d.pending[i] = p[:0]; cap(p) > 64<<10 {
				d.pending[i] = nil
			}
		}
	}
}

// Work brings out a slice of what Flush left, and reports whether more is left.
func (d *Deliverer) Work() (more bool) {
	for _, l := range d.srv.loops {
		if l.sweep(sliceWrites) {
			more = true
		}
	}
	return more
}

// Full reports whether so much is on its way that no more should be read until
// Work has brought some of it out.
func (d *Deliverer) Full() bool {
	for _, l := range d.srv.loops {
		if l.backlog() > maxBacklog {
			return true
		}
	}
	return false
}

// Idle is called when there is nothing to do for now.
func (d *Deliverer) Idle() { d.arena.idle() }

// apply queues messages for the loop's connections, in their order.
func (l *Loop) apply(p []delivery) {
	few := len(p) <= inlineFlush
	for rest := p; len(rest) > 0; {
		some := rest[:min(len(rest), applyAtOnce)]
		rest = rest[len(some):]
		l.mu.Lock()
		l.clock = l.srv.opts.Now()
		for _, d := range some {
			if d.c == nil {
				l.log.append(d.m)
			} else {
				d.c.enqueue(d.m)
				if !few && d.c.out != nil && !d.c.has(flagDirty|flagWantWrite) {
					d.c.set(flagDirty)
					l.dirty = append(l.dirty, d.c)
				}
			}
			d.m.release()
		}
		if few {
			for i, d := range some {
				if d.c != nil {
					d.c.flush()
				}
				if i%sliceWrites == sliceWrites-1 {
					l.mu.Unlock() // let the loop have its turn
					l.mu.Lock()
				}
			}
		}
		l.mu.Unlock()
	}
	if l.srv.sweepers {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}
