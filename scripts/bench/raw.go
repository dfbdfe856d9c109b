//go:build linux

package main

import (
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pushpod/internal/rawio"
)

// The waits below are raw: the goroutine keeps its processor. Go's own wake-ups
// would cost more than what is measured. The runtime's preemption signal ends a
// wait early (EINTR), so that others are never kept out for long; callers look at
// the clock and wait on.

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

// control is epoll_ctl(2): op is EPOLL_CTL_ADD or _MOD. Events come with id as Fd.
func (e *epoll) control(op, fd, id int, events uint32) error {
	if err := unix.EpollCtl(e.fd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(id)}); err != nil {
		return fmt.Errorf("bench: watch a descriptor: %w", err)
	}
	return nil
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
	for left := due - time.Now().UnixNano(); left > 0; left = due - time.Now().UnixNano() {
		poll(-1, 0, time.Duration(left))
	}
}

// receive reads what is there: 0 and nil at the end of the stream, EAGAIN where
// there is nothing.
func receive(fd int, b []byte) (int, error) {
	n, errno := rawio.Recv(fd, b, unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// send writes what the socket takes, which may be less than b: nothing, and EAGAIN,
// where it is full.
func send(fd int, b []byte) (int, error) {
	n, errno := rawio.Send(fd, b)
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// resolve turns host:port into one address, of IPv4 where there is one.
func resolve(hostPort string) (netip.AddrPort, error) {
	a, err := net.ResolveTCPAddr("tcp", hostPort)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("bench: address %q: %w", hostPort, err)
	}
	if a.IP == nil {
		return netip.AddrPort{}, fmt.Errorf("bench: address %q: want host:port", hostPort)
	}
	ip := a.AddrPort()
	return netip.AddrPortFrom(ip.Addr().Unmap(), ip.Port()), nil
}

func sockaddr(a netip.AddrPort) (family int, sa unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// startConnect opens a non-blocking socket and begins to connect it: it is
// done when the socket can be written. A valid source is the address to
// connect from.
func startConnect(to netip.AddrPort, source netip.Addr) (int, error) {
	family, sa := sockaddr(to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("bench: open a socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil && source.IsValid() {
		err = bindTo(fd, source)
	}
	if err == nil {
		if err = unix.Connect(fd, sa); err == unix.EINPROGRESS {
			err = nil
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bench: connect to %s: %w", to, err)
	}
	return fd, nil
}

// bindTo binds a socket to an address. The port is chosen at connect, so that it
// need only be free toward the server.
func bindTo(fd int, source netip.Addr) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	_, sa := sockaddr(netip.AddrPortFrom(source, 0))
	return unix.Bind(fd, sa)
}

// connectError is what became of a startConnect whose socket is writable.
func connectError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}
