package rawio

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Epoll is an epoll descriptor (epoll(7)), level-triggered, that itself waits in the
// runtime's poller: a goroutine that waits for it holds no thread. Control may be
// called from anywhere before Close; one goroutine at a time uses Wait and Ready.
type Epoll struct {
	fd   int
	file *os.File // fd, in the runtime's poller
	raw  syscall.RawConn
}

// NewEpoll makes one that watches nothing yet.
func NewEpoll() (*Epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os.NewFile does not use the poller
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	e := &Epoll{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if err := e.file.SetReadDeadline(time.Time{}); err != nil {
		e.Close()
		return nil, fmt.Errorf("the epoll descriptor can't wait in the runtime's poller: %w", err)
	}
	if e.raw, err = e.file.SyscallConn(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Control is epoll_ctl(2): op is EPOLL_CTL_ADD, _MOD or _DEL. Events about fd come
// with these two numbers, as Fd and Pad.
func (e *Epoll) Control(op, fd int, events uint32, number, pad int32) error {
	ev := unix.EpollEvent{Events: events, Fd: number, Pad: pad}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(e.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// Ready fills events with what is ready now, and does not wait (epoll_wait(2) with
// a timeout of 0).
func (e *Epoll) Ready(events []unix.EpollEvent) int {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case syscall.EINTR:
		default:
			return 0 // no other error is possible for a descriptor that is ours
		}
	}
}

// Wait calls try, and again each time something has become ready, until try
// returns true. It fails after Stop, with os.ErrDeadlineExceeded, and after Close.
func (e *Epoll) Wait(try func(fd uintptr) (done bool)) error { return e.raw.Read(try) }

// Stop ends a Wait, and all that follow. It may be called from anywhere.
func (e *Epoll) Stop() { _ = e.file.SetReadDeadline(time.Unix(1, 0)) }

// Close closes the descriptor.
func (e *Epoll) Close() { _ = e.file.Close() }
