package conn

// sender sends to many sockets at once, for less than one call to transport.write
// each. It is guarded by its loop's lock, and nothing is under way while that is
// free.
type sender interface {
	usable() bool
	// add prepares a send of the buffers, one behind the other: sendBuffers at
	// most. It keeps them, but not bufs. At most sendsAtOnce sends are prepared
	// before send.
	add(fd int32, bufs [][]byte)
	// send makes the sends that are prepared.
	send()
	// result is what became of the send that was prepared as number i: what
	// transport.write would have returned.
	result(i int) (n int, err error)
	trim()
	close()
}

const (
	sendsAtOnce = 64
	sendBuffers = 16 // of one send
)

// flight is a send that is prepared, and not completed.
type flight struct {
	c       *Conn
	asked   int    // bytes
	missing int    // broadcasts that are sent from the log
	control []byte // a control frame, that is in no queue; without both it is sent from the queue
}

// many reports whether n flushes are worth a sender.
func (l *Loop) many(n int) bool {
	return l.sender != nil && n >= l.srv.opts.ringFrom && l.sender.usable()
}

// lift prepares to send what waits for c; where there is nothing to be sent, it
// does what flush does. complete must follow, before the loop is unlocked.
func (c *Conn) lift() {
	l := c.loop
	c.dropLate()
	if !c.writes() {
		c.flushed()
		return
	}
	asked, off := 0, c.out.off
	bufs := &l.bufs
	n := 0
	for at := c.out.head; at != nil && n < sendBuffers && (n == 0 || !c.late(at.m)); at = at.next {
		bufs[n] = at.bytes()[off:]
		asked += len(bufs[n])
		off = 0
		n++
	}
	l.take(flight{c: c, asked: asked}, n)
}

// liftControl is sendControl for a connection that has nothing waiting. The frame
// must stay as it is until complete.
func (c *Conn) liftControl(frame []byte) {
	c.loop.bufs[0] = frame
	c.loop.take(flight{c: c, control: frame}, 1)
}

// writes reports whether something waits for c that can be written.
func (c *Conn) writes() bool {
	return c.out != nil && !c.has(flagWantWrite) && (c.state == stateOpen || c.state == stateClosing || c.state == stateRefused)
}

// take prepares a send of the first n of l.bufs.
func (l *Loop) take(f flight, n int) {
	l.sender.add(f.c.fd, l.bufs[:n])
	clear(l.bufs[:n])
	l.flights = append(l.flights, f)
	if len(l.flights) == sendsAtOnce {
		l.complete()
	}
}

// complete makes the sends that are prepared, and does what follows from their
// results.
func (l *Loop) complete() {
	if len(l.flights) == 0 {
		return
	}
	flights := l.flights
	l.flights = l.flights[:0] // who ends meanwhile finds nothing under way
	l.sender.send()
	for i, f := range flights {
		n, err := l.sender.result(i)
		switch {
		case f.control != nil:
			f.c.controlled(f.control, n, err)
		case f.missing > 0:
			f.c.updated(f.missing, f.asked, n, err)
		case f.c.completed(f.asked, n, err):
			f.c.flush() // what is left, and what follows
		}
	}
	clear(flights)
}
