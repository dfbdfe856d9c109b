package conn

// queue is what waits for one connection, in order. It exists only while
// something waits, or while a flush is under way.
type queue struct {
	head, tail *node
	bytes      int // of all frames in it, less what has been written of the first
	off        int // bytes of the first frame that are written
	flying     int // frames at the head that a writer has hold of (portable)
}

// node is a message that waits, or a chunk of frames.
type node struct {
	next *node
	m    *Message
	k    *chunk // where there is no m
}

// bytes is what is to be written of n.
func (n *node) bytes() []byte {
	if n.m != nil {
		return n.m.frame
	}
	return n.k.frames()
}

// first is the size of the first frame of n.
func (n *node) first() int {
	if n.m != nil {
		return len(n.m.frame)
	}
	return n.k.first()
}

// tailNode appends an empty node.
func (c *Conn) tailNode() *node {
	l := c.loop
	q := c.out
	if q == nil {
		q = l.pools.queues.take()
		c.out = q
		l.waiting++
	}
	n := l.pools.nodes.take()
	if q.tail == nil {
		q.head = n
	} else {
		q.tail.next = n
	}
	q.tail = n
	return n
}

// grow books n more bytes that wait; n may be negative.
func (c *Conn) grow(n int) {
	c.out.bytes += n
	c.loop.queued += int64(n)
}

// push appends m to what waits for c. The caller has checked the bounds and
// given up its hold of m.
func (c *Conn) push(m *Message) {
	c.tailNode().m = m
	c.grow(len(m.frame))
}

// inline returns where to write a frame of size bytes, maxInline at most, behind
// all that waits for c.
func (c *Conn) inline(size int, at int64) []byte {
	timed := at != 0
	if timed {
		at = min(max(at, c.loop.clock-farOff), c.loop.clock+farOff)
	}
	var k *chunk
	if c.out != nil && c.out.tail != nil {
		k = c.out.tail.k
	}
	if k == nil || !k.fits(size, timed) {
		class := uint8(0)
		if k != nil {
			class = min(k.class+1, chunkClasses-1)
			timed = timed || k.timed // where times are known now and then, chunks don't take turns
		}
		s := &c.loop.pools.chunks[classFor(size+timeBytes, class)]
		if c.has(flagWantWrite) {
			k = s.getInHeap()
		} else {
			k = s.get()
		}
		k.reset(timed)
		c.tailNode().k = k
	}
	c.grow(size)
	return k.add(size, at)
}

// pushFront puts m before all that waits for c; nothing of it is written yet.
func (c *Conn) pushFront(m *Message) {
	c.push(m)
	q := c.out
	if q.head == q.tail {
		return
	}
	last := q.tail
	p := q.head
	for p.next != last {
		p = p.next
	}
	p.next, q.tail = nil, p
	last.next, q.head = q.head, last
}

// pop takes the first frame out of the queue, which must not be empty, and
// books what became of it.
func (c *Conn) pop(r result) {
	l, q := c.loop, c.out
	n := q.head
	c.grow(q.off - n.first())
	q.off = 0
	if q.flying > 0 {
		q.flying--
	}
	if n.m != nil {
		l.count(n.m, r)
		n.m.release()
	} else {
		l.countPlain(n.k.at(l.clock), r)
		if n.k.drop(); n.k.left() > 0 {
			return
		}
	}
	c.popNode()
}

// popNode takes the first node out.
func (c *Conn) popNode() {
	l, q := c.loop, c.out
	n := q.head
	q.head = n.next
	l.pools.putNode(n)
	if q.head == nil {
		l.pools.queues.give(q)
		c.out = nil
		l.waiting--
	}
}

// locked says how many frames at the head may not be taken out any more:
// the one that is half written, and those that a writer has hold of.
func (q *queue) locked() int {
	if q.flying == 0 && q.off > 0 {
		return 1
	}
	return q.flying
}

