package sendq

// Queue is what waits for one socket, in order. It belongs to a pool, which
// every method that changes it is given; whoever guards the pool guards it.
//
// Between Buffers and Took it may only be added to.
type Queue struct {
	rest   rest
	urgent []byte // control frames that go behind rest, and before all else

	head, tail *block
	frames     []*Frame // the shared ones, in order
	popped     int      // how many of frames are out already

	bytes   int // that wait
	memory  int // that they take: blocks, frames, rest and urgent
	control int // of them, those of control frames that are not begun
}

// rest is what is left of a frame that is begun.
type rest struct {
	bytes   []byte
	memory  int    // that they take once they are out of the blocks
	frame   *Frame // whose bytes they are; nil: their own
	message bool   // it counts
	timed   bool
	at      int64
}

// Bytes is how many bytes wait.
func (q *Queue) Bytes() int { return q.bytes }

// Memory is how many bytes of memory what waits takes. A frame that several queues
// share counts in each of them.
func (q *Queue) Memory() int { return q.memory }

// Fits reports whether a frame for this queue alone, of size bytes, leaves Memory
// within limit. Where nothing waits each one does.
func (q *Queue) Fits(size, limit int) bool { return q.fits(0, size, limit) }

// FitsFrame is Fits for a Frame.
func (q *Queue) FitsFrame(f *Frame, limit int) bool {
	if f.Alone {
		return q.fits(0, len(f.Bytes), limit)
	}
	return q.fits(f.memory(), 0, limit)
}

// fits is Fits for memory outside of the blocks, and size bytes in them.
func (q *Queue) fits(memory, size, limit int) bool {
	if q.tail == nil || !q.tail.fits(size) {
		memory += blockBytes
	}
	return q.bytes == 0 || q.memory+memory <= limit
}

// Control is how many bytes of control frames wait, less those of one that is begun.
func (q *Queue) Control() int { return q.control }

// Empty reports whether nothing waits, so that the queue can be given back.
func (q *Queue) Empty() bool { return q.head == nil && len(q.rest.bytes) == 0 && len(q.urgent) == 0 }

// Append adds a frame for this queue alone, which consists of parts, MaxPrivate
// bytes in all at most. at is when it was published, Unix ms; 0: not known.
// control says that it is no message.
func (q *Queue) Append(p *Pool, control bool, at int64, parts ...[]byte) {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	b := q.last(p, size)
	for _, part := range parts {
		b.end += uint16(copy(b.room()[b.end:], part))
	}
	r := record(size)
	if control {
		r |= recordControl
		b.control++
		q.control += size
	} else if at != 0 {
		r |= recordTimed
		b.time(at)
	}
	b.add(r)
	q.grow(p, size)
}

// Push adds a frame, whose hold goes over from the caller to the queue.
func (q *Queue) Push(p *Pool, f *Frame) {
	if f.Alone {
		q.Append(p, f.Control, f.At, f.Bytes)
		f.Release()
		return
	}
	b := q.last(p, 0)
	b.add(recordShared)
	b.shared++
	if f.Control {
		q.control += len(f.Bytes)
	}
	q.frames = append(q.frames, f)
	q.memory += f.memory()
	q.grow(p, len(f.Bytes))
}

// First puts a control frame before all that waits; nothing is begun yet. The
// queue keeps it.
func (q *Queue) First(p *Pool, frame []byte) {
	q.urgent = append(frame, q.urgent...)
	q.control += len(frame)
	q.memory += len(frame)
	q.grow(p, len(frame))
}

// last returns the block for a frame that comes behind all others.
func (q *Queue) last(p *Pool, size int) *block {
	b := q.tail
	if b != nil && b.fits(size) {
		return b
	}
	b = p.block()
	q.memory += blockBytes
	if q.tail == nil {
		q.head = b
	} else {
		q.tail.next = b
	}
	q.tail = b
	return b
}

// grow counts n more bytes that wait; n may be negative.
func (q *Queue) grow(p *Pool, n int) {
	q.bytes += n
	p.Bytes += int64(n)
}

