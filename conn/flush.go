package conn

import "pushpod/conn/internal/netloop"

// inflight is a write that is prepared, and what became of it.
type inflight struct {
	c      *Conn
	asked  int // bytes
	unseen int // messages of the log that it brings; 0: it brings what waits in the queue
	took   int
	err    error
}

// flushPromptly has what waits for c be written before the loop is unlocked.
func (c *Conn) flushPromptly() {
	if !c.has(flagPrompt) {
		c.set(flagPrompt)
		c.loop.prompt = append(c.loop.prompt, c)
	}
}

// markDirty has what waits for c be written by the next sweep.
func (c *Conn) markDirty() {
	if c.out != nil && !c.has(flagDirty|flagBlocked) {
		c.set(flagDirty)
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// flushPrompt writes what must not wait.
func (l *Loop) flushPrompt() {
	for len(l.prompt) > 0 {
		list := l.prompt
		l.prompt = l.spare[:0]
		for _, c := range list {
			c.clear(flagPrompt)
			c.prepare()
		}
		l.submit()
		clear(list)
		l.spare = list
	}
}

// flushDirty writes to connections that wait for it: budget of them at most. It
// returns what is left of the budget.
func (l *Loop) flushDirty(budget int) (left int) {
	for ; budget > 0 && l.dirtyAt < len(l.dirty); budget-- {
		c := l.dirty[l.dirtyAt]
		l.dirty[l.dirtyAt] = nil
		l.dirtyAt++
		c.clear(flagDirty)
		c.prepare()
	}
	l.submit()
	if l.dirtyAt == len(l.dirty) {
		l.dirty, l.dirtyAt = l.dirty[:0], 0
	}
	return budget
}

// flushNow writes what waits for c as far as the socket takes it.
func (c *Conn) flushNow() {
	c.loop.submit()
	for c.out != nil && c.writes() {
		c.prepare()
		c.loop.submit()
	}
}

// writes reports whether what waits for c can be written.
func (c *Conn) writes() bool {
	return !c.has(flagBlocked|flagInflight) && (c.state == stateOpen || c.state == stateClosing || c.state == stateRefused)
}

// prepare prepares a write of what waits for c, where it can be written. submit
// must follow before the loop is unlocked.
func (c *Conn) prepare() {
	if !c.writes() {
		return
	}
	l := c.loop
	if c.out != nil {
		c.out.DropLate(&l.pool, l.clock)
		if n, size := c.out.Buffers(l.clock, l.bufs[:]); n > 0 {
			l.write(inflight{c: c, asked: size}, n)
			return
		}
		c.giveBack()
	}
	c.drained()
}

// write prepares a write of the first n of l.bufs.
func (l *Loop) write(f inflight, n int) {
	f.c.set(flagInflight)
	l.sender.Add(f.c.fd, l.bufs[:n])
	clear(l.bufs[:n])
	l.inflight = append(l.inflight, f)
	if len(l.inflight) == netloop.MaxWrites {
		l.submit()
	}
}

// submit makes the writes that are prepared, and does what follows from their
// results: it may end connections, and call their owners. What is left is flushed
// promptly.
func (l *Loop) submit() {
	if len(l.inflight) == 0 {
		return
	}
	l.sender.Send()
	made := l.inflight
	l.inflight, l.spareIn = l.spareIn[:0], nil // what follows may submit, too
	for i := range made {
		made[i].took, made[i].err = l.sender.Result(i)
		made[i].c.clear(flagInflight)
	}
	for i := range made {
		made[i].c.sent(&made[i])
	}
	clear(made)
	l.spareIn = made
}

// sent does what follows from a write.
func (c *Conn) sent(f *inflight) {
	l := c.loop
	if f.unseen > 0 {
		c.sentUnseen(f)
	} else if f.err == nil {
		c.out.Took(&l.pool, f.took, l.clock)
		c.giveBack()
	}
	if f.err != nil {
		c.end(CausePeer)
		return
	}
	l.writes++
	l.writtenBytes += uint64(f.took)
	switch {
	case f.took < f.asked:
		c.block()
	case c.out != nil:
		c.flushPromptly()
	default:
		c.drained()
	}
}

// block notes that the socket takes no more for now.
func (c *Conn) block() {
	c.set(flagBlocked)
	if !c.has(flagNotified) {
		c.set(flagNotified)
		c.loop.io.NotifyWritable(c.fd, c.ref(), true)
	}
}

// writable is called when the socket takes more.
func (c *Conn) writable() {
	c.clear(flagBlocked | flagAwaiting) // room was made: someone is there
	c.flushPromptly()
}

// drained does what waits for an empty queue.
func (c *Conn) drained() {
	if c.has(flagNotified) {
		c.clear(flagNotified)
		c.loop.io.NotifyWritable(c.fd, c.ref(), false)
	}
	switch c.state {
	case stateClosing:
		switch {
		case c.has(flagPeerClosed):
			c.end(c.cause)
		case c.has(flagEvents): // the end of TCP is the stream's; the peer's is waited for
			c.loop.io.FinishWrites(c.fd)
		}
	case stateRefused:
		c.loop.io.FinishWrites(c.fd)
	}
}
