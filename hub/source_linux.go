package hub

import (
	"syscall"
	"unsafe"
)

// rawReads: a raw system call does not tell the scheduler, which wakes nobody
// then; it never blocks, since the descriptor is non-blocking.
const rawReads = true

func rawRead(fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EAGAIN:
			return 0, errNothing
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