// Collapse looks for a waiting frame with the key of f, and puts f in its place,
// with the caller's hold of f; false: there is none. Where f closes, so that
// nothing may come behind it, or where Memory would then exceed limit, the other one
// is only taken out, and f is still to be added.
func (q *Queue) Collapse(p *Pool, f *Frame, limit int) bool {
	for i := q.popped; i < len(q.frames); i++ {
		old := q.frames[i]
		if old.Control || old.Closes || old.Collapse != f.Collapse {
			continue
		}
		replacement := f
		more := f.memory() - old.memory()
		fits := !f.Closes && (more <= 0 || q.memory+more <= limit)
		if !fits { // an empty frame holds the place
			replacement = NewFrame(nil)
			replacement.Control = true
		}
		q.frames[i] = replacement
		q.memory += replacement.memory() - old.memory()
		q.grow(p, len(replacement.Bytes)-len(old.Bytes))
		p.Count(Collapsed, 1)
		old.Release()
		return fits
	}
	return false
}

// DropOldest drops the oldest message that is not begun; false: there is none.
func (q *Queue) DropOldest(p *Pool) bool {
	for q.head != nil {
		if q.drop(p, Dropped) {
			return true
		}
	}
	return false
}

// DropMessages takes out all messages that are not begun. Control frames stay.
func (q *Queue) DropMessages(p *Pool, fate Fate) {
	for q.head != nil {
		q.drop(p, fate)
	}
}

// drop takes out the first frame that is not begun, and reports whether it was a
// message; a control frame then goes before all else.
func (q *Queue) drop(p *Pool, fate Fate) bool {
	t := q.pop(p)
	if t.message {
		q.grow(p, -len(t.bytes))
		p.Count(fate, 1)
	} else {
		q.urgent = append(q.urgent, t.bytes...)
		q.control += len(t.bytes)
		q.memory += len(t.bytes)
	}
	t.release()
	return t.message
}

// Clear takes out everything.
func (q *Queue) Clear(p *Pool, fate Fate) {
	q.DropMessages(p, fate)
	if q.rest.message {
		p.Count(fate, 1)
	}
	q.grow(p, -q.bytes)
	q.rest.release()
	q.rest, q.urgent, q.control, q.memory = rest{}, nil, 0, 0
}

// DropLate takes out messages at the head that are too late.
func (q *Queue) DropLate(p *Pool, now int64) {
	for q.head != nil && len(q.rest.bytes)+len(q.urgent) == 0 && q.head.record(q.head.gone)&recordShared != 0 {
		f := q.frames[q.popped]
		if !f.late(now) && len(f.Bytes) > 0 { // an empty one is what a collapsed message left
			return
		}
		q.drop(p, Expired)
	}
}

// Buffers fills bufs with what is to be written next, one behind the other, up
// to a message that is too late; DropLate has been called. It returns how many
// of bufs are used, and the sum of their sizes. 0: nothing waits.
func (q *Queue) Buffers(now int64, bufs [][]byte) (n, size int) {
	add := func(b []byte) bool {
		if len(b) == 0 {
			return true
		}
		if n == len(bufs) {
			return false
		}
		bufs[n] = b
		n++
		size += len(b)
		return true
	}
	if !add(q.rest.bytes) || !add(q.urgent) {
		return n, size
	}
	shared := q.frames[q.popped:]
	for b := q.head; b != nil; b = b.next {
		if b.shared == 0 {
			if !add(b.bytes()) {
				return n, size
			}
			continue
		}
		from, to := b.start, b.start
		for i := b.gone; i < b.n; i++ {
			r := b.record(i)
			if r&recordShared == 0 {
				to += uint16(r.size())
				continue
			}
			f := shared[0]
			shared = shared[1:]
			if !add(b.room()[from:to]) || f.late(now) || !add(f.Bytes) {
				return n, size
			}
			from = to
		}
		if !add(b.room()[from:to]) {
			return n, size
		}
	}
	return n, size
}

