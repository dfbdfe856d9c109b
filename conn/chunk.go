package conn

import (
	"encoding/binary"
)

// chunk holds whole frames that are for one connection alone, one behind the
// other, as they go to the socket. They need no memory each, and no walk from
// one to the next: of a burst, most of the cost is memory that is touched for
// the first time.
//
// Frames say themselves how long they are (RFC 6455 section 5.2). Where the
// times of publishing are known, they stand at the end of buf, the first one
// last, in Unix ms modulo 2^32.
type chunk struct {
	start, end uint16 // of buf: the frames that are left
	gone, n    uint16 // frames that are not there any more, and all that ever were
	timed      bool
	class      uint8
	buf        []byte
}

// Chunks of a connection double in size as more waits. The smallest holds
// three ordinary pushes.
const (
	chunkClasses  = 4
	smallestChunk = 512
	largestChunk  = smallestChunk << (chunkClasses - 1)
	timeBytes     = 4
)

// frames is what is left in k.
func (k *chunk) frames() []byte { return k.buf[k.start:k.end] }

// fits reports whether a frame of size bytes may be added.
func (k *chunk) fits(size int, timed bool) bool {
	times := 0
	if timed {
		times = timeBytes * (int(k.n) + 1)
	}
	return k.timed == timed && int(k.end)+size+times <= len(k.buf)
}

// add returns the room for a frame of size bytes, which fits.
func (k *chunk) add(size int, at int64) []byte {
	if k.timed {
		binary.LittleEndian.PutUint32(k.time(k.n), uint32(at))
	}
	k.n++
	b := k.buf[k.end : k.end : int(k.end)+size]
	k.end += uint16(size)
	return b
}

func (k *chunk) time(i uint16) []byte { return k.buf[len(k.buf)-timeBytes*(int(i)+1):] }

// first is the size of the first frame that is left.
func (k *chunk) first() int {
	b := k.buf[k.start:]
	if n := int(b[1]); n < 126 {
		return 2 + n
	}
	return 4 + int(binary.BigEndian.Uint16(b[2:])) // a chunk has no room for longer ones
}

// drop takes the first frame out.
func (k *chunk) drop() {
	k.start += uint16(k.first())
	k.gone++
}

// dropSecond takes the second frame out: the first one moves up.
func (k *chunk) dropSecond() (size int) {
	first := k.first()
	k.start += uint16(first)
	size = k.first()
	copy(k.buf[int(k.start)+size-first:], k.buf[int(k.start)-first:k.start])
	k.start += uint16(size - first)
	if k.timed {
		copy(k.time(k.gone + 1)[:timeBytes], k.time(k.gone)[:timeBytes])
	}
	k.gone++
	return size
}

// left is how many frames are left.
func (k *chunk) left() int { return int(k.n - k.gone) }

// at is when the first frame that is left was published; 0: not known.
func (k *chunk) at(now int64) int64 {
	if !k.timed {
		return 0
	}
	age := int32(uint32(now) - binary.LittleEndian.Uint32(k.time(k.gone)))
	return now - int64(age)
}
