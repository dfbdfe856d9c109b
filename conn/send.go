package conn

import (
	"bytes"
	"net/http"
	"time"

	"pushpod/conn/internal/sendq"
	"pushpod/conn/internal/wire"
)

// controlSlack is how many bytes of control frames and receipts may wait beyond
// Settings.QueueBytes.
const controlSlack = 16 << 10

// takes reports whether messages are still queued for c.
func (c *Conn) takes() bool {
	return (c.state == stateOpen || c.state == stateRegistering) && !c.has(flagCloseNext|flagCloseWaits)
}

// send queues a frame behind all that was sent before, or counts it as lost. The
// caller's hold of it goes over to c, here as in what it calls.
func (c *Conn) send(f *sendq.Frame) {
	if c.takes() {
		c.catchUp()
		f = c.inForm(f)
	}
	c.admit(f)
}

// admit queues a frame within the bounds. It may end the connection.
func (c *Conn) admit(f *sendq.Frame) {
	if c.has(flagInflight) {
		c.loop.submit()
	}
	switch {
	case !c.takes():
		c.lose(f, sendq.Closed)
	case f.Expires != 0 && f.Expires < c.loop.clock:
		c.lose(f, sendq.Expired)
	case f.Collapse != "" && c.collapse(f):
	case f.Closes:
		c.closeBy(f, CauseServer) // it is the last one: no bound is needed
	case !c.hasRoom(f):
		c.overflow(f)
	default:
		c.push(f)
	}
}

// sendPlain queues a message that is for c alone, and neither expires, collapses
// nor closes: a text of MaxPrivate bytes at most with its header.
func (c *Conn) sendPlain(text []byte, at int64) {
	if c.takes() {
		c.catchUp() // which may end it
	}
	if c.has(flagEvents) {
		c.sendPlainEvent(text, at)
		return
	}
	l := c.loop
	var buf [maxHead]byte
	head := l.codec.head(buf[:0], len(text))
	room := c.out == nil || c.out.Fits(len(head)+len(text), l.settings().QueueBytes)
	if room && c.state == stateOpen && c.takes() {
		c.queue().Append(&l.pool, false, at, head, text)
		return
	}
	f := sendq.NewFrame(l.codec.text(nil, text))
	f.At, f.Alone = at, true
	c.admit(f)
}

// sendText sends a text that is no message: it is in no book.
func (c *Conn) sendText(text []byte) {
	c.loop.scratch = c.codec().text(c.loop.scratch[:0], text)
	c.sendControl(c.loop.scratch)
}

// sendControl sends a frame that is no message, and that is the caller's again
// when it returns. Where too many of them wait the connection is a slow consumer,
// whatever the policy: they are not dropped.
func (c *Conn) sendControl(frame []byte) {
	tooMuch := func() bool {
		return c.state == stateOpen && c.out != nil && c.out.Control()+len(frame) > controlSlack &&
			c.out.Memory()+len(frame) > c.loop.settings().QueueBytes+controlSlack
	}
	if tooMuch() {
		c.flushNow() // what waits only because nobody has tried to write it
		if c.state != stateOpen {
			return
		}
		if tooMuch() {
			if c.reads() { // else it is closed soon
				c.slow()
			}
			return
		}
	}
	q := c.queue()
	if len(frame) <= sendq.MaxPrivate {
		q.Append(&c.loop.pool, true, 0, frame)
	} else {
		f := sendq.NewFrame(bytes.Clone(frame))
		f.Control = true
		q.Push(&c.loop.pool, f)
	}
	c.flushPromptly()
}

// queue returns what waits for c, to be added to.
func (c *Conn) queue() *sendq.Queue {
	if c.out == nil {
		c.out = c.loop.pool.Queue()
	}
	return c.out
}

func (c *Conn) push(f *sendq.Frame) { c.queue().Push(&c.loop.pool, f) }

// giveBack gives back a queue in which nothing waits any more.
func (c *Conn) giveBack() {
	if c.out != nil && c.out.Empty() {
		c.loop.pool.Give(c.out)
		c.out = nil
	}
}

// lose counts what became of a message that is not queued.
func (c *Conn) lose(f *sendq.Frame, fate sendq.Fate) {
	if !f.Control {
		c.loop.pool.Count(fate, 1)
	}
	f.Release()
}

// collapse puts f in the place of a waiting message with the same key.
func (c *Conn) collapse(f *sendq.Frame) bool {
	return c.out != nil && c.out.Collapse(&c.loop.pool, f, c.loop.settings().QueueBytes)
}

// dropMessages drops what waits and is not begun: the peer does not want it.
func (c *Conn) dropMessages() {
	if c.out != nil {
		c.out.DropMessages(&c.loop.pool, sendq.Closed)
		c.giveBack()
	}
}

// dropQueue drops all that waits.
func (c *Conn) dropQueue() {
	if c.out != nil {
		c.out.Clear(&c.loop.pool, sendq.Closed)
		c.giveBack()
	}
}

// roomNow reports whether f may wait, too, without making room.
func (c *Conn) roomNow(f *sendq.Frame) bool {
	return c.out == nil || c.out.FitsFrame(f, c.loop.settings().QueueBytes)
}

// hasRoom reports whether f may wait, too. What waits only because nobody has
// tried to write it yet is written first.
func (c *Conn) hasRoom(f *sendq.Frame) bool {
	if c.roomNow(f) {
		return true
	}
	if c.has(flagBlocked) || c.state != stateOpen {
		return false
	}
	c.flushNow()
	return c.state == stateOpen && c.roomNow(f)
}

// overflow does with a message what the policy for slow consumers says.
func (c *Conn) overflow(f *sendq.Frame) {
	l := c.loop
	if !c.takes() {
		c.lose(f, sendq.Closed) // ended by a failed write
		return
	}
	switch l.settings().SlowConsumer {
	case DropNewest:
		c.tellSlow(DropNewest)
		c.lose(f, sendq.Dropped)
	case DropOldest:
		c.tellSlow(DropOldest)
		for !c.hasRoom(f) && c.out != nil && c.out.DropOldest(&l.pool) {
			c.giveBack()
		}
		if c.hasRoom(f) {
			c.push(f)
		} else {
			c.lose(f, sendq.Dropped)
		}
	default:
		c.lose(f, sendq.Dropped)
		c.slow()
	}
}

// tellSlow tells the owner that too much waits, and what follows.
func (c *Conn) tellSlow(p Policy) {
	waiting := 0
	if c.out != nil {
		waiting = c.out.Memory()
	}
	c.owner.Slow(waiting, p)
}

// slow ends the connection because it takes too little.
func (c *Conn) slow() {
	c.loop.slow++
	if c.state == stateRegistering { // its registration takes long, and it is popular
		c.cause = CauseSlow
		c.refuse(&Refusal{Status: http.StatusServiceUnavailable, Error: "unavailable", Reason: "too much waits for this connection", RetryAfter: 1})
		return
	}
	c.tellSlow(Disconnect)
	c.dropUnseen()
	c.dropMessages()
	c.beginClose(wire.CodeTryAgain, Retry(time.Second, 5*time.Second), CauseSlow)
}
