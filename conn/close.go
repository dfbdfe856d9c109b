package conn

import (
	"pushpod/conn/internal/sendq"
	"pushpod/conn/internal/wire"
)

// waitingClose is a frame that closes a connection, behind answers that are
// owed to it.
type waitingClose struct {
	frame *sendq.Frame
	cause Cause
}

// beginClose queues a close frame behind all that waits for a connection that is
// open or registering.
func (c *Conn) beginClose(code Code, reason string, cause Cause) {
	if !c.takes() {
		return
	}
	c.catchUp()
	if !c.takes() { // ended, or a message closes it
		return
	}
	f := sendq.NewFrame(c.codec().closing(nil, code, reason))
	f.Control, f.Closes = true, true
	c.closeBy(f, cause)
}

// closeBy queues a frame that closes the connection, and takes over the caller's
// hold of it. It goes out behind the welcome, and behind the answers that are owed.
func (c *Conn) closeBy(f *sendq.Frame, cause Cause) {
	if c.state == stateRegistering {
		c.push(f)
		c.set(flagCloseNext)
		return
	}
	if c.owed == 0 {
		c.push(f)
		c.closing(cause)
		c.flushPromptly()
		return
	}
	c.loop.closes[c] = waitingClose{f, cause}
	c.set(flagCloseWaits)
	c.pingAt, c.renewAt, c.expireAt = 0, 0, 0
	c.endAt = c.loop.after(closeTimeout)
	c.schedule()
}

// closeNow queues the frame that waits for answers. The time that it has waited
// counts as time in which the peer may answer it.
func (c *Conn) closeNow() {
	w, end := c.takeClose(), c.endAt
	c.push(w.frame)
	c.closing(w.cause)
	c.endAt = max(end, c.loop.after(leastClose))
	c.schedule()
	c.flushPromptly()
}

func (c *Conn) takeClose() waitingClose {
	w := c.loop.closes[c]
	delete(c.loop.closes, c)
	c.clear(flagCloseWaits)
	return w
}

// dropClose gives up a close that waits: the connection ends in another way.
func (c *Conn) dropClose() {
	if c.has(flagCloseWaits) {
		c.lose(c.takeClose().frame, sendq.Closed)
	}
}

// closing moves an open connection into the state closing: its close frame has
// been queued, or is about to be.
func (c *Conn) closing(cause Cause) {
	c.state, c.cause = stateClosing, cause
	c.endAt = c.loop.after(closeTimeout)
	c.pingAt, c.renewAt, c.expireAt = 0, 0, 0
	c.schedule()
}

// violate closes the connection because the peer broke the protocol or a bound.
func (c *Conn) violate(v wire.Violation) { c.beginClose(v.Code, v.Reason, CauseProtocol) }

// peerClosed answers the peer's close frame (RFC 6455 section 5.5.1). What
// waits for the peer is not wanted any more.
func (c *Conn) peerClosed(code Code) {
	c.set(flagPeerClosed | flagDiscard)
	c.dropHalf()
	if c.state == stateOpen {
		c.dropClose()
		c.dropUnseen()
		c.dropMessages()
		c.closing(CausePeer)
		c.loop.scratch = c.loop.codec.closing(c.loop.scratch[:0], code, "")
		c.sendControl(c.loop.scratch)
		return
	}
	c.flushPromptly()
}

// eof is called when the peer has ended its side of TCP.
func (c *Conn) eof() {
	if c.state == stateClosing || c.state == stateRefused {
		c.end(c.cause)
		return
	}
	c.end(CausePeer)
}

// end closes the socket and forgets the connection.
func (c *Conn) end(cause Cause) {
	l := c.loop
	l.submit() // something may be on its way to this socket
	switch c.state {
	case stateClosed:
		return
	case stateOpen, stateClosing:
		l.open--
		if c.has(flagEvents) {
			l.openEvents--
		}
	case stateHandshaking, stateRegistering:
		l.pending--
	}
	c.dropClose()
	c.dropUnseen()
	c.dropQueue()
	c.dropHalf()
	c.state, c.cause = stateClosed, cause
	l.ended[cause]++
	l.io.Close(c.fd)
	l.remove(c)
	l.srv.conns.Add(-1)
	if c.owner != nil {
		c.owner.Closed(cause)
		c.owner = nil
	}
}
