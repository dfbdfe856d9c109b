package conn

// broadcastLog holds the messages for every connection of a loop that some of
// them have not been given yet. A connection's position in it is Conn.seen.
type broadcastLog struct {
	base, end uint32 // positions of the first message, and behind the last one
	messages  []*Message
	run       []byte // all frames, one behind the other
	starts    []int  // of each message in run
	special   int    // messages that expire or close: they need a look each
	timed     int    // messages of which the time of publishing is known

	cursor int    // the sweep's place in Loop.slots
	target uint32 // what the connections before the cursor have seen at least
}

const logKept = 1 << 20 // bytes of run that are kept while it is empty

// append adds m. The caller's hold of it goes over to the log.
func (g *broadcastLog) append(m *Message) {
	if g.base == g.end {
		g.cursor = 0
	}
	g.messages = append(g.messages, m)
	g.starts = append(g.starts, len(g.run))
	g.run = append(g.run, m.frame...)
	g.end++
	if m.expires != 0 || m.closes {
		g.special++
	}
	if m.at != 0 {
		g.timed++
	}
}

// trim forgets the messages before position to.
func (g *broadcastLog) trim(to uint32) {
	n := int(to - g.base)
	for _, m := range g.messages[:n] {
		if m.expires != 0 || m.closes {
			g.special--
		}
		if m.at != 0 {
			g.timed--
		}
		m.release()
	}
	g.base = to
	if n == len(g.messages) {
		clear(g.messages)
		g.messages, g.starts = g.messages[:0], g.starts[:0]
		if g.run = g.run[:0]; cap(g.run) > logKept {
			g.run = nil
		}
		return
	}
	cut := g.starts[n]
	g.run = g.run[:copy(g.run, g.run[cut:])]
	rest := copy(g.messages, g.messages[n:])
	clear(g.messages[rest:])
	g.messages = g.messages[:rest]
	g.starts = g.starts[:copy(g.starts, g.starts[n:])]
	for i := range g.starts {
		g.starts[i] -= cut
	}
}

// after returns the messages from position seen on.
func (g *broadcastLog) after(seen uint32) []*Message { return g.messages[int(seen-g.base):] }

// catchUp queues what c has not been given of the log, so that what is queued
// next comes behind it.
func (c *Conn) catchUp() {
	g := &c.loop.log
	if c.seen == g.end {
		return
	}
	missing := g.after(c.seen)
	c.seen = g.end
	for _, m := range missing {
		m.retain()
		c.admit(m)
	}
}

// forfeit books what c has not been given of the log as closed. To one whose
// handshake is not complete nothing of it was addressed.
func (c *Conn) forfeit() {
	g := &c.loop.log
	if c.state != stateHandshaking {
		c.loop.delivered[resultClosed] += uint64(g.end - c.seen)
	}
	c.seen = g.end
}

// sweep flushes connections that wait for it, and brings connections up to
// date with the log: budget of them at most. more says that some are left.
func (l *Loop) sweep(budget int) (more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock = l.srv.opts.Now()
	letters := l.srv.sweepers && l.collect(sliceQueued)
	budget = l.flushDirty(budget)
	g := &l.log
	for scan := 64 * budget; budget > 0 && scan > 0 && g.base != g.end; scan-- {
		if len(l.slots) == 0 {
			g.trim(g.end)
			break
		}
		if g.cursor >= len(l.slots) {
			l.complete() // it sends from the log
			g.trim(g.target)
			g.cursor = 0
			continue
		}
		if g.cursor == 0 {
			g.target = g.end
		}
		c := l.slots[g.cursor]
		g.cursor++
		if c != nil && c.seen != g.end {
			c.update()
			budget--
		}
	}
	l.complete()
	if more = letters || !l.idle(); !more {
		l.backlog.Store(0)
	}
	return more
}

// idle reports whether nothing is left for a sweep.
func (l *Loop) idle() bool { return l.dirtyAt == len(l.dirty) && l.log.base == l.log.end }

// update brings c up to date with the log: where nothing else waits for it, by
// one write of all that is new, without queueing it.
func (c *Conn) update() {
	l := c.loop
	g := &l.log
	switch {
	case c.state == stateClosing:
		c.forfeit()
		return
	case c.state != stateOpen && c.state != stateRegistering:
		c.seen = g.end
		return
	case c.state == stateRegistering || c.out != nil || g.special > 0:
		c.catchUp()
		c.flush()
		return
	}
	missing := len(g.messages) - len(g.after(c.seen))
	b := g.run[g.starts[missing]:]
	missing = len(g.messages) - missing
	c.seen = g.end
	if l.many(len(l.slots) - len(l.free)) {
		l.bufs[0] = b
		l.take(flight{c: c, asked: len(b), missing: missing}, 1)
		return
	}
	n, err := l.io.write(c, b)
	c.updated(missing, len(b), n, err)
}

// updated books what became of a write of the newest messages in the log.
func (c *Conn) updated(count, asked, n int, err error) {
	l := c.loop
	g := &l.log
	missing := g.messages[len(g.messages)-count:]
	if err != nil {
		l.delivered[resultClosed] += uint64(count)
		c.end(CausePeer)
		return
	}
	l.writes++
	l.writtenBytes += uint64(n)
	if n == asked {
		l.delivered[resultWritten] += uint64(count)
		if g.timed > 0 {
			for _, m := range missing {
				if m.at != 0 {
					l.observe(l.clock - m.at)
				}
			}
		}
		return
	}
	c.partly(missing, n)
}

// partly books n written bytes of the messages, and queues the rest of them.
func (c *Conn) partly(messages []*Message, n int) {
	for len(messages) > 0 && n >= len(messages[0].frame) {
		n -= len(messages[0].frame)
		c.loop.count(messages[0], resultWritten)
		messages = messages[1:]
	}
	if len(messages) == 0 {
		return
	}
	// This one is begun (or, at n = 0, it is the first of an empty queue).
	m := messages[0]
	m.retain()
	c.push(m.kept())
	c.begun(n)
	c.block()
	for _, m := range messages[1:] {
		m.retain()
		c.admit(m)
	}
}
