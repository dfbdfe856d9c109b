package source

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pushpod/internal/rawio"
)

// socket is a source that reads a descriptor by raw system calls, of which the
// scheduler is not told.
type socket struct {
	fd      int
	poller  *rawio.Epoll // watches fd
	watched bool         // fd wakes the poller

	spare *atomic.Bool // there is another processor for all else
	since time.Time    // when the processor began to be kept, with no wait in the poller; zero: it is not
	vain  uint         // waits in the system call in which nothing came, in a row
	skip  int          // so many waits go to the poller before the next one in the system call

	// For the callback, which is made once: it would be an allocation a read.
	buf []byte
	n   int
	err error
	try func(uintptr) bool

	mu     sync.Mutex // protects following; End may come when the reader has gone
	closed bool
}

const (
	// keepFor is how long the processor is kept while nothing comes: longer than
	// the time between two messages at a rate where it matters, and shorter than
	// what the runtime lets pass before it interrupts a goroutine (10 ms).
	keepFor = 5 * time.Millisecond
	// keepMost is for how long it is kept by one wait after the other. Before the
	// runtime interrupts, which costs as much as some messages, it is given up.
	keepMost = 8 * time.Millisecond
	// mostVain bounds how many waits are skipped: after 2^mostVain it tries again.
	mostVain = 6
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
			s.Close()
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
	if s.poller, err = rawio.NewEpoll(); err != nil {
		return nil, err
	}
	if err := s.poller.Control(unix.EPOLL_CTL_ADD, s.fd, unix.EPOLLIN, 0, 0); err != nil {
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

func (s *socket) Read(b []byte, wait bool) (n int, err error) {
	switch {
	case !wait:
		if n, err = s.receive(b, unix.MSG_DONTWAIT); err == errNothing {
			return 0, nil
		}
	case s.spare.Load() && s.mayKeep():
		if n, err = s.keep(b); err == errNothing {
			n, err = s.park(b)
		}
	default:
		n, err = s.park(b)
	}
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// mayKeep reports whether to wait in the system call: not where that was in vain
// again and again, and not when the processor has been kept for keepMost.
func (s *socket) mayKeep() bool {
	if s.skip > 0 {
		s.skip--
		return false
	}
	now := time.Now()
	if s.since.IsZero() {
		s.since = now
	}
	return now.Sub(s.since) < keepMost
}

// keep waits in the system call.
func (s *socket) keep(b []byte) (int, error) {
	s.watch(false)
	for {
		n, err := s.receive(b, 0)
		switch err {
		case syscall.EINTR:
			// The runtime wants the processor back: it takes it at the next call of
			// a function, which rawio.Recv is.
			continue
		case errNothing:
			s.vain = min(s.vain+1, mostVain)
			s.skip = 1 << s.vain
		default:
			s.vain = 0
		}
		return n, err
	}
}

// park waits in the runtime's poller, where nothing is there yet.
func (s *socket) park(b []byte) (int, error) {
	s.watch(true)
	s.buf = b
	if err := s.poller.Wait(s.try); err != nil {
		return 0, err
	}
	return s.n, s.err
}

// tryOnce reads once; false: wait until there is something.
func (s *socket) tryOnce(uintptr) bool {
	if s.n, s.err = s.receive(s.buf, unix.MSG_DONTWAIT); s.err != errNothing {
		return true
	}
	s.since = time.Time{}
	return false
}

// receive is recv(2); errNothing: nothing is there.
func (s *socket) receive(b []byte, flags int) (int, error) {
	n, errno := rawio.Recv(s.fd, b, flags)
	switch errno {
	case 0:
		return n, nil
	case syscall.EAGAIN:
		return 0, errNothing
	}
	return 0, errno
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
	_ = s.poller.Control(unix.EPOLL_CTL_MOD, s.fd, events, 0, 0) // it fails for a descriptor that is not ours only
}

func (s *socket) Write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	switch n, errno := rawio.Send(s.fd, b); {
	case errno != 0:
		return os.NewSyscallError("sendto", errno)
	case n < len(b):
		return io.ErrShortWrite
	}
	return nil
}

func (s *socket) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // which the reader sees as the end
	}
}

func (s *socket) Close() {
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
