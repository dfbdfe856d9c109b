package netloop

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writer is a sender that makes each write by a system call of its own, at once.
type writer struct {
	prepared int
	results  [MaxWrites]int32 // bytes, or -errno
	buffers  [MaxBuffers]unix.Iovec
}

// Add writes.
func (w *writer) Add(fd int32, bufs [][]byte) {
	n := setBuffers(&w.buffers, bufs)
	w.results[w.prepared] = sendBuffers(fd, w.buffers[:n])
	w.prepared++
	clear(w.buffers[:n]) // what they point at may go
}

// Send has nothing left to do.
func (w *writer) Send() { w.prepared = 0 }

// Result says what became of a write.
func (w *writer) Result(i int) (int, error) { return resultOf(w.results[i]) }

func setBuffers(to *[MaxBuffers]unix.Iovec, bufs [][]byte) int {
	for i, b := range bufs {
		to[i] = unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
	}
	return len(bufs)
}

// sendBuffers is sendmsg(2), or send(2) where there is one buffer: it does not
// wait, and raises no signal. It returns the number of bytes, or -errno.
func sendBuffers(fd int32, bufs []unix.Iovec) int32 {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	var n uintptr
	errno := syscall.EINTR
	for errno == syscall.EINTR {
		if len(bufs) == 1 {
			n, _, errno = syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(bufs[0].Base)), uintptr(bufs[0].Len), flags, 0, 0)
			continue
		}
		h := unix.Msghdr{Iov: unsafe.SliceData(bufs), Iovlen: uint64(len(bufs))}
		n, _, errno = syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)), flags)
		runtime.KeepAlive(&h)
	}
	if errno != 0 {
		return -int32(errno)
	}
	return int32(n)
}

// resultOf reads the result of a write.
func resultOf(r int32) (int, error) {
	switch {
	case r >= 0:
		return int(r), nil
	case r == -int32(syscall.EAGAIN), r == -int32(syscall.EINTR):
		return 0, nil
	default:
		return 0, syscall.Errno(-r)
	}
}
