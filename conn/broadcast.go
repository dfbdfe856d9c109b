package conn

import "pushpod/conn/internal/sendq"

// audience is a set of a loop's connections to whom messages are sent without
// being queued for each: they stand in a log, and a sweep brings connection after
// connection up to date. Everyone is one.
type audience struct {
	base, end uint32 // positions of the first message in the log, and behind the last one
	messages  []*sendq.Frame
	run       []byte // all frames, one behind the other
	starts    []int  // of each message in run
	special   int    // messages that expire or close: they need a look each
	timed     int    // messages of which the time of publishing is known

	cursor int    // the sweep's place among the members
	target uint32 // what the members before the cursor have seen at least
}

const runKept = 1 << 20 // bytes of run that are kept while it is empty

// append adds f. The caller's hold of it goes over to the log.
func (a *audience) append(f *sendq.Frame) {
	if a.base == a.end {
		a.cursor = 0
	}
	a.messages = append(a.messages, f)
	a.starts = append(a.starts, len(a.run))
	a.run = append(a.run, f.Bytes...)
	a.end++
	a.classify(f, 1)
}

// classify counts f among the messages in the log that need a look; by -1, it is
// taken out.
func (a *audience) classify(f *sendq.Frame, by int) {
	if f.Expires != 0 || f.Closes {
		a.special += by
	}
	if f.At != 0 {
		a.timed += by
	}
}

// forget takes out the messages before position to, which all members have seen.
func (a *audience) forget(to uint32) {
	n := int(to - a.base)
	for _, f := range a.messages[:n] {
		a.classify(f, -1)
		f.Release()
	}
	a.base = to
	if n == len(a.messages) {
		clear(a.messages)
		a.messages, a.starts, a.run = a.messages[:0], a.starts[:0], a.run[:0]
		return
	}
	cut := a.starts[n]
	a.run = a.run[:copy(a.run, a.run[cut:])]
	rest := copy(a.messages, a.messages[n:])
	clear(a.messages[rest:])
	a.messages = a.messages[:rest]
	a.starts = a.starts[:copy(a.starts, a.starts[n:])]
	for i := range a.starts {
		a.starts[i] -= cut
	}
}

// trimRoom gives up room that is not in use.
func (a *audience) trimRoom() {
	if len(a.run) == 0 && cap(a.run) > runKept {
		a.run = nil
	}
	a.messages, a.starts = trimmed(a.messages), trimmed(a.starts)
}

// unseen returns the messages from position seen on.
func (a *audience) unseen(seen uint32) []*sendq.Frame { return a.messages[int(seen-a.base):] }

// catchUp queues what c has not been sent of the log, so that what is queued
// next comes behind it.
func (c *Conn) catchUp() {
	a := &c.loop.everyone
	if c.seen == a.end {
		return
	}
	unseen := a.unseen(c.seen)
	c.seen = a.end
	for _, f := range unseen {
		f.Retain()
		c.admit(c.inForm(f))
	}
}

// dropUnseen counts what c has not been sent of the log as closed. To one whose
// handshake is not complete nothing of it was addressed.
func (c *Conn) dropUnseen() {
	a := &c.loop.everyone
	if c.state != stateHandshaking && c.state != stateRefused && c.state != stateClosed {
		c.loop.pool.Count(sendq.Closed, int(a.end-c.seen))
	}
	c.seen = a.end
}

// sweepLog brings members up to date with the log: budget of them at most. It
// returns what is left of the budget.
func (l *Loop) sweepLog(budget int) int {
	a := &l.everyone
	for scan := 64 * budget; budget > 0 && scan > 0 && a.base != a.end; scan-- {
		if len(l.slots) == 0 {
			a.forget(a.end)
			break
		}
		if a.cursor >= len(l.slots) {
			l.submit() // it writes from the log
			a.forget(a.target)
			a.cursor = 0
			continue
		}
		if a.cursor == 0 {
			a.target = a.end
		}
		c := l.slots[a.cursor]
		a.cursor++
		if c != nil && c.seen != a.end {
			c.update()
			budget--
		}
	}
	l.submit()
	return budget
}

// update brings c up to date with the log: where nothing else waits for it, by
// one write of all that is new, without queueing it.
func (c *Conn) update() {
	l := c.loop
	a := &l.everyone
	switch {
	case !c.takes():
		c.dropUnseen()
	case c.has(flagEvents) || c.state == stateRegistering || c.out != nil || a.special > 0 || !c.writes():
		c.catchUp()
		c.flushPromptly()
	default:
		unseen := a.unseen(c.seen)
		c.seen = a.end
		l.bufs[0] = a.run[a.starts[len(a.messages)-len(unseen)]:]
		l.write(inflight{c: c, asked: len(l.bufs[0]), unseen: len(unseen)}, 1)
	}
}

// sentUnseen counts what became of a write of the newest messages in the log,
// and queues the rest of them.
func (c *Conn) sentUnseen(f *inflight) {
	l := c.loop
	a := &l.everyone
	unseen := a.messages[len(a.messages)-f.unseen:]
	switch {
	case f.err != nil:
		l.pool.Count(sendq.Closed, f.unseen)
	case f.took == f.asked:
		l.pool.Count(sendq.Written, f.unseen)
		if a.timed > 0 {
			l.observe(unseen)
		}
	default:
		c.queueRest(unseen, f.took)
	}
}

// observe feeds the latency of messages that are written.
func (l *Loop) observe(written []*sendq.Frame) {
	for _, f := range written {
		if f.At != 0 {
			l.pool.Observe(l.clock-f.At, 1)
		}
	}
}

// queueRest queues messages of which n bytes are written. Nothing else is queued for
// c: update saw to that, and nothing is between it and submit.
func (c *Conn) queueRest(messages []*sendq.Frame, n int) {
	l := c.loop
	for n > 0 && n >= len(messages[0].Bytes) {
		n -= len(messages[0].Bytes)
		l.pool.Count(sendq.Written, 1)
		l.observe(messages[:1])
		messages = messages[1:]
	}
	c.set(flagBlocked) // for now, so that no room is sought by writing
	for i, f := range messages {
		f.Retain()
		if i > 0 {
			c.admit(f)
			continue
		}
		c.push(f)
		if n > 0 {
			c.out.Began(&l.pool, n)
		}
	}
}
