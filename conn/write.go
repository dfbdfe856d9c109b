package conn

import (
	"bytes"
	"time"
)

// scratchBytes bounds what is put together for one write; a frame that does
// not fit is written from where it is.
const scratchBytes = 64 << 10

// enqueue takes a message for c: it is queued, or counted as lost. The caller's
// hold of it goes over to c, here as in what it calls. flush writes it.
func (c *Conn) enqueue(m *Message) {
	if c.state != stateOpen && c.state != stateRegistering || c.has(flagCloseNext) {
		c.lose(m, resultClosed)
		return
	}
	c.catchUp()
	c.admit(m)
}

// admit queues m within the bounds. It may end the connection.
func (c *Conn) admit(m *Message) {
	l := c.loop
	switch {
	case c.state != stateOpen && c.state != stateRegistering || c.has(flagCloseNext):
		c.lose(m, resultClosed)
		return
	case m.expires != 0 && m.expires < l.clock:
		c.lose(m, resultExpired)
		return
	case m.collapse != "" && c.collapse(m):
		return
	case m.closes:
		// It is the last one: no bound is needed.
	case !c.room(len(m.frame)):
		c.overflow(m)
		return
	}
	closes := m.closes
	c.pushHeld(m)
	if closes {
		if c.state == stateRegistering {
			c.set(flagCloseNext)
		} else {
			c.closing(CauseServer)
		}
	}
}

// plain queues a message that is for c alone, fits into a chunk, and neither
// expires, collapses nor closes: its text is head, body and tail, one behind the
// other.
func (c *Conn) plain(head, body []byte, tail byte, at int64) {
	text := len(head) + len(body) + 1
	size := text + headerSize(text)
	if c.state == stateOpen {
		c.catchUp() // which may end it
	}
	if c.state != stateOpen || c.has(flagCloseNext) || !c.roomNow(size) {
		m := &Message{frame: appendText(make([]byte, 0, size), head, body, tail), at: at}
		c.enqueue(m)
		return
	}
	appendText(c.inline(size, at), head, body, tail)
}

func appendText(b, head, body []byte, tail byte) []byte {
	b = appendHeader(b, opText, len(head)+len(body)+1)
	return append(append(append(b, head...), body...), tail)
}

// roomNow reports whether n more bytes may wait, without making room.
func (c *Conn) roomNow(n int) bool {
	return c.out == nil || c.out.bytes == 0 || c.out.bytes+n <= c.loop.srv.opts.QueueBytes
}

// lose books what became of a message that is not queued.
func (c *Conn) lose(m *Message, r result) {
	c.loop.count(m, r)
	m.release()
}

// pushHeld queues a message, or a copy of it where it may have to wait long.
func (c *Conn) pushHeld(m *Message) {
	if c.has(flagWantWrite) || c.state == stateRegistering {
		m = m.kept()
	}
	c.push(m)
}

// room reports whether n more bytes may wait. What waits only because nobody
// has tried to write it yet is written first.
func (c *Conn) room(n int) bool {
	limit := c.loop.srv.opts.QueueBytes
	if c.roomNow(n) {
		return true
	}
	if c.has(flagWantWrite) || c.state != stateOpen {
		return false
	}
	c.flush()
	return c.state == stateOpen && (c.out == nil || c.out.bytes+n <= limit)
}

// overflow does with m what the policy for slow consumers says.
func (c *Conn) overflow(m *Message) {
	l := c.loop
	if c.state != stateOpen && c.state != stateRegistering {
		c.lose(m, resultClosed) // ended by a failed write
		return
	}
	switch l.srv.opts.SlowConsumer {
	case DropNewest:
		c.lose(m, resultDropped)
	case DropOldest:
		for !c.room(len(m.frame)) && c.dropOldest() {
		}
		if c.room(len(m.frame)) {
			c.pushHeld(m)
		} else {
			c.lose(m, resultDropped)
		}
	default:
		c.lose(m, resultDropped)
		c.slow()
	}
}

// slow ends the connection because it takes too little.
func (c *Conn) slow() {
	l := c.loop
	l.slow++
	if c.state == stateRegistering { // its registration takes long, and it is popular
		c.cause = CauseSlow
		c.refuse(&Refusal{Status: 503, Error: "unavailable", Reason: "too much waits for this connection", RetryAfter: 1})
		return
	}
	c.forfeit()
	c.discard(resultClosed, true)
	c.beginClose(CodeTryAgain, Retry(time.Second, 5*time.Second), CauseSlow)
}

// flush writes what waits, as far as the socket takes it.
func (c *Conn) flush() {
	for c.writes() {
		if c.dropLate(); c.out == nil {
			break
		}
		b := c.gather()
		n, err := c.loop.io.write(c, b)
		if !c.completed(len(b), n, err) {
			return
		}
	}
	c.flushed()
}

