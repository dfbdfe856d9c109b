package rawio

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read is read(2) for a descriptor that does not block: EAGAIN where nothing is
// there, and 0 bytes at the end of the stream.
func Read(fd int, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Recv is recv(2). Without MSG_DONTWAIT it may wait, where the descriptor blocks,
// and the caller keeps its processor meanwhile: EINTR is returned then.
//
// It is never made part of its caller: where a function begins, the runtime can stop
// a goroutine that makes one such call after the other.
//
//go:noinline
func Recv(fd int, b []byte, flags int) (int, syscall.Errno) {
	return transfer(syscall.SYS_RECVFROM, fd, b, flags)
}

// Send is send(2) without SIGPIPE, for a descriptor that does not block: EAGAIN
// where it takes nothing.
func Send(fd int, b []byte) (int, syscall.Errno) {
	return transfer(syscall.SYS_SENDTO, fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

func transfer(trap uintptr, fd int, b []byte, flags int) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags), 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != syscall.EINTR || flags&unix.MSG_DONTWAIT == 0 {
			return 0, errno
		}
	}
}
