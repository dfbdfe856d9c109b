package conn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/sendq"
	"pushpod/conn/internal/wire"
)

// Connections over sockets that take little, block and break do what lists of frames
// do: the same bytes reach each peer, and the same books are kept, after each step.
func TestConnectionsDoWhatPlainListsDo(t *testing.T) {
	steps := 10_000
	if raceEnabled || testing.Short() {
		steps = 2000
	}
	for name, policy := range map[string]Policy{"disconnect": Disconnect, "newest": DropNewest, "oldest": DropOldest} {
		for limit, conns := range map[int]int{600: 3, 3_000: 2 * netloop.MaxWrites, 8_000: 3, 40_000: 3} {
			t.Run(fmt.Sprintf("%s/%d", name, limit), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { // no time passes: no connection is closed for what it does not answer
					w := newWorld(t, conns, Settings{QueueBytes: limit, SlowConsumer: policy})
					for step := 0; step < steps && !t.Failed(); step++ {
						w.compare(step, w.do())
					}
				})
			})
		}
	}
}

// world is a few connections, and the model of them.
type world struct {
	*fakeServer
	r     *rand.Rand
	o     Settings
	clock int64
	made  int
	books [sendq.Fates]uint64
	slow  uint64
	conns []*modelConn
	sent  []func() // what is sent and not flushed yet
	size  int      // of that, in bytes
	pool  sendq.Pool
}

// modelConn is one connection: the real one, and what the model has of it.
type modelConn struct {
	w      *world
	x      *fakeSocket
	frames []modelFrame // that wait
	begun  bool         // the first of them is
	ruler  *sendq.Queue // the same ones: it tells what they take, and nothing else
	unseen []modelFrame // messages for everyone that it has not been given

	room                        int
	blocked, broken             bool
	closing, peerClosed, closed bool
	got                         []byte
}

type modelFrame struct {
	bytes           []byte
	expires         int64
	collapse        string
	closes, control bool
	frame           *sendq.Frame // for the ruler
}

func newWorld(t *testing.T, conns int, o Settings) *world {
	w := &world{r: rand.New(rand.NewPCG(uint64(o.QueueBytes), uint64(o.SlowConsumer))), o: o, clock: 1_700_000_000_000}
	w.fakeServer = newFakeServer(t, Options{Settings: o, Now: func() int64 { return w.clock }})
	for range conns {
		w.conns = append(w.conns, w.connection())
	}
	return w
}

func (w *world) connection() *modelConn {
	w.made++
	return &modelConn{w: w, x: w.open(fmt.Sprint("u", w.made)), ruler: w.pool.Queue()}
}

// do does one thing at random, to the connections and to the model.
func (w *world) do() string {
	i := w.r.IntN(len(w.conns))
	if w.conns[i].closed && len(w.sent) == 0 {
		w.conns[i] = w.connection()
	}
	m := w.conns[i]
	switch p := w.r.IntN(1000); {
	case len(w.sent) > batchItems/4 || w.size > batchBytes/4: // before it is queued by itself
		w.flush()
		return "a flush"
	case p < 350:
		w.plain(m)
	case p < 480:
		w.shared(false)
		return "a message to several"
	case p < 560:
		w.shared(true)
		return "a message to everyone"
	case p < 640:
		text := w.text()
		m.x.c.Send(text)
		m.control(controlFrame(textOf(string(text))))
		return "no message"
	case p < 800:
		w.flush()
		return "a flush"
	case p < 955:
		n := w.r.IntN([]int{1, 10, 30, 100, 500, 3000, 10_000}[w.r.IntN(7)])
		m.x.give(n)
		m.give(n)
		return "room in the socket"
	case p < 970:
		w.clock += []int64{1, 10, 1000}[w.r.IntN(3)]
		w.net.to.Tick()
		return "time"
	case p < 980:
		m.x.c.Close(4100, "bye")
		m.close(controlFrame(closeOf(4100, "bye")))
		return "a close"
	case p < 985 && !m.closed:
		m.x.arrive(string(closeFrame(wire.CodeNormal, "")))
		m.peerClose()
		return "the peer's close"
	case p < 990:
		m.x.broken, m.broken = true, true
		return "a broken socket"
	case p < 992 && !m.closed:
		m.x.end()
		m.end()
		return "the peer's end"
	default:
		w.d.Trim()
		return "a trim"
	}
	return "pushes"
}

