package conn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestTheQueueAgreesWithAPlainSliceOfFrames does at random whatever may be done to
// connections, over sockets that take little, and compares after each step with a
// model in which a queue is a slice: what is written, what waits, and the books.
func TestTheQueueAgreesWithAPlainSliceOfFrames(t *testing.T) {
	for name, policy := range map[string]Policy{"disconnect": Disconnect, "newest": DropNewest, "oldest": DropOldest} {
		for limit, steps := range map[int]int{600: 6000, 5_000: 4000, 40_000: 1500, 400_000: 500} { // comparing takes its time where much waits
			if raceEnabled || testing.Short() {
				steps /= 5
			}
			for _, atOnce := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/sender=%v", name, limit, atOnce), func(t *testing.T) {
					t.Parallel()
					w := newQueueWorld(t, uint64(limit), Options{QueueBytes: limit, SlowConsumer: policy}, atOnce)
					for w.step < steps && !t.Failed() {
						w.step++
						w.do()
						w.compare()
					}
					w.finish()
				})
			}
		}
	}
}

// queueWorld is a loop with a few connections, and the model of them.
type queueWorld struct {
	t     *testing.T
	r     *rand.Rand
	s     *Server
	l     *Loop
	d     *Deliverer
	now   int64
	step  int
	texts int
	last  string // what was done in this step
	fds   int32
	timed bool              // producers say when they publish
	held  [chunkClasses]int // chunks in the heap that are not there for anyone

	conns    []*modelConn
	special  bool // a message for everyone that waits in the log expires or closes
	books    modelBooks
	segments map[*segment]bool // that have ever been filled
}

// modelBooks is what Stats must say.
type modelBooks struct {
	delivered  [results]uint64
	latency    [len(latencyBounds) + 1]uint64
	latencySum int64
	sent       uint64 // messages and connections
}

// modelFrame is a frame as a plain slice holds it.
type modelFrame struct {
	bytes    []byte
	at       int64
	expires  int64
	collapse string
	closes   bool
	control  bool
}

// modelConn is one connection: the real one, its socket, and the model.
type modelConn struct {
	w *queueWorld
	c *Conn

	socket modelSocket

	state      state
	peerClosed bool
	blocked    bool
	dirty      bool // as the real one was before this flush
	frames     []modelFrame
	off        int          // bytes of the first one that are written
	pending    []modelFrame // messages for everyone that it has not been given
	room       int          // bytes that the socket still takes
	broken     bool
	written    []byte // since the last comparison
}

// modelSocket takes so many bytes, until it is given more room.
type modelSocket struct {
	room    int
	broken  bool
	written []byte // since the last comparison
}

func (k *modelSocket) write(b []byte) (int, error) {
	if k.broken {
		return 0, fmt.Errorf("the peer has gone")
	}
	n := min(len(b), k.room)
	k.room -= n
	k.written = append(k.written, b[:n]...)
	return n, nil
}

// The sockets as the loop's transport.
type modelTransport struct {
	sink
	w *queueWorld
}

func (x modelTransport) write(c *Conn, b []byte) (int, error) { return x.w.of(c.fd).socket.write(b) }

// The sockets as the loop's sender of many at once.
type modelSender struct {
	w    *queueWorld
	fds  []int32
	bufs [][]byte
	n    []int
	errs []error
}

func (x *modelSender) usable() bool { return true }
func (x *modelSender) trim()        {}
func (x *modelSender) close()       {}

func (x *modelSender) add(fd int32, bufs [][]byte) {
	if len(bufs) > sendBuffers || len(x.fds) >= sendsAtOnce {
		x.w.t.Errorf("a send of %d buffers, the %d. of those at once", len(bufs), len(x.fds)+1)
	}
	x.fds, x.bufs = append(x.fds, fd), append(x.bufs, bytes.Join(bufs, nil))
}

func (x *modelSender) send() {
	x.n, x.errs = nil, nil
	for i, fd := range x.fds {
		n, err := x.w.of(fd).socket.write(x.bufs[i])
		x.n, x.errs = append(x.n, n), append(x.errs, err)
	}
	x.fds, x.bufs = nil, nil
}

func (x *modelSender) result(i int) (int, error) { return x.n[i], x.errs[i] }

