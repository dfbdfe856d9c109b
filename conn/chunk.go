package conn

import (
	"encoding/binary"
	"iter"
	"unsafe"
)

// chunk holds whole frames that are for one connection alone, one behind the
// other, as they go to the socket. They need no memory each, and no walk from
// one to the next: of a burst, most of the cost is memory that is touched for
// the first time.
//
// Frames say themselves how long they are (RFC 6455 section 5.2). In a timed chunk
// the times of publishing stand at the end of the room, the first one last, in
// Unix ms modulo 2^32; 0: not known.
//
// A chunk is the head of a piece of memory that may lie outside the heap, so it
// holds no pointers.
type chunk struct {
	start, end uint16 // of the room: the frames that are left
	gone, n    uint16 // frames that are not there any more, and all that ever were
	timed      bool
	class      uint8
	region     uint16 // where it lies, from 1 on; 0: in the heap
	index      uint16 // its place there
}

// Chunks of a connection double in size as more waits. The smallest holds
// three ordinary pushes.
const (
	chunkClasses  = 4
	smallestChunk = 512
	largestChunk  = smallestChunk << (chunkClasses - 1)
	chunkHead     = int(unsafe.Sizeof(chunk{}))
	timeBytes     = 4

	// maxInline bounds a frame that goes into a chunk.
	maxInline = largestChunk - chunkHead - timeBytes

	// farOff bounds how far from now a time in a chunk may lie, in ms (12 days):
	// what is known modulo 2^32 only would look like any other time.
	farOff = 1 << 30
)

// chunkSize is the size of a chunk, its head included.
func chunkSize(class uint8) int { return smallestChunk << class }

// classFor returns the smallest class, from least on, whose room takes n bytes.
func classFor(n int, least uint8) uint8 {
	for chunkSize(least)-chunkHead < n {
		least++
	}
	return least
}

// newChunk makes a chunk in the heap.
func newChunk(class uint8) *chunk {
	b := make([]uint32, chunkSize(class)/4) // aligned as a chunk must be
	k := (*chunk)(unsafe.Pointer(unsafe.SliceData(b)))
	k.class = class
	return k
}

// chunkAt makes a chunk of memory outside the heap.
func chunkAt(b []byte, class uint8, region, index uint16) *chunk {
	k := (*chunk)(unsafe.Pointer(unsafe.SliceData(b)))
	*k = chunk{class: class, region: region, index: index}
	return k
}

// room is the memory behind the head.
func (k *chunk) room() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(k), chunkHead)), chunkSize(k.class)-chunkHead)
}

// reset empties k.
func (k *chunk) reset(timed bool) {
	*k = chunk{class: k.class, region: k.region, index: k.index, timed: timed}
}

// copyFrom makes k, which is of the same class, a copy of from.
func (k *chunk) copyFrom(from *chunk) {
	region, index := k.region, k.index
	*k = *from
	k.region, k.index = region, index
	copy(k.room(), from.room())
}

// frames is what is left in k.
func (k *chunk) frames() []byte { return k.room()[k.start:k.end:k.end] }

// fits reports whether a frame of size bytes may be added; timed says that its
// time is known.
func (k *chunk) fits(size int, timed bool) bool {
	times := 0
	if k.timed {
		times = timeBytes * (int(k.n) + 1)
	}
	return (k.timed || !timed) && int(k.end)+size+times <= chunkSize(k.class)-chunkHead
}

// add returns the room for a frame of size bytes, which fits. at is within farOff
// of now, or 0: not known.
func (k *chunk) add(size int, at int64) []byte {
	if k.timed {
		t := uint32(at)
		if t == 0 && at != 0 {
			t = 1 // a millisecond every 50 days
		}
		binary.LittleEndian.PutUint32(k.time(k.n), t)
	}
	k.n++
	b := k.room()[k.end : k.end : int(k.end)+size]
	k.end += uint16(size)
	return b
}

func (k *chunk) time(i uint16) []byte {
	room := k.room()
	return room[len(room)-timeBytes*(int(i)+1):][:timeBytes]
}

// first is the size of the first frame that is left.
func (k *chunk) first() int { return shortFrame(k.room()[k.start:]) }

// shortFrame is the size of the frame at the start of b; a chunk has no room for
// such as have their length in eight bytes.
func shortFrame(b []byte) int {
	if n := int(b[1]); n < 126 {
		return 2 + n
	}
	return 4 + int(binary.BigEndian.Uint16(b[2:]))
}

// drop takes the first frame out.
func (k *chunk) drop() {
	k.start += uint16(k.first())
	k.gone++
}

// dropSecond takes the second frame out: the first one moves up.
func (k *chunk) dropSecond() (size int) {
	room := k.room()
	first := k.first()
	k.start += uint16(first)
	size = k.first()
	copy(room[int(k.start)+size-first:], room[int(k.start)-first:k.start])
	k.start += uint16(size - first)
	if k.timed {
		copy(k.time(k.gone+1), k.time(k.gone))
	}
	k.gone++
	return size
}

// left is how many frames are left.
func (k *chunk) left() int { return int(k.n - k.gone) }

// at is when the first frame that is left was published; 0: not known. now may
// be 12 days later than when it was added.
func (k *chunk) at(now int64) int64 { return k.published(k.gone, now) }

// published is at for the frame number i of all that ever were in k.
func (k *chunk) published(i uint16, now int64) int64 {
	if !k.timed {
		return 0
	}
	t := binary.LittleEndian.Uint32(k.time(i))
	if t == 0 {
		return 0
	}
	return now - int64(int32(uint32(now)-t))
}

// all yields the frames that are left, and when each was published.
func (k *chunk) all(now int64) iter.Seq2[[]byte, int64] {
	return func(yield func([]byte, int64) bool) {
		b := k.frames()
		for i := k.gone; i < k.n; i++ {
			size := shortFrame(b)
			if !yield(b[:size:size], k.published(i, now)) {
				return
			}
			b = b[size:]
		}
	}
}
