package conn

import "pushpod/conn/internal/sendq"

// Frame is an encoded message on its way to several connections, made by
// Deliverer.Frame.
type Frame = sendq.Frame

// Deliverer sends messages to many connections. It belongs to one goroutine,
// which alone calls its methods, but for Trim; the order of its calls is the
// order in which each connection gets its messages.
//
// Messages are gathered by loop. Flush hands them over: where few connections
// are concerned it queues and writes itself, so that a lone push costs no
// hand-over; else the loops' workers do, or, where there is one loop, Work, in
// slices.
type Deliverer struct {
	srv     *Server
	frames  sendq.Frames
	batches []batch // by the loop's index
	touched []*Loop // that have something in their batch
	left    []*Loop // for Work: Flush has queued more than it writes
}

const (
	batchBytes   = 128 << 10 // bytes gathered for a loop at most: what fits into a core's cache
	batchItems   = 1024      // messages gathered for a loop at most
	directItems  = 32        // messages at most that the Deliverer writes though there is a worker
	directWrites = 256       // connections at most that are written to at once, not by a sweep
	mostBehind   = 64 << 20  // bytes not written, at most, before no more is read
)

// NewDeliverer returns a Deliverer for the server's connections. A server has
// one: two would not keep each other's order.
func (s *Server) NewDeliverer() *Deliverer {
	return &Deliverer{srv: s, batches: make([]batch, len(s.loops))}
}

// Push is what is special to a message.
type Push struct {
	Expires   int64  // Unix ms; 0: never
	At        int64  // when it was published, Unix ms; 0: not known
	Collapse  string // "": it never takes another's place
	Close     bool   // close the connections after it
	CloseCode Code
	Reason    string
}

// Frame makes a message whose text consists of the parts; without parts it has
// none, and only closes. The caller lets go of it by Release once it is sent.
func (d *Deliverer) Frame(p Push, parts ...[]byte) *Frame {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	codec := &d.srv.codec
	room := maxHead + size
	if p.Close {
		room += maxClose
	}
	f := d.frames.New(room)
	if len(parts) > 0 {
		f.Bytes = codec.head(f.Bytes, size)
		for _, part := range parts {
			f.Bytes = append(f.Bytes, part...)
		}
	}
	if p.Close {
		f.Bytes = codec.closing(f.Bytes, p.CloseCode, p.Reason)
	}
	f.Expires, f.At, f.Collapse, f.Closes = p.Expires, p.At, p.Collapse, p.Close
	return f
}

// To sends f to c.
func (d *Deliverer) To(c *Conn, f *Frame) {
	f.Retain()
	d.batch(c.loop).add(item{c: c, f: f}, len(f.Bytes))
	d.added(c.loop)
}

// Plain sends a text, which consists of the parts, to c alone. at is when it was
// published, Unix ms; 0: not known.
func (d *Deliverer) Plain(c *Conn, at int64, parts ...[]byte) {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	if d.srv.codec.size(size) > sendq.MaxPrivate {
		f := d.Frame(Push{At: at}, parts...)
		d.To(c, f)
		f.Release()
		return
	}
	b := d.batch(c.loop)
	for _, part := range parts {
		b.texts = append(b.texts, part...)
	}
	b.add(item{c: c, at: at}, size)
	d.added(c.loop)
}

// All sends f to every connection.
func (d *Deliverer) All(f *Frame) {
	for _, l := range d.srv.loops {
		f.Retain()
		d.batch(l).add(item{f: f}, len(f.Bytes))
		d.added(l)
	}
}

// batch returns what is gathered for a loop, to be added to.
func (d *Deliverer) batch(l *Loop) *batch {
	b := &d.batches[l.index]
	if len(b.items) == 0 {
		d.touched = append(d.touched, l)
	}
	return b
}

// added hands over what is gathered for a loop where it is much.
func (d *Deliverer) added(l *Loop) {
	if b := &d.batches[l.index]; b.bytes >= batchBytes || len(b.items) >= batchItems {
		if d.alone() {
			d.queue(l, b)
		} else {
			d.handOver(l, b)
		}
	}
}

// alone reports whether there is one loop only: nobody else brings out what is
// left.
func (d *Deliverer) alone() bool { return len(d.srv.loops) == 1 }

// queue queues a batch, and writes nothing of it.
func (d *Deliverer) queue(l *Loop, b *batch) {
	d.srv.behind.Add(int64(b.bytes))
	for at := 0; at < len(b.items); {
		l.lock()
		at = l.queueItems(b, at, sliceQueued)
		if at == len(b.items) {
			l.taken += int64(b.bytes)
		}
		l.unlock()
	}
	b.reset()
}

// handOver hands a batch over to the loop's worker.
func (d *Deliverer) handOver(l *Loop, b *batch) {
	d.srv.behind.Add(int64(b.bytes))
	l.box.put(b)
	l.wakeWorker()
}

// Flush writes what was sent where it is little, and leaves the rest to the loops'
// workers, or to Work.
func (d *Deliverer) Flush() {
	for _, l := range d.touched {
		b := &d.batches[l.index]
		if !d.alone() && (len(b.items) > directItems || l.box.waiting.Load() > 0 || l.box.busy.Load()) {
			if len(b.items) > 0 { // else all of it was left to the worker before
				d.handOver(l, b)
			}
			continue
		}
		d.queue(l, b)
		if l.writeFew() {
			continue
		}
		if d.alone() {
			d.left = append(d.left[:0], l)
		} else {
			l.wakeWorker()
		}
	}
	clear(d.touched)
	d.touched = d.touched[:0]
}

// writeFew writes to the connections that wait for it, where they are few, and
// reports whether nothing is left.
func (l *Loop) writeFew() (all bool) {
	for {
		l.lock()
		if len(l.dirty)-l.dirtyAt <= directWrites {
			l.flushDirty(sliceWrites)
		} else {
			l.unlock()
			return false
		}
		few := l.dirtyAt < len(l.dirty)
		all = l.swept()
		l.unlock() // let the loop have its turn
		if !few {
			return all
		}
	}
}

// Work brings out a slice of what Flush left, and reports whether it shall be
// called again. Where loops have workers it only lends a hand while they are
// behind.
func (d *Deliverer) Work() (more bool) {
	loops := d.left
	if !d.alone() {
		if !d.Full() {
			return false
		}
		loops = d.srv.loops
	}
	for _, l := range loops {
		if l.sweep(sliceWrites) {
			more = true
		}
	}
	if !more {
		d.left = d.left[:0]
	}
	return more
}

// Full reports whether so much is on its way that no more should be read until
// Work has brought it out.
func (d *Deliverer) Full() bool { return d.srv.behind.Load() > mostBehind }

// Idle is called when there is nothing to do for now: it gives up room that was
// needed for a burst.
func (d *Deliverer) Idle() {
	for i := range d.batches {
		if b := &d.batches[i]; cap(b.texts) > 2*batchBytes {
			*b = batch{}
		}
	}
}

// Trim gives up memory that was not needed since the last call. It may be called
// from anywhere.
func (d *Deliverer) Trim() {
	for _, l := range d.srv.loops {
		l.trim()
	}
}
