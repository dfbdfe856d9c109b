//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errWouldBlock says that a socket has nothing to read, or takes no more.
var errWouldBlock = errors.New("bench: socket not ready")

// resolve turns host:port into one address.
func resolve(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("bench: address %q: want host:port", hostPort)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("bench: port of %q: %w", hostPort, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(ips) == 0 {
		return netip.AddrPort{}, fmt.Errorf("bench: look up %q: %w", host, err)
	}
	best := ips[0]
	for _, ip := range ips {
		if ip.Unmap().Is4() { // as most listeners do
			best = ip
			break
		}
	}
	return netip.AddrPortFrom(best.Unmap(), uint16(n)), nil
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
	fail := func(what string, err error) (int, error) {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bench: %s %s: %w", what, to, err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fail("set TCP_NODELAY for", err)
	}
	if source.IsValid() {
		// The port is chosen at connect, so that it need only be free toward this server.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fail("set IP_BIND_ADDRESS_NO_PORT for", err)
		}
		_, from := sockaddr(netip.AddrPortFrom(source, 0))
		if err := unix.Bind(fd, from); err != nil {
			return fail("bind a source address for", err)
		}
	}
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		return fail("connect to", err)
	}
	return fd, nil
}

// dial is startConnect and the wait for it.
func dial(ctx context.Context, to netip.AddrPort, timeout time.Duration) (int, error) {
	fd, err := startConnect(to, netip.Addr{})
	if err != nil {
		return -1, err
	}
	for end := time.Now().Add(timeout); ; {
		if ready := poll(fd, unix.POLLOUT, 20*time.Millisecond); ready != 0 {
			break
		}
		if ctx.Err() != nil || time.Now().After(end) {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("bench: connect to %s: no answer within %v", to, timeout)
		}
	}
	if err := connectError(fd); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bench: connect to %s: %w", to, err)
	}
	return fd, nil
}

// connectError is what became of a startConnect whose socket is writable.
func connectError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// read reads what is there: 0 and nil at the end of the stream, errWouldBlock
// where there is nothing. b must not be empty.
func read(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return result(n, errno)
}

// write writes what the socket takes, which may be less than b. b must not be empty.
func write(fd int, b []byte) (int, error) {
	// MSG_NOSIGNAL: a peer that is gone is an error here, not a signal.
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	return result(n, errno)
}

func result(n uintptr, errno unix.Errno) (int, error) {
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, errWouldBlock
	default:
		return 0, errno
	}
}
