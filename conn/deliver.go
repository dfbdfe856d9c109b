package conn

const (
	inlineFlush = 256      // connections that are flushed at once, not by a sweep
	sliceWrites = 32       // writes while a loop's lock is held in one go
	applyAtOnce = 512      // messages queued while a loop's lock is held in one go
	maxBacklog  = 64 << 20 // bytes that are on their way, at most, before no more is read
)

// Deliverer sends messages to many connections. It belongs to one goroutine,
// which alone calls its methods, but for Calm; the order of its calls is the
// order in which each connection gets its messages.
//
// A message is made by Message or MessageIn, addressed by To and All, and let
// go of by Done, before the next one is made. To and All only note what is to
// be sent; Flush queues it and writes where few connections are concerned; Work
// goes on with large fan-outs, in slices.
type Deliverer struct {
	srv     *Server
	arena   arena
	own     *Segment     // for messages that are copied; nil: none is needed yet
	pending [][]delivery // by loop
	mark    uint32
	holds   int32 // of the newest message
}

// delivery is a message for a connection; for all of the loop where it is nil.
type delivery struct {
	c *Conn
	m *Message
}

// NewDeliverer returns a Deliverer for the server's connections. A server has
// one: two would not keep each other's order.
func (s *Server) NewDeliverer() *Deliverer {
	return &Deliverer{srv: s, pending: make([][]delivery, len(s.loops))}
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

// Message returns a new message. The caller fills the text by appending exactly
// p.Size bytes to the slice it returns, which has that capacity.
func (d *Deliverer) Message(p Push) (m *Message, text []byte) {
	n := p.Size + maxHeaderSize
	if p.Close {
		n += maxControl + 2
	}
	s := d.own
	if s == nil || len(s.buf)-s.at < n {
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
	return d.message(s, p, b), text
}

// MaxHeader is how many bytes before a text MessageIn may write to.
const MaxHeader = maxHeaderSize

// MessageIn returns a new message whose text lies in s already, from the byte
// from to the byte to: it is not copied. The MaxHeader bytes before it, which
// must be there, are written to. p.Size and the members for closing are ignored.
func (d *Deliverer) MessageIn(s *Segment, from, to int, p Push) *Message {
	var head [maxHeaderSize]byte
	h := appendHeader(head[:0], opText, to-from)
	from -= len(h)
	copy(s.buf[from:], h)
	p.Close = false
	return d.message(s, p, s.buf[from:to:to])
}

func (d *Deliverer) message(s *Segment, p Push, frame []byte) *Message {
	m := s.message()
	m.frame = frame
	m.expires, m.at, m.collapse, m.closes = p.Expires, p.At, p.Collapse, p.Close
	d.mark++
	d.holds = 0
	return m
}

// Segment returns memory of at least n bytes, to be given back with Retire.
func (d *Deliverer) Segment(n int) *Segment { return d.arena.take(n) }

// Reuse reports whether nothing that lies in s is held any more. Then it may
// be written to from its beginning.
func (d *Deliverer) Reuse(s *Segment) bool { return s.empty() }

// Retire ends the use of s by the caller.
func (d *Deliverer) Retire(s *Segment) { s.retire() }

// To addresses m, the newest message, to c. Addressing c again does nothing.
func (d *Deliverer) To(c *Conn, m *Message) {
	if c.mark == d.mark {
		return
	}
	c.mark = d.mark
	d.holds++
	i := c.loop.index
	d.pending[i] = append(d.pending[i], delivery{c, m})
}

// All addresses m, the newest message, to every connection.
func (d *Deliverer) All(m *Message) {
	for i := range d.pending {
		d.holds++
		d.pending[i] = append(d.pending[i], delivery{nil, m})
	}
}

// Done ends the addressing of m, the newest message.
func (d *Deliverer) Done(m *Message) {
	m.refs.Store(d.holds)
	if d.holds == 0 {
		m.seg.release()
	}
}

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
// Work has brought some of it out. What waits for slow sockets does not count:
// it lies in no segment, and each of them has a bound.
func (d *Deliverer) Full() bool { return d.arena.out.Load() > maxBacklog }

// Idle is called when there is nothing to do for now.
func (d *Deliverer) Idle() {
	if s := d.own; s != nil {
		s.empty()
	}
}

// Calm gives up memory that was needed in a busier time. It may be called from
// anywhere.
func (d *Deliverer) Calm() { d.arena.drop() }

// apply queues messages for the loop's connections, in their order. The holds of
// them go over to it.
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