func newQueueWorld(t *testing.T, seed uint64, o Options, atOnce bool) *queueWorld {
	w := &queueWorld{
		t: t, r: rand.New(rand.NewPCG(seed, uint64(o.SlowConsumer))), segments: map[*segment]bool{},
		now: 400<<32 - 20_000, // the times in chunks wrap around soon
	}
	o.Handler, o.Loops, o.ringFrom = newFakeHub(), 1, 1
	o.Now = func() int64 { return w.now }
	w.s = New(o)
	w.l = w.s.loops[0]
	w.l.io = modelTransport{w: w}
	w.l.clock = w.now
	w.s.inline = true // also where there are no event loops
	if atOnce {
		w.l.sender = &modelSender{w: w}
		for i := range w.held { // as in a burst: chunks lie in regions
			w.held[i] = heapChunks / chunkSize(uint8(i))
			w.l.pools.chunks[i].inHeap = w.held[i]
		}
	}
	w.d = w.s.NewDeliverer()
	for range 3 {
		w.conns = append(w.conns, w.open())
	}
	return w
}

func (w *queueWorld) of(fd int32) *modelConn {
	for _, m := range w.conns {
		if m.c.fd == fd {
			return m
		}
	}
	w.t.Fatalf("step %d, %s: a write to descriptor %d, which is closed", w.step, w.last, fd)
	return nil
}

func (w *queueWorld) open() *modelConn {
	l := w.l
	w.fds++
	c := l.add(w.fds, [16]byte{})
	w.s.conns.Add(1)
	l.pending--
	l.open++
	c.state = stateOpen
	c.seen = l.log.end
	m := &modelConn{w: w, c: c, state: stateOpen}
	m.refill()
	return m
}

func (w *queueWorld) locked(f func()) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	f()
}

// do does one thing at random, first to the connections and then to the model.
func (w *queueWorld) do() {
	i := w.r.IntN(len(w.conns))
	m := w.conns[i]
	if m.state == stateClosed {
		m = w.open()
		w.conns[i] = m
	}
	c := m.c
	switch p := w.r.IntN(1000); {
	case p < 350:
		w.plain(m)
	case p < 480:
		w.last = "a message to several"
		w.shared(false)
	case p < 560:
		w.last = "a message to everyone"
		w.shared(true)
	case p < 640:
		w.last = "a control frame"
		text := w.text()
		f := modelFrame{bytes: appendFrame(nil, opText, text), control: true}
		c.Send(text)
		m.control(f)
	case p < 760:
		w.last = "a flush"
		w.flush()
	case p < 960:
		w.last = "room in the socket"
		m.refill()
		if m.blocked {
			w.locked(c.writable)
			m.blocked = false
			m.flush()
		}
	case p < 980:
		w.last = "time"
		w.now += []int64{1, 10, 1000, 10_000}[w.r.IntN(4)]
		w.l.clock = w.now
		w.d.Idle() // has it ask for the time
	case p < 985:
		w.last = "a close"
		c.Close(4100, "bye")
		m.close(modelFrame{bytes: appendClose(nil, 4100, "bye"), control: true})
	case p < 990:
		w.last = "the peer's close"
		w.locked(func() { c.peerClosed(CodeNormal) })
		m.peerClose()
	case p < 992:
		w.last = "a broken socket"
		m.socket.broken, m.broken = true, true
	case p < 994:
		w.last = "an end"
		w.locked(func() { c.end(CauseServer) })
		m.end()
	default:
		w.last = "a trim"
		w.d.Trim()
	}
	if s := w.d.own; s != nil {
		w.segments[s] = true
	}
}

// text is unlike any other, and of a size that matters.
func (w *queueWorld) text() []byte {
	r := w.r
	n := 1 + r.IntN(20)
	switch r.IntN(40) {
	case 0, 1, 2, 3, 4, 5:
		n = 115 + r.IntN(20) // the header grows
	case 6, 7, 8, 9:
		n = 1 + r.IntN(700)
	case 10:
		n = maxInline - 20 + r.IntN(30)
	case 11:
		n = 1 + r.IntN(9000)
	case 12, 13:
		if w.s.opts.QueueBytes > scratchBytes && r.IntN(4) == 0 {
			n = scratchBytes - 20 + r.IntN(40)
		}
	}
	w.texts++
	b := fmt.Appendf(nil, "%d ", w.texts)
	for len(b) < n {
		b = append(b, byte('a'+len(b)%26))
	}
	return b
}

// published is when a message was published: for a while it is known, then not.
func (w *queueWorld) published() int64 {
	if w.r.IntN(20) == 0 {
		w.timed = !w.timed
	}
	switch {
	case !w.timed:
		return 0
	case w.r.IntN(10) == 0:
		return w.now + 5
	}
	at := w.now - w.r.Int64N(20_000)
	if uint32(at) == 0 {
		at++ // a chunk takes it for this
	}
	return at
}

