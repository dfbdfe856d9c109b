package hub

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a source that reads a descriptor by raw system calls, of which the
// scheduler is not told.
//
// It waits in one of two ways. While messages come in quick succession it waits
// in the system call itself, and keeps its processor (P) for these milliseconds:
// a message then costs one system call to read it, and none of the scheduler's
// work of finding out what to run next. Where they come seldom it waits in the
// runtime's poller as any goroutine does.
type socket struct {
	fd      int
	poller  *os.File // an epoll descriptor that watches fd, and waits in the runtime's poller
	raw     syscall.RawConn
	watched bool // fd wakes the poller

	spare   *atomic.Bool // there is another processor for all else
	idle    uint         // waits in the system call that were in vain, since the last one that was not
	abstain int          // how many waits go to the poller before the next one in the system call

	// For the callback, which is made once: it would be an allocation a read.
	buf []byte
	n   int
	err error
	try func(uintptr) bool

	mu     sync.Mutex // protects following; end may come when the reader has gone
	closed bool
}

const (
	// keepFor is how long the processor is kept while nothing comes: longer than
	// the time between two messages at a rate where it matters, and shorter than
	// what the runtime lets pass before it interrupts a goroutine (10 ms).
	keepFor = 5 * time.Millisecond
	// mostIdle bounds how long it abstains: after 2^mostIdle waits it tries again.
	mostIdle = 6
)

var errNothing = errors.New("nothing to read")

func newSocket(c net.Conn, spare *atomic.Bool) (_ *socket, err error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{fd: -1, watched: true, spare: spare}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	// A descriptor of its own: the runtime's poller would be woken by each message
	// for the one it knows, whether somebody waits there or not.
	var failed error
	if err := raw.Control(func(fd uintptr) {
		s.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, os.NewSyscallError("fcntl", failed)
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(ep, true); err != nil { // or os.NewFile does not use the poller
		unix.Close(ep)
		return nil, os.NewSyscallError("fcntl", err)
	}
	s.poller = os.NewFile(uintptr(ep), "epoll")
	if s.raw, err = s.poller.SyscallConn(); err != nil {
		return nil, err
	}
	if err := s.poller.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("the epoll descriptor can't wait in the runtime's poller: %w", err)
	}
	if err := s.control(unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
		return nil, err
	}
	// The socket's own waits are bounded; reads that shall not wait say so.
	timeout := unix.NsecToTimeval(keepFor.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.SetNonblock(s.fd, false); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	s.try = s.tryOnce
	c.Close()
	return s, nil
}

func (s *socket) read(b []byte, wait bool) (n int, err error) {
	if wait && s.spare.Load() && s.mayKeep() {
		n, err = s.keep(b)
	} else {
		n, err = s.receive(b, unix.MSG_DONTWAIT)
	}
	if err == errNothing {
		if !wait {
			return 0, nil
		}
		if n, err = s.park(b); err != nil {
			return 0, err
		}
	}
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// mayKeep reports whether to wait in the system call: not where that was in vain
// again and again.
func (s *socket) mayKeep() bool {
	if s.abstain > 0 {
		s.abstain--
		return false
	}
	return true
}

// keep waits in the system call.
func (s *socket) keep(b []byte) (int, error) {
	s.watch(false)
	for {
		n, err := s.receive(b, 0)
		switch err {
		case syscall.EINTR:
			// The runtime wants the processor back: it takes it at the next call of
			// a function, which receive is.
			continue
		case errNothing:
			s.idle = min(s.idle+1, mostIdle)
			s.abstain = 1 << s.idle
		default:
			s.idle = 0
		}
		return n, err
	}
}

// park waits in the runtime's poller.
func (s *socket) park(b []byte) (int, error) {
	s.watch(true)
	s.buf = b
	if err := s.raw.Read(s.try); err != nil {
		return 0, err
	}
	return s.n, s.err
}

// tryOnce reads once; false: wait until there is something.
func (s *socket) tryOnce(uintptr) bool {
	s.n, s.err = s.receive(s.buf, unix.MSG_DONTWAIT)
	return s.err != errNothing
}

// receive is recv(2); errNothing: nothing is there. It is no leaf that the
// compiler makes part of its caller: the runtime stops a goroutine where a
// function begins.
//
//go:noinline
func (s *socket) receive(b []byte, flags uintptr) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EAGAIN:
			return 0, errNothing
		case syscall.EINTR:
			if flags&unix.MSG_DONTWAIT == 0 {
				return 0, errno
			}
		default:
			return 0, errno
		}
	}
}

// watch has the poller be woken by what comes, or not.
func (s *socket) watch(on bool) {
	if s.watched == on {
		return
	}
	s.watched = on
	var events uint32
	if on {
		events = unix.EPOLLIN
	}
	_ = s.control(unix.EPOLL_CTL_MOD, events) // it fails for a descriptor that is not ours only
}

func (s *socket) control(op int, events uint32) error {
	var failed error
	err := s.raw.Control(func(ep uintptr) {
		ev := unix.EpollEvent{Events: events}
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, ep, uintptr(op), uintptr(s.fd), uintptr(unsafe.Pointer(&ev)), 0, 0); errno != 0 {
			failed = os.NewSyscallError("epoll_ctl", errno)
		}
	})
	return errors.Join(err, failed)
}

func (s *socket) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // which the reader sees as the end
	}
}

func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.poller != nil {
		s.poller.Close()
	}
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
}
