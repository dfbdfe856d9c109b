package conn

import (
	"sync"
	"sync/atomic"
)

// Segment is a stretch of memory that what is to be pushed is read into, or
// written to, with the messages that lie in it. It is used again once the last
// of them has been let go of. Only its [Deliverer]'s goroutine uses it.
type Segment struct {
	buf  []byte // all of it
	at   int    // what is before it is taken; for messages that are copied in
	home *arena

	// The messages, in chunks that stay with the segment: at a million messages
	// a second, one by one they would be work for the garbage collector.
	chunks [][]Message
	used   int

	// Messages that are not let go of, and, until the segment is retired,
	// segmentInUse less those that were ever in it: so that only letting go
	// needs an atomic operation.
	refs atomic.Int32
}

// SegmentBytes is the size of a segment, unless more is asked for.
const SegmentBytes = 256 << 10

const (
	segmentInUse = 1 << 30
	messageChunk = 256
)

// Bytes is the segment's memory, all of it.
func (s *Segment) Bytes() []byte { return s.buf }

// message returns a message that lies in the segment.
func (s *Segment) message() *Message {
	i := s.used / messageChunk
	if i == len(s.chunks) {
		s.chunks = append(s.chunks, make([]Message, messageChunk))
	}
	m := &s.chunks[i][s.used%messageChunk]
	s.used++
	m.seg = s
	if m.heap.Load() != nil {
		m.heap.Store(nil)
	}
	return m
}

// release is called once for each message.
func (s *Segment) release() {
	if s.refs.Add(-1) == 0 {
		s.home.put(s)
	}
}

// retire ends the filling of s.
func (s *Segment) retire() {
	if s.refs.Add(int32(s.used)-segmentInUse) == 0 {
		s.home.put(s)
	}
}

// empty starts s again from its beginning, where no message in it is held.
func (s *Segment) empty() bool {
	if s.refs.Load() != segmentInUse-int32(s.used) {
		return false
	}
	s.reset()
	return true
}

func (s *Segment) reset() {
	s.at, s.used = 0, 0
	s.refs.Store(segmentInUse)
}

// arena keeps segments. They come back from any goroutine.
type arena struct {
	out atomic.Int64 // bytes of the segments that are in use

	mu   sync.Mutex // protects following
	free []*Segment
}

// arenaKept is how many segments are kept while nothing uses them, until a
// calm time comes.
const arenaKept = 64

// take returns a segment of at least n bytes.
func (a *arena) take(n int) *Segment {
	n = max(n, SegmentBytes)
	a.out.Add(int64(n))
	if n == SegmentBytes {
		a.mu.Lock()
		if k := len(a.free); k > 0 {
			s := a.free[k-1]
			a.free[k-1] = nil
			a.free = a.free[:k-1]
			a.mu.Unlock()
			s.reset()
			return s
		}
		a.mu.Unlock()
	}
	s := &Segment{buf: make([]byte, n), home: a}
	s.reset()
	return s
}

func (a *arena) put(s *Segment) {
	a.out.Add(-int64(len(s.buf)))
	if len(s.buf) != SegmentBytes {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) < arenaKept {
		a.free = append(a.free, s)
	}
}

// drop gives up what is kept.
func (a *arena) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = nil
}
