package sendq

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// Frame is one encoded frame on its way to any number of queues, which share
// its bytes. Nothing of it changes once it is in a queue.
type Frame struct {
	Bytes    []byte
	Expires  int64  // Unix ms; 0: never
	At       int64  // when it was published, Unix ms; 0: not known
	Collapse string // a newer frame with this key takes its place; "": none does
	Closes   bool   // it ends with a close frame
	Control  bool   // it is no message: in no book, never dropped or collapsed
	Alone    bool   // it is for one queue, which copies it: MaxPrivate bytes at most, and nothing special but At

	holds atomic.Int32
	class *sync.Pool // nil: it is not used again
	other atomic.Pointer[Frame]
}

// Retain notes one more holder. It may be called by a holder, from any goroutine.
func (f *Frame) Retain() { f.holds.Add(1) }

// Release notes one holder less; without any, the frame's memory is used again.
// It may be called from any goroutine, once for each hold.
func (f *Frame) Release() {
	switch n := f.holds.Add(-1); {
	case n < 0:
		panic("sendq: a frame was released more often than it was held")
	case n == 0:
		if other := f.other.Load(); other != nil {
			f.other.Store(nil)
			other.Release()
		}
		if f.class != nil {
			f.Collapse = ""
			f.class.Put(f)
		}
	}
}

// Other returns f in another form, which encode appends to nil for the first who asks:
// others share it, as they share f. It is held once more, by the caller. A holder of f may
// call it, from any goroutine, always with the same encode.
func (f *Frame) Other(encode func(dst, bytes []byte) []byte) *Frame {
	other := f.other.Load()
	if other == nil {
		other = NewFrame(encode(nil, f.Bytes))
		other.Expires, other.At, other.Collapse, other.Closes, other.Control = f.Expires, f.At, f.Collapse, f.Closes, f.Control
		if !f.other.CompareAndSwap(nil, other) {
			other = f.other.Load()
		}
	}
	other.Retain()
	return other
}

// frameBytes is what a frame takes beside its bytes: 80 itself, and its place in
// Queue.frames, of which up to three in four are not in use.
const frameBytes = 80 + 4*8

// memory is what f takes, in bytes. A sixteenth is what the allocator loses at the
// ends of its spans, and needs for its own books.
func (f *Frame) memory() int { return cap(f.Bytes) + cap(f.Bytes)/16 + len(f.Collapse) + frameBytes }

// late reports whether it is too late to write f.
func (f *Frame) late(now int64) bool { return f.Expires != 0 && f.Expires < now }

// NewFrame returns a frame in memory of its own, held once by the caller.
func NewFrame(b []byte) *Frame {
	f := &Frame{Bytes: b}
	f.holds.Store(1)
	return f
}

// Frames makes frames, in memory that is used again. The zero value is ready;
// it may be used from any goroutine.
type Frames struct {
	classes [classes]sync.Pool // by class
}

// Frames have memory of sizes of which there are eight between two powers of two, as
// those of Go's allocator nearly are: what is lost is an eighth at most.
const (
	leastBits = 6  // 64 B
	mostBits  = 20 // 1 MiB; what is larger is left to the collector
	classes   = (mostBits-leastBits)*8 + 1
)

// class returns the class of a frame with room for n bytes, and the size of that; beyond
// mostBits there is none.
func class(n int) (number, size int) {
	if n <= 1<<leastBits {
		return 0, 1 << leastBits
	}
	// 2^bits < n <= 2^(bits+1)
	bits := bits.Len(uint(n-1)) - 1
	step := 1 << (bits - 3)
	eighths := (n - 1<<bits + step - 1) / step
	return (bits-leastBits)*8 + eighths, 1<<bits + eighths*step
}

// New returns a frame with room for n bytes and none in it, held once by the caller.
func (p *Frames) New(n int) *Frame {
	number, size := class(n)
	if number >= classes {
		return NewFrame(slices.Grow([]byte(nil), n))
	}
	pool := &p.classes[number]
	f, _ := pool.Get().(*Frame)
	if f == nil {
		f = &Frame{Bytes: slices.Grow([]byte(nil), size), class: pool} // its cap is what the allocator gives
	}
	f.Bytes = f.Bytes[:0]
	f.Expires, f.At, f.Collapse, f.Closes, f.Control, f.Alone = 0, 0, "", false, false, false
	f.holds.Store(1)
	return f
}