func (w *queueWorld) plain(m *modelConn) {
	n := 1 + w.r.IntN(6)
	w.last = fmt.Sprint(n, " pushes")
	for range n {
		text, at := w.text(), w.published()
		k := w.r.IntN(len(text))
		w.d.Plain(m.c, text[:k], text[k:len(text)-1], text[len(text)-1], at)
		m.enqueue(modelFrame{bytes: appendFrame(nil, opText, text), at: at})
	}
}

func (w *queueWorld) shared(all bool) {
	r := w.r
	text := w.text()
	p := Push{Size: len(text), At: w.published()}
	f := modelFrame{bytes: appendFrame(nil, opText, text), at: p.At}
	if r.IntN(4) == 0 {
		p.Expires = w.now - 2 + r.Int64N(2000)
	}
	if r.IntN(3) == 0 {
		p.Collapse = fmt.Sprint("=", r.IntN(3))
	}
	if r.IntN(60) == 0 {
		p.Close, p.CloseCode, p.Reason = true, 4500, "go"
		f.bytes = appendClose(f.bytes, 4500, "go")
	}
	f.expires, f.collapse, f.closes = p.Expires, p.Collapse, p.Close
	m, b := w.d.Message(p)
	_ = append(b, text...)
	defer w.d.Done(m)
	if all {
		w.d.All(m)
		w.special = w.special || f.expires != 0 || f.closes
	}
	for i, x := range w.conns {
		switch {
		case x.state == stateClosed:
		case all:
			w.books.sent++
			x.pending = append(x.pending, f)
		case i == 0 || r.IntN(2) == 0:
			w.d.To(x.c, m)
			w.d.To(x.c, m) // once is enough
			x.enqueue(f)
		}
	}
}

func (w *queueWorld) flush() {
	for _, m := range w.conns {
		m.dirty = m.c.has(flagDirty)
	}
	w.d.Flush()
	for w.d.Work() {
	}
	for _, m := range w.conns {
		if m.state != stateClosed {
			for m.dirty && m.blocked && w.l.sender != nil && m.late() {
				m.expire() // a sender looks before it knows that it can't send
			}
			m.flush()
			m.update()
		}
	}
	w.special = false
}

// refill gives the socket room for some bytes more: sometimes for none, mostly for
// a few frames.
func (m *modelConn) refill() {
	n := m.w.r.IntN([]int{1, 10, 30, 100, 500, 3000, 10_000, 200_000}[m.w.r.IntN(8)])
	m.socket.room += n
	m.room += n
}

// bytes is what waits.
func (m *modelConn) bytes() int {
	n := -m.off
	for _, f := range m.frames {
		n += len(f.bytes)
	}
	return n
}

func (m *modelConn) book(f modelFrame, r result) {
	if f.control {
		return
	}
	b := &m.w.books
	b.delivered[r]++
	if r == resultWritten && f.at != 0 {
		ms := max(0, m.w.now-f.at)
		i := 0
		for i < len(latencyBounds) && ms > latencyBounds[i] {
			i++
		}
		b.latency[i]++
		b.latencySum += ms
	}
}

// enqueue takes a message for m.
func (m *modelConn) enqueue(f modelFrame) {
	m.w.books.sent++
	if m.state == stateOpen {
		m.catchUp()
	}
	m.admit(f)
}

func (m *modelConn) catchUp() {
	pending := m.pending
	m.pending = nil
	for i, f := range pending {
		if m.state == stateClosed {
			for _, f := range pending[i:] {
				m.book(f, resultClosed)
			}
			return
		}
		m.admit(f)
	}
}

func (m *modelConn) forfeit() {
	for _, f := range m.pending {
		m.book(f, resultClosed)
	}
	m.pending = nil
}

func (m *modelConn) admit(f modelFrame) {
	switch {
	case m.state != stateOpen:
		m.book(f, resultClosed)
		return
	case f.expires != 0 && f.expires < m.w.now:
		m.book(f, resultExpired)
		return
	}
	if f.collapse != "" {
		for i := m.begun(); i < len(m.frames); i++ {
			if old := m.frames[i]; old.collapse == f.collapse && !old.closes && !old.control {
				m.book(old, resultCollapsed)
				if f.closes { // it comes last
					m.frames = append(m.frames[:i:i], m.frames[i+1:]...)
					break
				}
				m.frames[i] = f
				return
			}
		}
	}
	if !f.closes && !m.fits(f) {
		if m.flush(); m.state != stateOpen {
			m.book(f, resultClosed)
			return
		}
		if !m.fits(f) && !m.overflow(f) {
			return
		}
	}
	m.frames = append(m.frames, f)
	if f.closes {
		m.state = stateClosing
	}
}