// Took notes that the socket has taken n bytes of what Buffers returned.
func (q *Queue) Took(p *Pool, n int, now int64) {
	q.grow(p, -n)
	n = q.tookFirst(p, n, now)
	for n > 0 {
		if b := q.head; b.shared+b.control == 0 && n >= int(b.end-b.start) {
			n -= int(b.end - b.start)
			q.wroteBlock(p, b, now)
			continue
		}
		t := q.pop(p)
		if n < len(t.bytes) {
			q.begin(t, n)
			return
		}
		n -= len(t.bytes)
		p.wrote(&t, now)
	}
}

// tookFirst takes up to n bytes off what goes before the blocks, and returns
// what is left of n.
func (q *Queue) tookFirst(p *Pool, n int, now int64) int {
	if k := min(n, len(q.rest.bytes)); k > 0 {
		n -= k
		if q.rest.bytes = q.rest.bytes[k:]; len(q.rest.bytes) == 0 {
			p.wrote(&q.rest, now)
			q.memory -= q.rest.memory
			q.rest = rest{}
		}
	}
	k := min(n, len(q.urgent))
	q.control -= k
	q.memory -= k
	if q.urgent = q.urgent[k:]; len(q.urgent) == 0 {
		q.urgent = nil
	}
	return n - k
}

// wroteBlock notes that all of the first block is written, which holds nothing but
// private messages.
func (q *Queue) wroteBlock(p *Pool, b *block, now int64) {
	p.Count(Written, b.left())
	if b.timed > 0 {
		p.Observe(now-b.at, int(b.timed))
	}
	q.popBlock(p)
}

// begin keeps what is left of a frame of which n bytes are written.
func (q *Queue) begin(t rest, n int) {
	t.bytes = t.bytes[n:]
	if t.frame == nil {
		t.bytes = append([]byte(nil), t.bytes...)
		t.memory = cap(t.bytes)
	}
	q.rest = t
	q.memory += t.memory
}

// wrote counts a frame all of which is written.
func (p *Pool) wrote(t *rest, now int64) {
	if t.message {
		p.Count(Written, 1)
		if t.timed {
			p.Observe(now-t.at, 1)
		}
	}
	t.release()
}

func (t *rest) release() {
	if t.frame != nil {
		t.frame.Release()
	}
}

// pop takes the first frame out of the blocks. Its bytes are valid until the
// next block is taken from the pool.
func (q *Queue) pop(p *Pool) (t rest) {
	b := q.head
	r := b.record(b.gone)
	if r&recordShared != 0 {
		f := q.popFrame()
		t = rest{bytes: f.Bytes, memory: f.memory(), frame: f, message: !f.Control, timed: f.At != 0, at: f.At}
		b.shared--
		q.memory -= t.memory
	} else {
		size := uint16(r.size())
		t = rest{bytes: b.room()[b.start : b.start+size : b.start+size], message: r&recordControl == 0, timed: r&recordTimed != 0, at: b.at}
		b.start += size
		if t.timed {
			b.timed--
		}
		if !t.message {
			b.control--
		}
	}
	if !t.message {
		q.control -= len(t.bytes)
	}
	if b.gone++; b.left() == 0 {
		q.popBlock(p)
	}
	return t
}

func (q *Queue) popBlock(p *Pool) {
	b := q.head
	if q.head = b.next; q.head == nil {
		q.tail = nil
	}
	p.put(b)
	q.memory -= blockBytes
}

func (q *Queue) popFrame() *Frame {
	f := q.frames[q.popped]
	q.frames[q.popped] = nil
	if q.popped++; q.popped == len(q.frames) {
		q.frames, q.popped = q.frames[:0], 0
	} else if q.popped >= keptFrames && 2*q.popped > len(q.frames) {
		n := copy(q.frames, q.frames[q.popped:])
		clear(q.frames[n:])
		q.frames, q.popped = q.frames[:n], 0
	}
	return f
}

// Began notes that n bytes of the only frame in the queue, which is shared, are
// on the wire already.
func (q *Queue) Began(p *Pool, n int) {
	q.grow(p, -n)
	q.begin(q.pop(p), n)
}