// text is unlike any other, and of a size that matters; one for each is less than
// what is queued by itself.
func (w *world) text() []byte {
	w.made++
	size := []int{20, 20, 20, 130, 130, 700, sendq.MaxPrivate + 20, 5000}[w.r.IntN(8)]
	b := fmt.Appendf(nil, "%d ", w.made)
	return append(b, bytes.Repeat([]byte{byte('a' + w.made%26)}, w.r.IntN(min(size, 2*w.o.QueueBytes, batchBytes/2/len(w.conns))))...)
}

// alone is a frame for one queue; nil: it is too large.
func alone(b []byte) *sendq.Frame {
	if len(b) > sendq.MaxPrivate {
		return nil
	}
	f := sendq.NewFrame(b)
	f.Alone = true
	return f
}

func controlFrame(b []byte) modelFrame {
	f := alone(b)
	if f == nil {
		f = sendq.NewFrame(bytes.Clone(b))
	}
	f.Control = true
	return modelFrame{bytes: b, control: true, frame: f}
}

func (w *world) plain(m *modelConn) {
	for range 1 + w.r.IntN(6) {
		text := w.text()
		cut := w.r.IntN(len(text))
		w.d.Plain(m.x.c, w.clock, text[:cut], text[cut:])
		w.size += len(text)
		f := modelFrame{bytes: textOf(string(text))}
		if f.frame = alone(f.bytes); f.frame == nil {
			f.frame = w.d.Frame(Push{}, text)
		}
		w.sent = append(w.sent, func() { m.send(f) })
	}
}

func (w *world) shared(all bool) {
	p, text := Push{}, w.text()
	f := modelFrame{bytes: textOf(string(text))}
	if w.r.IntN(4) == 0 {
		p.Expires = w.clock - 2 + w.r.Int64N(1000)
	}
	if w.r.IntN(3) == 0 {
		p.Collapse = fmt.Sprint(w.r.IntN(3))
	}
	if w.r.IntN(60) == 0 {
		p.Close, p.CloseCode, p.Reason = true, 4500, "go"
		f.bytes = append(f.bytes, closeOf(4500, "go")...)
	}
	f.expires, f.collapse, f.closes, f.frame = p.Expires, p.Collapse, p.Close, w.d.Frame(p, text)
	if all {
		send(w.d, p, text)
		w.sent = append(w.sent, func() {
			for _, m := range w.conns {
				if !m.closed {
					m.unseen = append(m.unseen, f)
				}
			}
		})
		return
	}
	for i, m := range w.conns {
		if i == 0 || w.r.IntN(2) == 0 {
			send(w.d, p, text, m.x.c)
			w.size += len(f.bytes)
			w.sent = append(w.sent, func() { m.send(f) })
		}
	}
}

func (w *world) flush() {
	flushAll(w.d)
	for _, deliver := range w.sent {
		deliver()
	}
	w.sent, w.size = nil, 0
	special := false
	for _, m := range w.conns {
		m.flush()
		special = special || slices.ContainsFunc(m.unseen, func(f modelFrame) bool { return f.expires != 0 || f.closes })
	}
	for _, m := range w.conns {
		m.update(special)
	}
}

func (m *modelConn) open() bool { return !m.closing && !m.closed }

func (m *modelConn) waiting() (n int) {
	for _, f := range m.frames {
		n += len(f.bytes)
	}
	return n
}

func (m *modelConn) fate(f modelFrame, fate sendq.Fate) {
	if !f.control {
		m.w.books[fate]++
	}
}

func (m *modelConn) send(f modelFrame) {
	m.catchUp()
	m.admit(f)
}

func (m *modelConn) catchUp() {
	unseen := m.unseen
	m.unseen = nil
	for _, f := range unseen {
		m.admit(f)
	}
}