func (m *modelConn) fits(f modelFrame) bool {
	return len(m.frames) == 0 || m.bytes()+len(f.bytes) <= m.w.s.opts.QueueBytes
}

// begun is how many frames may not be taken out any more.
func (m *modelConn) begun() int { return min(m.off, 1) }

// overflow makes room for f, or says that there is none.
func (m *modelConn) overflow(f modelFrame) bool {
	switch m.w.s.opts.SlowConsumer {
	case DropOldest:
		for i := m.begun(); i < len(m.frames) && !m.fits(f); {
			if old := m.frames[i]; old.control || old.closes {
				i++
			} else {
				m.book(old, resultDropped)
				m.frames = append(m.frames[:i:i], m.frames[i+1:]...)
			}
		}
		if m.fits(f) {
			return true
		}
		m.book(f, resultDropped)
	case DropNewest:
		m.book(f, resultDropped)
	default:
		m.book(f, resultDropped)
		m.slow()
	}
	return false
}

// slow ends a connection that takes too little.
func (m *modelConn) slow() {
	m.forfeit()
	m.discard()
	m.state = stateClosing
	last := m.c.out.tail.m.frame // its reason is drawn
	if !bytes.HasPrefix(last[2:], []byte{byte(CodeTryAgain >> 8), byte(CodeTryAgain & 0xff)}) {
		m.w.t.Errorf("the queue of a slow consumer ends with %q", last)
	}
	m.frames = append(m.frames, modelFrame{bytes: last, control: true})
}

// discard gives up what waits, but a frame that is begun.
func (m *modelConn) discard() {
	for _, f := range m.frames[m.begun():] {
		m.book(f, resultClosed)
	}
	m.frames = m.frames[:m.begun()]
}

func (m *modelConn) control(f modelFrame) {
	if m.state != stateOpen {
		return
	}
	tooMuch := func() bool { return len(m.frames) > 0 && m.bytes()+len(f.bytes) > m.w.s.opts.QueueBytes+controlSlack }
	if tooMuch() {
		if m.flush(); m.state == stateClosed {
			return
		}
		if tooMuch() {
			m.slow()
			return
		}
	}
	m.frames = append(m.frames, f)
	m.flush()
}

func (m *modelConn) close(f modelFrame) {
	if m.state != stateOpen {
		return
	}
	if m.catchUp(); m.state == stateOpen {
		m.state = stateClosing
		m.frames = append(m.frames, f)
	}
	m.flush()
}

func (m *modelConn) peerClose() {
	m.peerClosed = true
	if m.state == stateOpen {
		m.forfeit()
		m.discard()
		m.state = stateClosing
		m.frames = append(m.frames, modelFrame{bytes: appendClose(nil, CodeNormal, ""), control: true})
		m.flush()
	}
	m.flushed()
}

// flushed ends a connection that both sides have closed.
func (m *modelConn) flushed() {
	if m.state == stateClosing && m.peerClosed && len(m.frames) == 0 {
		m.end()
	}
}

func (m *modelConn) end() {
	m.off = 0
	m.forfeit()
	m.discard()
	m.state = stateClosed
}

// late reports whether the next frame must not be written any more.
func (m *modelConn) late() bool {
	return len(m.frames) > 0 && m.off == 0 && m.frames[0].expires != 0 && m.frames[0].expires < m.w.now
}

func (m *modelConn) expire() {
	m.book(m.frames[0], resultExpired)
	m.frames = m.frames[1:]
}

// flush writes what the socket takes.
func (m *modelConn) flush() {
	for !m.blocked && len(m.frames) > 0 && m.state != stateClosed {
		f := m.frames[0]
		if m.late() {
			m.expire()
			continue
		}
		if m.broken {
			m.end()
			return
		}
		n := min(len(f.bytes)-m.off, m.room)
		m.room -= n
		m.written = append(m.written, f.bytes[m.off:m.off+n]...)
		if m.off += n; m.off < len(f.bytes) {
			m.blocked = true
			return
		}
		m.book(f, resultWritten)
		m.frames, m.off = m.frames[1:], 0
	}
	m.flushed()
}

// update brings m up to date with the messages for everyone.
func (m *modelConn) update() {
	switch {
	case len(m.pending) == 0 || m.state == stateClosed:
		return
	case m.state == stateClosing:
		m.forfeit()
		return
	case len(m.frames) > 0 || m.w.special:
		m.catchUp()
		m.flush()
		return
	}
	// At once, without a bound; what the socket does not take is queued.
	all := m.pending
	m.pending = nil
	for i, f := range all {
		m.frames = append(m.frames, f)
		blocked := m.blocked
		if m.flush(); m.state == stateClosed {
			for range all[i+1:] {
				m.w.books.delivered[resultClosed]++
			}
			return
		}
		if m.blocked && !blocked {
			for _, f := range all[i+1:] {
				m.admit(f)
			}
			return
		}
	}
}

