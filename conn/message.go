package conn

import (
	"sync"
	"sync/atomic"
)

// Message is one encoded frame on its way to any number of connections. Its
// bytes are shared by all of them and never change once it is sent.
//
// A message from a [Deliverer] lives in pooled memory until the last queue has
// let go of it; one that has to wait for a slow socket is copied to memory of
// its own first, once for all its receivers.
type Message struct {
	frame    []byte
	expires  int64  // Unix ms; 0: never
	at       int64  // when it was published, Unix ms; 0: not known
	collapse string // a newer message with this key takes its place in a queue
	closes   bool   // the frame ends with a close frame
	control  bool   // no delivery: in no book, never dropped or collapsed

	// Pooled messages only.
	pool *sync.Pool
	seg  *segment
	refs atomic.Int32
	heap atomic.Pointer[Message] // the copy that waits in queues
}

// retain notes one more holder.
func (m *Message) retain() {
	if m.pool != nil {
		m.refs.Add(1)
	}
}

// release notes one holder less, and gives a pooled message back with the last.
func (m *Message) release() {
	if m.pool == nil {
		return
	}
	switch n := m.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("conn: a message was released by one who did not hold it")
	}
	pool, seg := m.pool, m.seg
	m.frame, m.collapse, m.pool, m.seg = nil, "", nil, nil
	m.expires, m.at, m.closes = 0, 0, false
	m.heap.Store(nil)
	pool.Put(m)
	seg.release()
}

// kept returns a message that holds no pooled memory, in exchange for m: the
// caller holds the result in m's stead.
func (m *Message) kept() *Message {
	if m.pool == nil {
		return m
	}
	k := m.heap.Load()
	if k == nil {
		k = &Message{frame: append([]byte(nil), m.frame...), expires: m.expires, at: m.at, collapse: m.collapse, closes: m.closes}
		if !m.heap.CompareAndSwap(nil, k) {
			k = m.heap.Load()
		}
	}
	m.release()
	return k
}

// segment is a stretch of pooled memory that holds the frames of many messages.
type segment struct {
	buf  []byte
	refs atomic.Int32 // messages in it, and the arena while it is being filled
	home *arena
}

const (
	segmentBytes = 256 << 10
	arenaKept    = 16 // segments that are kept while nothing uses them
)

func (s *segment) release() {
	if s.refs.Add(-1) == 0 {
		s.home.put(s)
	}
}

// arena hands out memory for frames. take is for one goroutine; segments come
// back from any.
type arena struct {
	cur *segment

	mu   sync.Mutex // protects following
	free []*segment
}

// take returns n bytes of capacity in a segment, which it holds one reference to.
func (a *arena) take(n int) (*segment, []byte) {
	s := a.cur
	if s == nil || cap(s.buf)-len(s.buf) < n {
		if s != nil {
			a.cur = nil
			s.release()
		}
		s = a.fresh(n)
		if n <= segmentBytes/4 {
			a.cur = s
			s.refs.Add(1)
		}
	}
	s.refs.Add(1)
	at := len(s.buf)
	s.buf = s.buf[:at+n]
	return s, s.buf[at : at : at+n]
}

func (a *arena) fresh(n int) *segment {
	if n <= segmentBytes {
		a.mu.Lock()
		if k := len(a.free); k > 0 {
			s := a.free[k-1]
			a.free = a.free[:k-1]
			a.mu.Unlock()
			return s
		}
		a.mu.Unlock()
	}
	return &segment{buf: make([]byte, 0, max(n, segmentBytes)), home: a}
}

func (a *arena) put(s *segment) {
	if cap(s.buf) != segmentBytes {
		return
	}
	s.buf = s.buf[:0]
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) < arenaKept {
		a.free = append(a.free, s)
	}
}

// idle gives memory back where nothing is on its way: the segment being filled
// starts again from its beginning as soon as no message lies in it.
func (a *arena) idle() {
	if s := a.cur; s != nil && s.refs.Load() == 1 {
		s.buf = s.buf[:0]
	}
}