// update brings m up to date with what is for everyone: at once and without a bound,
// where nothing else waits.
func (m *modelConn) update(special bool) {
	direct := len(m.frames) == 0 && !special && m.open() && len(m.unseen) > 0
	if !direct {
		m.catchUp()
		m.flush()
		return
	}
	m.frames, m.unseen = m.unseen, nil
	m.write() // which the ruler has nothing of
	if len(m.frames) > 0 {
		first, rest := m.frames[0], m.frames[1:]
		m.frames = m.frames[:1:1]
		m.measure(first)
		if m.begun {
			m.ruler.Began(&m.w.pool, len(first.frame.Bytes)-len(first.bytes))
		}
		for _, f := range rest {
			m.admit(f)
		}
	}
}

func (m *modelConn) admit(f modelFrame) {
	switch {
	case !m.open():
		m.fate(f, sendq.Closed)
		return
	case f.expires != 0 && f.expires < m.w.clock:
		m.fate(f, sendq.Expired)
		return
	case m.collapse(f):
		return
	case f.closes:
		m.closing = true
	case !m.hasRoom(f) && !m.overflow(f):
		return
	}
	m.add(f)
}

// add adds a frame behind all others.
func (m *modelConn) add(f modelFrame) {
	m.frames = append(m.frames, f)
	m.measure(f)
}

func (m *modelConn) measure(f modelFrame) {
	f.frame.Retain()
	m.ruler.Push(&m.w.pool, f.frame)
}

func (m *modelConn) collapse(f modelFrame) bool {
	for i, old := range m.frames {
		if f.collapse == "" || i == 0 && m.begun || old.control || old.closes || old.collapse != f.collapse {
			continue
		}
		m.fate(old, sendq.Collapsed)
		f.frame.Retain()
		if !m.ruler.Collapse(&m.w.pool, f.frame, m.w.o.QueueBytes) {
			m.frames = slices.Delete(m.frames, i, i+1) // nothing may come behind a close
			return false
		}
		m.frames[i] = f
		return true
	}
	return false
}

func (m *modelConn) fits(f modelFrame) bool {
	return m.ruler.FitsFrame(f.frame, m.w.o.QueueBytes)
}

func (m *modelConn) hasRoom(f modelFrame) bool {
	if !m.fits(f) {
		m.flush()
	}
	return m.open() && m.fits(f)
}

// overflow makes room for f, or says that there is none.
func (m *modelConn) overflow(f modelFrame) bool {
	if !m.open() {
		m.fate(f, sendq.Closed)
		return false
	}
	if m.w.o.SlowConsumer == DropOldest {
		for !m.fits(f) && m.drop(sendq.Dropped) {
		}
		if m.fits(f) {
			return true
		}
	}
	m.fate(f, sendq.Dropped)
	if m.w.o.SlowConsumer == Disconnect {
		m.tooSlow()
	}
	return false
}

// drop drops the oldest message that is not begun.
func (m *modelConn) drop(fate sendq.Fate) bool {
	m.ruler.DropOldest(&m.w.pool)
	for i, f := range m.frames {
		if !f.control && (i > 0 || !m.begun) {
			m.fate(f, fate)
			m.frames = slices.Delete(m.frames, i, i+1)
			return true
		}
	}
	return false
}

func (m *modelConn) dropMessages() {
	for _, f := range m.unseen {
		m.fate(f, sendq.Closed)
	}
	for m.unseen = nil; m.drop(sendq.Closed); {
	}
}

func (m *modelConn) tooSlow() {
	m.w.slow++
	m.dropMessages()
	m.closing = true
	m.add(controlFrame(closeOf(wire.CodeTryAgain, "retry_ms=????")))
}

func (m *modelConn) control(f modelFrame) {
	tooMuch := func() bool {
		n := len(f.bytes)
		for i, waits := range m.frames {
			if waits.control && (i > 0 || !m.begun) {
				n += len(waits.bytes)
			}
		}
		return n > controlSlack && m.ruler.Memory()+len(f.bytes) > m.w.o.QueueBytes+controlSlack
	}
	if tooMuch() {
		m.flush()
	}
	switch {
	case !m.open():
	case tooMuch():
		m.tooSlow()
	default:
		m.add(f)
	}
	m.flush()
}

func (m *modelConn) close(f modelFrame) {
	if m.open() {
		m.closing = true
		m.add(f)
		m.flush()
	}
}

