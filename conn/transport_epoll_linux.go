package conn

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"pushpod/internal/rawio"
)

// epoll is the transport of a loop on Linux: raw descriptors on one epoll
// descriptor, level-triggered. A loop that waits holds no thread; every call on
// the hot path is a raw system call, since none of them blocks and the scheduler
// need not know.
type epoll struct {
	l      *Loop
	poller *rawio.Epoll
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
	poller, err := rawio.NewEpoll()
	if err != nil {
		return nil, err
	}
	e := &epoll{l: l, poller: poller, buf: make([]byte, readBytes)}
	if e.timerf, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		poller.Close()
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	if err := e.control(unix.EPOLL_CTL_ADD, e.timerf, unix.EPOLLIN, 0, eventTimer); err != nil {
		e.closeOwn()
		return nil, err
	}
	return e, nil
}

// closeOwn closes the descriptors that are no connection's.
func (e *epoll) closeOwn() {
	e.poller.Close()
	unix.Close(e.timerf)
}

func (e *epoll) control(op, fd int, events uint32, gen uint32, slot uint32) error {
	return e.poller.Control(op, fd, events, int32(slot), int32(gen))
}

// run handles events until stop.
func (e *epoll) run() {
	for err := error(nil); err == nil; {
		err = e.poller.Wait(func(uintptr) bool { return !e.turn() })
	}
	e.closeOwn()
}

func (e *epoll) stop() { e.poller.Stop() }

// turn handles the events there are; false: there were some, look again.
func (e *epoll) turn() (idle bool) {
	n := e.poller.Ready(e.events[:])
	if n == 0 {
		return true
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
		rawio.Read(e.timerf, expirations[:])
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
	n, errno := rawio.Read(int(c.fd), e.buf)
	switch {
	case errno == syscall.EAGAIN:
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
	n, errno := rawio.Send(int(c.fd), b)
	if errno != 0 && errno != syscall.EAGAIN {
		return 0, errno
	}
	return n, nil
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
