package conn

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epoll is the transport of a loop on Linux: raw descriptors on one epoll
// descriptor, level-triggered. That descriptor waits in Go's own netpoller, so
// a loop that waits holds no thread; every call on the hot path is a raw system
// call, since none of them blocks and the scheduler need not know.
type epoll struct {
	l      *Loop
	fd     int
	file   *os.File // fd, in Go's netpoller
	raw    syscall.RawConn
	timerf int
	accept func() // for the loop that has the listener
	buf    []byte // what is being read; used by the loop's goroutine only
	events [256]unix.EpollEvent
}

// What an event is about: a connection's generation, which is never 0, and its
// slot; or, with generation 0, one of these.
const (
	eventTimer  = 1
	eventAccept = 2
)

const readBytes = 64 << 10

// eventLoops: there are event loops on this system.
const eventLoops = true

func (s *Server) newTransport(l *Loop) (transport, error) {
	if s.opts.Portable {
		return newPortable(l), nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	e := &epoll{l: l, fd: fd, file: os.NewFile(uintptr(fd), "epoll"), buf: make([]byte, readBytes)}
	if e.raw, err = e.file.SyscallConn(); err != nil {
		return nil, err
	}
	if err := e.file.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("the epoll descriptor can't wait in the runtime's poller: %w", err)
	}
	if e.timerf, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return e, e.control(unix.EPOLL_CTL_ADD, e.timerf, unix.EPOLLIN, 0, eventTimer)
}

func (e *epoll) control(op, fd int, events uint32, gen uint32, slot uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(slot), Pad: int32(gen)}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(e.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// run handles events until stop.
func (e *epoll) run() {
	for {
		err := e.raw.Read(func(uintptr) bool { return !e.turn() })
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
			break
		}
	}
	e.file.Close()
	unix.Close(e.timerf)
}

func (e *epoll) stop() { _ = e.file.SetReadDeadline(time.Unix(1, 0)) }

// turn handles the events there are; false: there were some, look again.
func (e *epoll) turn() (idle bool) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return errno != syscall.EINTR
	}
	for i := range e.events[:n] {
		ev := &e.events[i]
		if ev.Pad == 0 {
			e.special(ev.Fd)
			continue
		}
		e.event(ev)
	}
	l := e.l
	l.mu.Lock()
	l.turns++
	l.counters.events += uint64(n)
	l.mu.Unlock()
	return false
}

func (e *epoll) special(what int32) {
	switch what {
	case eventTimer:
		var expirations [8]byte
		rawRead(e.timerf, expirations[:])
		e.l.tick()
	case eventAccept:
		e.l.mu.Lock()
		accept := e.accept
		e.l.mu.Unlock()
		accept()
	}
}

// event handles one connection's readiness. An event of an ended connection
// finds its slot empty, or a connection of another generation in it.
func (e *epoll) event(ev *unix.EpollEvent) {
	l := e.l
	l.mu.Lock()
	defer l.mu.Unlock()
	slot := uint32(ev.Fd)
	if slot >= uint32(len(l.slots)) {
		return
	}
	c := l.slots[slot]
	if c == nil || c.gen != uint32(ev.Pad) {
		return
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		c.writable()
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 && c.state != stateClosed {
		e.read(c)
	}
}

// read reads once: what is left makes another event, after the others' turn.
func (e *epoll) read(c *Conn) {
	n, errno := rawRead(int(c.fd), e.buf)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
	case errno != 0 || n == 0:
		c.eof()
	default:
		c.input(e.buf[:n])
	}
}

func (e *epoll) register(c *Conn) error {
	return e.control(unix.EPOLL_CTL_ADD, int(c.fd), unix.EPOLLIN, c.gen, c.slot)
}

func (e *epoll) write(c *Conn, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EAGAIN, syscall.EINTR:
		return 0, nil
	}
	return 0, errno
}

func (e *epoll) armWrite(c *Conn, on bool) {
	events := uint32(unix.EPOLLIN)
	if on {
		events |= unix.EPOLLOUT
	}
	// It can only fail for a descriptor that is not ours.
	_ = e.control(unix.EPOLL_CTL_MOD, int(c.fd), events, c.gen, c.slot)
}

func (e *epoll) finish(c *Conn) {
	syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(c.fd), unix.SHUT_WR, 0)
}

func (e *epoll) close(c *Conn) {
	syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(c.fd), 0, 0)
	c.fd = -1
}

// timer ticks while there are connections.
func (e *epoll) timer(on bool) {
	var spec unix.ItimerSpec
	if on {
		spec.Interval = unix.NsecToTimespec(tick.Nanoseconds())
		spec.Value = spec.Interval
	}
	_ = unix.TimerfdSettime(e.timerf, 0, &spec, nil)
}

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