// dropOldest drops the first message that may be dropped; false: there is none.
func (c *Conn) dropOldest() bool {
	l, q := c.loop, c.out
	if q == nil {
		return false
	}
	var prev *node
	n := q.head
	locked := q.locked()
	if locked == 1 && n.k != nil && n.k.left() > 1 {
		at := n.k.at(l.clock)
		c.grow(-n.k.dropSecond())
		l.countPlain(at, resultDropped)
		return true
	}
	for ; n != nil && (locked > 0 || n.m != nil && (n.m.control || n.m.closes)); locked-- {
		prev, n = n, n.next
	}
	if n == nil {
		return false
	}
	c.remove(prev, n, resultDropped)
	return true
}

// remove takes the first frame of n out, which may be taken out, and books what
// became of it. prev is the node before n; nil: n is the head.
func (c *Conn) remove(prev, n *node, r result) {
	l, q := c.loop, c.out
	switch {
	case prev == nil:
		c.pop(r)
		return
	case n.m == nil:
		c.grow(-n.k.first())
		l.countPlain(0, r)
		if n.k.drop(); n.k.left() > 0 {
			return
		}
	default:
		c.grow(-len(n.m.frame))
		l.count(n.m, r)
		n.m.release()
	}
	prev.next = n.next
	if q.tail == n {
		q.tail = prev
	}
	l.pools.putNode(n)
}

// collapse puts m in the place of a waiting message with the same key, if
// there is one. The bounds are not looked at: it takes the other's place. Then
// the caller's hold of m goes over to the queue.
//
// Where m closes the connection, nothing may come behind it: the other one is only
// taken out, and m is still to be queued.
func (c *Conn) collapse(m *Message) bool {
	q := c.out
	if q == nil || m.collapse == "" {
		return false
	}
	locked := q.locked()
	var prev *node
	for n := q.head; n != nil; prev, n = n, n.next {
		if locked > 0 {
			locked--
			continue
		}
		if old := n.m; old != nil && !old.control && !old.closes && old.collapse == m.collapse {
			if m.closes {
				c.remove(prev, n, resultCollapsed)
				return false
			}
			c.grow(len(m.frame) - len(old.frame))
			n.m = m.kept()
			c.loop.count(old, resultCollapsed)
			old.release()
			return true
		}
	}
	return false
}

// discard empties the queue, booking each message as r. keep leaves what may
// not be taken out any more: a frame that is begun is finished.
func (c *Conn) discard(r result, keep bool) {
	q := c.out
	if q == nil {
		return
	}
	locked := 0
	if keep {
		locked = q.locked()
	}
	if locked == 0 {
		for c.out != nil {
			c.pop(r)
		}
		return
	}
	// What stays is set aside, and the rest popped from behind it.
	last := q.head
	for ; locked > 1; locked-- {
		last = last.next
	}
	if k := last.k; k != nil {
		for k.left() > 1 {
			c.grow(-k.dropSecond())
			c.loop.countPlain(0, r)
		}
	}
	rest := last.next
	last.next, q.tail = nil, last
	for rest != nil {
		n := rest
		rest = n.next
		c.grow(-len(n.bytes()))
		if n.m != nil {
			c.loop.count(n.m, r)
			n.m.release()
		} else {
			c.loop.delivered[r] += uint64(n.k.left())
		}
		c.loop.pools.putNode(n)
	}
}

// keep lets go of memory that passes from message to message, or is given back
// as a whole: what waits for a slow socket waits in the heap.
func (c *Conn) keep() {
	// Newer messages come behind older ones, and those were kept before.
	for n := c.out.head; n != nil; n = n.next {
		if n.m != nil {
			n.m = n.m.kept()
		} else if n.k.region != 0 {
			s := &c.loop.pools.chunks[n.k.class]
			k := s.getInHeap()
			k.copyFrom(n.k)
			s.put(n.k)
			n.k = k
		}
	}
}