func (m *modelConn) peerClose() {
	m.peerClosed = true
	if m.open() {
		m.dropMessages()
		m.close(controlFrame(closeOf(wire.CodeNormal, "")))
	}
	m.flush()
}

func (m *modelConn) end() {
	for _, f := range append(m.frames, m.unseen...) {
		m.fate(f, sendq.Closed)
	}
	m.frames, m.unseen, m.closed = nil, nil, true
	m.ruler.Clear(&m.w.pool, sendq.Closed)
}

func (m *modelConn) give(n int) {
	m.room += n
	if m.blocked {
		m.blocked = false
		m.flush()
	}
}

// flush writes what the socket takes.
func (m *modelConn) flush() {
	if !m.blocked && !m.closed {
		m.ruler.DropLate(&m.w.pool, m.w.clock)
		took := m.write()
		if !m.closed {
			m.ruler.Took(&m.w.pool, took, m.w.clock)
		}
		if len(m.frames) == 0 { // nor does the place of one that collapsed
			m.ruler.DropLate(&m.w.pool, m.w.clock)
		}
	}
}

func (m *modelConn) write() (took int) {
	for !m.blocked && len(m.frames) > 0 && !m.closed {
		f := &m.frames[0]
		if !m.begun && f.expires != 0 && f.expires < m.w.clock {
			m.fate(*f, sendq.Expired)
			m.frames = m.frames[1:]
			m.ruler.Took(&m.w.pool, took, m.w.clock)
			took = 0
			m.ruler.DropLate(&m.w.pool, m.w.clock)
			continue
		}
		if m.broken {
			m.end()
			return 0
		}
		n := min(len(f.bytes), m.room)
		m.room -= n
		took += n
		m.got = append(m.got, f.bytes[:n]...)
		if n < len(f.bytes) {
			f.bytes, m.begun, m.blocked = f.bytes[n:], m.begun || n > 0, true
			return took
		}
		m.fate(*f, sendq.Written)
		m.frames, m.begun = m.frames[1:], false
	}
	if m.closing && m.peerClosed && len(m.frames) == 0 && !m.closed {
		m.end()
	}
	return took
}

// compare holds the connections and the books against the model.
func (w *world) compare(step int, did string) {
	var want Stats
	for i, m := range w.conns {
		for at, b := range m.got {
			if b == '?' && at < len(m.x.got) { // it is drawn
				m.got[at] = m.x.got[at]
			}
		}
		if !bytes.Equal(m.x.got, m.got) {
			w.t.Errorf("step %d, %s: connection %d got %.300q, want %.300q", step, did, i, m.x.got, m.got)
		}
		m.x.got, m.got = nil, nil
		if m.x.closed != m.closed || !m.closed && m.x.notify != m.blocked {
			w.t.Errorf("step %d, %s: socket %d is closed %v, blocked %v, want %v, %v", step, did, i, m.x.closed, m.x.notify, m.closed, m.blocked)
		}
		memory := 0
		if m.x.c.out != nil {
			memory = m.x.c.out.Memory()
		}
		if !m.closing && !m.closed && memory != m.ruler.Memory() {
			w.t.Errorf("step %d, %s: what waits for connection %d takes %d bytes, want %d", step, did, i, memory, m.ruler.Memory())
		}
		want.QueuedBytes += int64(m.waiting())
		if len(m.frames) > 0 {
			want.QueuedConns++
		}
		if !m.closed {
			want.Open++
		}
	}
	st := w.Stats()
	if got := [...]uint64{st.Written, st.Expired, st.Collapsed, st.Dropped, st.Closed}; got != w.books || st.SlowConsumers != w.slow {
		w.t.Errorf("step %d, %s: the books say %d, %d slow, want %d, %d", step, did, got, st.SlowConsumers, w.books, w.slow)
	}
	if st.QueuedBytes != want.QueuedBytes || st.QueuedConns != want.QueuedConns || st.Open != want.Open {
		w.t.Errorf("step %d, %s: %d bytes wait for %d of %d connections, want %d for %d of %d", step, did, st.QueuedBytes, st.QueuedConns, st.Open, want.QueuedBytes, want.QueuedConns, want.Open)
	}
}
