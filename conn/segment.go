package conn

import (
	"sync"
	"sync/atomic"
)

// segment is a stretch of memory with the frames of many messages, and the
// messages. It is used again once the last of them has been let go of. Only the
// Deliverer's goroutine uses it.
type segment struct {
	buf  []byte // all of it
	at   int    // what is before it is taken
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

const (
	segmentBytes = 256 << 10 // unless more is asked for
	segmentInUse = 1 << 30
	messageChunk = 256
)

// message returns a message that lies in the segment.
func (s *segment) message() *Message {
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
func (s *segment) release() {
	if s.refs.Add(-1) == 0 {
		s.home.put(s)
	}
}

// retire ends the filling of s.
func (s *segment) retire() {
	if s.refs.Add(int32(s.used)-segmentInUse) == 0 {
		s.home.put(s)
	}
}

// empty starts s again from its beginning, where no message in it is held.
func (s *segment) empty() bool {
	if s.refs.Load() != segmentInUse-int32(s.used) {
		return false
	}
	s.reset()
	return true
}

func (s *segment) reset() {
	s.at, s.used = 0, 0
	s.refs.Store(segmentInUse)
}

// arena keeps segments. They come back from any goroutine.
type arena struct {
	mu   sync.Mutex // protects following
	free freeList[segment]
}

// take returns a segment of at least n bytes.
func (a *arena) take(n int) *segment {
	n = max(n, segmentBytes)
	var s *segment
	if n == segmentBytes {
		a.mu.Lock()
		s = a.free.get()
		a.mu.Unlock()
	}
	if s == nil {
		s = &segment{buf: make([]byte, n), home: a}
	}
	s.reset()
	return s
}

func (a *arena) put(s *segment) {
	if len(s.buf) != segmentBytes {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free.put(s)
}

func (a *arena) trim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free.trim()
}