// completed does what follows from a write of asked bytes from the head of the
// queue, of which the socket took n, and reports whether it takes more.
func (c *Conn) completed(asked, n int, err error) bool {
	if err != nil {
		c.end(CausePeer)
		return false
	}
	c.wrote(n)
	if n < asked {
		c.block()
		return false
	}
	return true
}

// dropLate takes what is too late from the head of the queue.
func (c *Conn) dropLate() {
	for c.out != nil && c.out.off == 0 && c.out.flying == 0 && c.late(c.out.head.m) {
		c.pop(resultExpired)
	}
}

// gather returns the bytes to write next.
func (c *Conn) gather() []byte {
	l, q := c.loop, c.out
	first := q.head.bytes()[q.off:]
	if q.head.next == nil || len(first) >= scratchBytes {
		return first
	}
	if l.scratch == nil {
		l.scratch = make([]byte, 0, scratchBytes)
	}
	b := append(l.scratch[:0], first...)
	for n := q.head.next; n != nil && !c.late(n.m); n = n.next {
		more := n.bytes()
		if len(b)+len(more) > scratchBytes {
			break
		}
		b = append(b, more...)
	}
	return b
}

func (c *Conn) late(m *Message) bool { return m != nil && m.expires != 0 && m.expires < c.loop.clock }

// wrote books n bytes that the socket has taken from the head of the queue.
func (c *Conn) wrote(n int) {
	l := c.loop
	l.writes++
	l.writtenBytes += uint64(n)
	for n > 0 {
		q := c.out
		if k := q.head.k; k != nil && !k.timed && n+q.off >= int(k.end-k.start) {
			left := int(k.end-k.start) - q.off // all of the chunk
			n -= left
			c.grow(-left)
			q.off = 0
			l.delivered[resultWritten] += uint64(k.left())
			c.popNode()
			continue
		}
		left := q.head.first() - q.off
		if n < left {
			q.off += n
			c.grow(-n)
			return
		}
		n -= left
		c.pop(resultWritten)
	}
}

// begun notes that n bytes of the queue's first frame are written.
func (c *Conn) begun(n int) {
	c.out.off = n
	c.grow(-n)
}

// block notes that the socket takes no more for now.
func (c *Conn) block() {
	c.keep()
	c.set(flagWantWrite)
	if !c.has(flagArmed) {
		c.set(flagArmed)
		c.loop.io.armWrite(c, true)
	}
}

// writable is called by the transport when the socket takes more.
func (c *Conn) writable() {
	c.loop.clock = c.loop.srv.opts.Now()
	c.clear(flagWantWrite | flagAwaiting) // room was made: someone is there
	c.flush()
	if c.state != stateClosed && !c.has(flagWantWrite) && c.has(flagArmed) {
		c.clear(flagArmed)
		c.loop.io.armWrite(c, false)
	}
}

// flushed does what waits for an empty queue.
func (c *Conn) flushed() {
	if c.out != nil {
		return
	}
	switch c.state {
	case stateClosing:
		if c.has(flagPeerClosed) {
			c.end(c.cause)
		}
	case stateRefused:
		c.loop.io.finish(c)
	}
}

// sendControl sends a frame that is no delivery, and that is the caller's again
// when it returns. Where too many of them wait the connection is a slow consumer,
// whatever the policy: they are not dropped.
func (c *Conn) sendControl(frame []byte) {
	if c.out == nil && !c.has(flagWantWrite) {
		n, err := c.loop.io.write(c, frame)
		c.controlled(frame, n, err)
		return
	}
	limit := c.loop.srv.opts.QueueBytes + controlSlack
	if c.out != nil && c.out.bytes+len(frame) > limit {
		c.flush() // what waits only because nobody has tried to write it
		switch {
		case c.state == stateClosed:
			return
		case c.out != nil && c.out.bytes+len(frame) > limit:
			c.slow()
			return
		}
	}
	c.push(&Message{frame: bytes.Clone(frame), control: true})
	c.flush()
}

// controlled does what follows from a write of a control frame, of which the socket
// took n bytes.
func (c *Conn) controlled(frame []byte, n int, err error) {
	if err != nil {
		c.end(CausePeer)
		return
	}
	c.loop.writes++
	c.loop.writtenBytes += uint64(n)
	if n == len(frame) {
		return
	}
	c.push(&Message{frame: bytes.Clone(frame), control: true})
	c.begun(n)
	c.block()
}

// controlSlack is how far control frames and receipts may exceed QueueBytes.
const controlSlack = 16 << 10

// sendShared is sendControl for a message that many share. With lift, complete must
// follow, before the loop is unlocked.
func (c *Conn) sendShared(m *Message, lift bool) {
	if c.out == nil && !c.has(flagWantWrite) {
		if lift {
			c.liftControl(m.frame)
		} else {
			c.sendControl(m.frame)
		}
		return
	}
	c.push(m)
	c.flush()
}
