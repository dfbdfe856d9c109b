package conn

// beginClose queues a close frame behind all that waits for an open connection.
func (c *Conn) beginClose(code Code, reason string, cause Cause) {
	if c.state != stateOpen {
		return
	}
	c.catchUp()
	if c.state != stateOpen { // ended, or a waiting message closes it
		c.flush()
		return
	}
	c.closing(cause)
	c.push(&Message{frame: appendClose(nil, code, reason), control: true})
	c.flush()
}

// closing moves an open connection into the state closing: its close frame has
// been queued, or is about to be.
func (c *Conn) closing(cause Cause) {
	c.state, c.cause = stateClosing, cause
	c.endAt = c.loop.wheel.now + ticksOf(closeTimeout)
	c.pingAt, c.renewAt = 0, 0
	c.schedule()
}

// violate ends the connection because the peer broke the protocol or a bound.
func (c *Conn) violate(code Code, reason string) {
	c.beginClose(code, reason, CauseProtocol)
}

// peerClosed answers the peer's close frame (RFC 6455 section 5.5.1). What
// waits for the peer is not wanted any more.
func (c *Conn) peerClosed(code Code) {
	c.set(flagPeerClosed | flagDiscard)
	c.dropHalf()
	if c.state == stateOpen {
		c.forfeit()
		c.discard(resultClosed, true)
		c.closing(CausePeer)
		c.push(&Message{frame: appendClose(nil, code, ""), control: true})
		c.flush()
		return
	}
	c.flushed()
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
	c.loop.complete() // something may be on its way to this socket
	if c.state == stateClosed {
		return
	}
	l := c.loop
	switch c.state {
	case stateOpen, stateClosing:
		l.open--
		c.forfeit()
	case stateRegistering:
		l.pending--
		c.forfeit()
	case stateHandshaking:
		l.pending--
	}
	c.state, c.cause = stateClosed, cause
	l.ended[cause]++
	c.discard(resultClosed, false)
	c.dropHalf()
	l.io.close(c)
	l.remove(c)
	l.srv.conns.Add(-1)
	if c.has(flagIdentified) {
		c.clear(flagIdentified)
		l.srv.opts.Handler.Closed(c, cause)
	}
}
