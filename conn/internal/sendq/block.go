package sendq

import (
	"encoding/binary"
	"unsafe"
)

// block is the head of a piece of memory with frames in it. It may lie outside
// of the heap: its pointers lead to other blocks only.
type block struct {
	next       *block
	at         int64  // when the first timed frame in it was published, Unix ms
	start, end uint16 // of room: the bytes that are left
	gone, n    uint16 // records that are left out by now, and all that ever were
	shared     uint16 // records that are left whose frame is shared
	timed      uint16 // frames that are left whose time of publishing is known
	control    uint16 // frames that are left and are no messages
	slab       uint16 // which slab it is of
}

const (
	blockBytes = 1 << 10
	headBytes  = int(unsafe.Sizeof(block{}))
	roomBytes  = blockBytes - headBytes

	// MaxPrivate bounds a frame that is for one queue alone, in bytes; a larger
	// one is a Frame.
	MaxPrivate = roomBytes - recordBytes
)

// record is the length of a private frame, or, for a shared one, nothing but
// flags.
type record uint16

const (
	recordBytes = 2

	recordShared  record = 1 << 15
	recordControl record = 1 << 14
	recordTimed   record = 1 << 13
	recordSize           = recordTimed - 1
)

func (r record) size() int { return int(r & recordSize) }

// room is the memory behind the head.
func (b *block) room() *[roomBytes]byte {
	return (*[roomBytes]byte)(unsafe.Add(unsafe.Pointer(b), headBytes))
}

// bytes is what is left of the private frames.
func (b *block) bytes() []byte { return b.room()[b.start:b.end:b.end] }

// left is how many frames are left.
func (b *block) left() int { return int(b.n - b.gone) }

// fits reports whether a private frame of size bytes may be added.
func (b *block) fits(size int) bool {
	return int(b.end)+size+recordBytes*(int(b.n)+1) <= roomBytes
}

// add adds a record, for which there is room.
func (b *block) add(r record) {
	b.n++
	binary.LittleEndian.PutUint16(b.slot(b.n-1), uint16(r))
}

// record returns the record number i of all that ever were.
func (b *block) record(i uint16) record { return record(binary.LittleEndian.Uint16(b.slot(i))) }

func (b *block) slot(i uint16) []byte {
	end := roomBytes - recordBytes*int(i)
	return b.room()[end-recordBytes : end : end]
}

// time notes when a frame that is being added was published.
func (b *block) time(at int64) {
	if b.timed == 0 {
		b.at = at
	}
	b.timed++
}
