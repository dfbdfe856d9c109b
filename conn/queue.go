package conn

// queue is what waits for one connection, in order. It exists only while
// something waits, or while a flush is under way.
type queue struct {
	head, tail *node
	bytes      int // of all frames in it, less what has been written of the first
	off        int // bytes of the first frame that are written
	flying     int // frames at the head that a writer has hold of (portable)
	next       *queue
}

type node struct {
	next *node
	m    *Message
}

// pools keeps nodes and queues for one loop, under its lock.
type pools struct {
	nodes      *node
	nodeCount  int
	queues     *queue
	queueCount int
}

const pooledNodes = 64 << 10

func (p *pools) node(m *Message) *node {
	n := p.nodes
	if n == nil {
		return &node{m: m}
	}
	p.nodes, n.next, n.m = n.next, nil, m
	p.nodeCount--
	return n
}

func (p *pools) putNode(n *node) {
	n.m = nil
	if p.nodeCount < pooledNodes {
		n.next, p.nodes = p.nodes, n
		p.nodeCount++
	}
}

func (p *pools) queue() *queue {
	q := p.queues
	if q == nil {
		return &queue{}
	}
	p.queues, q.next = q.next, nil
	p.queueCount--
	return q
}

func (p *pools) putQueue(q *queue) {
	*q = queue{}
	if p.queueCount < pooledNodes/16 {
		q.next, p.queues = p.queues, q
		p.queueCount++
	}
}

// push appends m to what waits for c. The caller has checked the bounds and
// given up its hold of m.
func (c *Conn) push(m *Message) {
	l := c.loop
	q := c.out
	if q == nil {
		q = l.pools.queue()
		c.out = q
		l.waiting++
	}
	n := l.pools.node(m)
	if q.tail == nil {
		q.head = n
	} else {
		q.tail.next = n
	}
	q.tail = n
	q.bytes += len(m.frame)
	l.queued += int64(len(m.frame))
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

// pop takes the first frame out of the queue, which must not be empty. The
// caller takes over the hold of it.
func (c *Conn) pop() *Message {
	l, q := c.loop, c.out
	n := q.head
	m := n.m
	q.head = n.next
	if q.head == nil {
		q.tail = nil
	}
	left := len(m.frame) - q.off
	q.off = 0
	if q.flying > 0 {
		q.flying--
	}
	q.bytes -= left
	l.queued -= int64(left)
	l.pools.putNode(n)
	if q.head == nil {
		l.pools.putQueue(q)
		c.out = nil
		l.waiting--
	}
	return m
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
	q := c.out
	if q == nil {
		return false
	}
	var prev *node
	n := q.head
	for i := q.locked(); n != nil && (i > 0 || n.m.control || n.m.closes); i-- {
		prev, n = n, n.next
	}
	if n == nil {
		return false
	}
	if prev == nil {
		m := c.pop()
		c.loop.count(m, resultDropped)
		m.release()
		return true
	}
	prev.next = n.next
	if q.tail == n {
		q.tail = prev
	}
	m := n.m
	q.bytes -= len(m.frame)
	c.loop.queued -= int64(len(m.frame))
	c.loop.pools.putNode(n)
	c.loop.count(m, resultDropped)
	m.release()
	return true
}

// collapse puts m in the place of a waiting message with the same key, if
// there is one. The bounds are not looked at: it takes the other's place. Then
// the caller's hold of m goes over to the queue.
func (c *Conn) collapse(m *Message) bool {
	q := c.out
	if q == nil || m.collapse == "" {
		return false
	}
	i := q.locked()
	for n := q.head; n != nil; n = n.next {
		if i > 0 {
			i--
			continue
		}
		if old := n.m; !old.control && !old.closes && old.collapse == m.collapse {
			q.bytes += len(m.frame) - len(old.frame)
			c.loop.queued += int64(len(m.frame) - len(old.frame))
			n.m = m.kept()
			c.loop.count(old, resultCollapsed)
			old.release()
			return true
		}
	}
	return false
}

// discard empties the queue, counting each message as result. keep leaves what
// may not be taken out any more: a frame that is begun is finished.
func (c *Conn) discard(result result, keep bool) {
	q := c.out
	if q == nil {
		return
	}
	if !keep {
		for c.out != nil {
			m := c.pop()
			c.loop.count(m, result)
			m.release()
		}
		return
	}
	last := q.head
	i := q.locked()
	if i == 0 {
		c.discard(result, false)
		return
	}
	for ; i > 1; i-- {
		last = last.next
	}
	rest := last.next
	last.next, q.tail = nil, last
	for rest != nil {
		n := rest
		rest = n.next
		q.bytes -= len(n.m.frame)
		c.loop.queued -= int64(len(n.m.frame))
		c.loop.count(n.m, result)
		n.m.release()
		c.loop.pools.putNode(n)
	}
}

// keep lets go of pooled memory: all that waits now waits in memory of its own.
func (q *queue) keep() {
	// Newer messages come behind older ones, and those were kept before.
	for n := q.head; n != nil; n = n.next {
		n.m = n.m.kept()
	}
}
