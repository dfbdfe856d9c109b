//go:build linux

package main

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below are raw: the goroutine keeps its processor while it waits.
// Go's own wake-ups would cost more than what is measured. The runtime's
// preemption signal ends a wait early (EINTR), so that others are never kept
// out for long; callers look at the clock and wait on.

// epoll tells which of many sockets can be read or written. One goroutine owns it.
type epoll struct {
	fd     int
	events [1024]unix.EpollEvent
}

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("bench: create an epoll: %w", err)
	}
	return &epoll{fd: fd}, nil
}

func (e *epoll) add(fd, id int, events uint32) error {
	return unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(id)})
}

func (e *epoll) change(fd, id int, events uint32) error {
	return unix.EpollCtl(e.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(id)})
}

// wait returns what is ready, after timeout at the latest; nothing where it
// was interrupted. The answer is valid until the next call.
func (e *epoll) wait(timeout time.Duration) []unix.EpollEvent {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd),
		uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), uintptr(timeout.Milliseconds()), 0, 0)
	if errno != 0 {
		return nil
	}
	return e.events[:n]
}

func (e *epoll) close() { _ = unix.Close(e.fd) }

// poll waits until fd is ready for one of the events, and returns which; 0
// after timeout, or where it was interrupted. A negative fd makes it a sleep
// that is exact to the kernel's timer slack (50 µs).
func poll(fd int, events int16, timeout time.Duration) int16 {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	t := unix.NsecToTimespec(max(0, timeout.Nanoseconds()))
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return 0
	}
	return p.Revents
}

// sleepUntil waits for a time of the wall clock, in Unix nanoseconds.
func sleepUntil(due int64) {
	for {
		left := due - time.Now().UnixNano()
		if left <= 0 {
			return
		}
		poll(-1, 0, time.Duration(left))
	}
}
