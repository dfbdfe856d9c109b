package netloop

import (
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pushpod/internal/rawio"
)

// Supported: there are event loops on this system.
const Supported = true

// epollNetwork is a network of event loops.
type epollNetwork struct {
	ioUring bool
	noRing  error // why there is none
	loops   []*epoll
}

// New returns a network of event loops; with ioUring, they write to many sockets
// by one system call where the kernel lets them.
func New(ioUring bool) Network { return &epollNetwork{ioUring: ioUring} }

// IOUring says whether it is used.
func (n *epollNetwork) IOUring() (used bool, err error) {
	return n.ioUring && n.noRing == nil, n.noRing
}

// Loop makes one more loop.
func (n *epollNetwork) Loop() (Loop, error) {
	poller, err := rawio.NewEpoll()
	if err != nil {
		return nil, err
	}
	e := &epoll{poller: poller, sender: new(writer)}
	if n.ioUring {
		if r, err := newRing(); err != nil {
			n.noRing = err
		} else {
			e.sender, e.ring = r, r
		}
	}
	if e.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		e.closeOwn()
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	if err := e.control(unix.EPOLL_CTL_ADD, e.timer, unix.EPOLLIN, Ref{Slot: eventTimer}); err != nil {
		e.closeOwn()
		return nil, err
	}
	n.loops = append(n.loops, e)
	return e, nil
}

// epoll is a loop on Linux: raw descriptors on one epoll descriptor,
// level-triggered. Every call on the hot path is a raw system call, since none of
// them blocks and the scheduler need not know.
type epoll struct {
	poller *rawio.Epoll
	timer  int // descriptor
	sender Sender
	ring   *ring                    // nil: it has none
	accept atomic.Pointer[acceptor] // of the loop that accepts
	events [256]unix.EpollEvent
}

// What an event of generation 0 is about, in place of a slot.
const (
	eventTimer  = 1
	eventAccept = 2
)

// closeOwn closes the descriptors that are no sockets.
func (e *epoll) closeOwn() {
	e.poller.Close()
	if e.timer > 0 {
		unix.Close(e.timer)
	}
	if e.ring != nil {
		e.ring.close()
	}
}

func (e *epoll) control(op, fd int, events uint32, r Ref) error {
	return e.poller.Control(op, fd, events, int32(r.Slot), int32(r.Gen))
}

// Run tells of events until Stop.
func (e *epoll) Run(to Events) {
	for err := error(nil); err == nil; {
		err = e.poller.Wait(func(uintptr) bool { return !e.turn(to) })
	}
	e.closeOwn()
}

// Stop ends Run.
func (e *epoll) Stop() { e.poller.Stop() }

// turn tells of the events there are; false: there were some, look again.
func (e *epoll) turn(to Events) (idle bool) {
	n := e.poller.Ready(e.events[:])
	if n == 0 {
		return true
	}
	for i := range e.events[:n] {
		ev := &e.events[i]
		if ev.Pad == 0 {
			e.special(ev.Fd, to)
			continue
		}
		r := Ref{Slot: uint32(ev.Fd), Gen: uint32(ev.Pad)}
		to.Ready(r, ev.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0, ev.Events&unix.EPOLLOUT != 0)
	}
	to.Turn(n)
	return false
}

func (e *epoll) special(what int32, to Events) {
	switch what {
	case eventTimer:
		var expirations [8]byte
		rawio.Read(e.timer, expirations[:])
		to.Tick()
	case eventAccept:
		e.accept.Load().accept()
	}
}

// Add watches a socket.
func (e *epoll) Add(fd int32, r Ref) error {
	return e.control(unix.EPOLL_CTL_ADD, int(fd), unix.EPOLLIN, r)
}

// Read is read(2).
func (e *epoll) Read(fd int32, b []byte) (int, error) {
	switch n, errno := rawio.Read(int(fd), b); {
	case errno == syscall.EAGAIN:
		return 0, ErrAgain
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	default:
		return n, nil
	}
}

// NotifyWritable asks for EPOLLOUT.
func (e *epoll) NotifyWritable(fd int32, r Ref, on bool) {
	events := uint32(unix.EPOLLIN)
	if on {
		events |= unix.EPOLLOUT
	}
	_ = e.control(unix.EPOLL_CTL_MOD, int(fd), events, r) // it fails for a descriptor that is not ours only
}

// Abandon sets TCP_USER_TIMEOUT.
func (e *epoll) Abandon(fd int32, after time.Duration) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds())) // it fails for what is no TCP
}

// FinishWrites is shutdown(2).
func (e *epoll) FinishWrites(fd int32) {
	syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}

// Close is close(2).
func (e *epoll) Close(fd int32) { syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

// Sender returns the loop's ring, or what writes without one.
func (e *epoll) Sender() Sender { return e.sender }

// Timer ticks.
func (e *epoll) Timer(on bool) {
	var spec unix.ItimerSpec
	if on {
		spec.Interval = unix.NsecToTimespec(Tick.Nanoseconds())
		spec.Value = spec.Interval
	}
	_ = unix.TimerfdSettime(e.timer, 0, &spec, nil)
}
