package sendq

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapSlab returns n bytes, a power of two, of fresh memory outside of the heap;
// nil: there is none. It is populated at once: page by page as it is written to
// would cost several times as much, and in one large page still less.
func mapSlab(n int) []byte {
	b, err := unix.MmapPtr(-1, 0, nil, uintptr(2*n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	// Of twice as much, the part that is aligned.
	at := uintptr(b)
	start := (at + uintptr(n) - 1) &^ (uintptr(n) - 1)
	if start > at {
		_ = unix.MunmapPtr(b, start-at)
	}
	if end := at + uintptr(2*n); end > start+uintptr(n) {
		_ = unix.MunmapPtr(unsafe.Add(b, start-at+uintptr(n)), end-start-uintptr(n))
	}
	mem := unsafe.Slice((*byte)(unsafe.Add(b, start-at)), n)
	// Both are hints: an old kernel does not know the second.
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	_ = unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	return mem
}

func unmapSlab(mem []byte) {
	_ = unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem)))
}
