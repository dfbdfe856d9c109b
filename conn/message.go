package conn

import "sync/atomic"

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

	// Messages in a segment only.
	refs atomic.Int32
	seg  *segment
	heap atomic.Pointer[Message] // the copy that waits in queues
}

// retain notes one more holder.
func (m *Message) retain() {
	if m.seg != nil {
		m.refs.Add(1)
	}
}

// release notes one holder less; with the last one the message is no more.
func (m *Message) release() {
	if m.seg == nil {
		return
	}
	switch n := m.refs.Add(-1); {
	case n == 0:
		m.seg.release()
	case n < 0:
		panic("conn: a message was released by one who did not hold it")
	}
}

// kept returns a message that lies in no segment, in exchange for m: the caller
// holds the result in m's stead.
func (m *Message) kept() *Message {
	if m.seg == nil {
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