// compare holds the connections, the loop and the books against the model.
func (w *queueWorld) compare() {
	fail := func(format string, args ...any) {
		w.t.Errorf("step %d, %s: %s", w.step, w.last, fmt.Sprintf(format, args...))
	}
	queued, waiting, left := 0, 0, uint64(0)
	for i, m := range w.conns {
		c := m.c
		if !bytes.Equal(m.socket.written, m.written) {
			fail("connection %d got %.300q, want %.300q", i, m.socket.written, m.written)
		}
		m.socket.written, m.written = m.socket.written[:0], m.written[:0]
		if c.state != m.state {
			fail("connection %d is in state %d, want %d", i, c.state, m.state)
		}
		if m.state != stateClosed && (c.has(flagWantWrite) != m.blocked || c.has(flagArmed) != m.blocked) {
			fail("connection %d is blocked %v, and armed %v, want %v", i, c.has(flagWantWrite), c.has(flagArmed), m.blocked)
		}
		var want []byte
		for _, f := range m.frames {
			want = append(want, f.bytes...)
			if !f.control {
				left++
			}
		}
		left += uint64(len(m.pending))
		queued += m.bytes()
		if (c.out == nil) != (len(m.frames) == 0) {
			fail("connection %d has a queue: %v, and %d frames wait", i, c.out != nil, len(m.frames))
		}
		if c.out == nil {
			continue
		}
		waiting++
		if got := w.waits(c.out); !bytes.Equal(got, want) {
			fail("connection %d: %.300q waits, want %.300q", i, got, want)
		}
		if c.out.bytes != m.bytes() || c.out.off != m.off {
			fail("connection %d: the queue counts %d bytes, %d of the first frame written, want %d and %d", i, c.out.bytes, c.out.off, m.bytes(), m.off)
		}
	}
	if w.l.queued != int64(queued) || w.l.waiting != waiting {
		fail("the loop counts %d bytes for %d connections, want %d for %d", w.l.queued, w.l.waiting, queued, waiting)
	}
	b, l := &w.books, &w.l.counters
	if b.delivered != l.delivered || b.latency != l.latency || b.latencySum != l.latencySum {
		fail("the books say %d, %d, %d ms, want %d, %d, %d ms", l.delivered, l.latency, l.latencySum, b.delivered, b.latency, b.latencySum)
	}
	for _, n := range l.delivered {
		left += n
	}
	if left != b.sent {
		fail("%d deliveries are in the books or wait, of %d", left, b.sent)
	}
}

// waits is what the queue holds, frame by frame.
func (w *queueWorld) waits(q *queue) (all []byte) {
	var last *node
	for n := q.head; n != nil; last, n = n, n.next {
		if n.m != nil {
			all = append(all, n.m.frame...)
			continue
		}
		size, frames := len(all), 0
		for f := range n.k.all(w.now) {
			all = append(all, f...)
			frames++
		}
		if frames == 0 || frames != n.k.left() || len(all)-size != len(n.k.frames()) {
			w.t.Fatalf("step %d, %s: a chunk of %d frames holds %.300q", w.step, w.last, n.k.left(), n.k.frames())
		}
	}
	if q.tail != last {
		w.t.Fatalf("step %d, %s: the queue's last node is not its tail", w.step, w.last)
	}
	return all
}

// finish ends all connections, and looks for what is left behind.
func (w *queueWorld) finish() {
	w.last = "the end"
	w.flush()
	for _, m := range w.conns {
		w.locked(func() { m.c.end(CauseServer) })
		if m.state != stateClosed {
			m.end()
		}
	}
	w.compare()
	w.wantNothingInUse()
	for s := range w.segments {
		if s != w.d.own && s.refs.Load() != 0 || s == w.d.own && !s.empty() {
			w.t.Errorf("messages in a segment are still held")
		}
	}
	w.l.pools.close()
}

// wantNothingInUse holds that all chunks have come back.
func (w *queueWorld) wantNothingInUse() {
	for class := range w.l.pools.chunks {
		s := &w.l.pools.chunks[class]
		if n := s.inHeap - w.held[class] - len(s.heap.items); n != 0 {
			w.t.Errorf("class %d: %d chunks have not come back", class, n)
		}
		for _, r := range s.regions {
			if r != nil && len(r.free) != len(r.mem)/chunkSize(s.class) {
				w.t.Errorf("class %d: of a region %d chunks have come back", class, len(r.free))
			}
		}
	}
}
