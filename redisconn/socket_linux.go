package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"pushpod/internal/rawio"
)

// socket is a TCP connection that is read and written by raw system calls, which
// never block: where they would have to wait, the runtime's poller does. Ordinary
// calls would be a fifth of what a pod that is nearly idle does, and a tenth of a
// handshake.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn

	tryOnly bool // reads do not wait; the reader's
}

// dialSocket is the plain dialer of clients.
func dialSocket(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := dialPlain(ctx, network, addr)
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		if raw, err := tcp.SyscallConn(); err == nil {
			return &socket{TCPConn: tcp, raw: raw}, nil
		}
	}
	return c, err
}

func (s *socket) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var failed syscall.Errno
	err = s.raw.Read(func(fd uintptr) (done bool) {
		n, failed = rawio.Recv(int(fd), b, unix.MSG_DONTWAIT)
		return failed != syscall.EAGAIN || s.tryOnly
	})
	switch {
	case err != nil:
		return 0, err
	case failed == syscall.EAGAIN:
		return 0, errNothing{}
	case failed != 0:
		return 0, os.NewSyscallError("recvfrom", failed)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socket) Write(b []byte) (n int, err error) {
	var failed syscall.Errno
	err = s.raw.Write(func(fd uintptr) (done bool) {
		for n < len(b) {
			var k int
			if k, failed = rawio.Send(int(fd), b[n:]); failed != 0 {
				return failed != syscall.EAGAIN
			}
			n += k
		}
		return true
	})
	if err == nil && failed != 0 {
		err = os.NewSyscallError("sendto", failed)
	}
	return n, err
}

// SyscallConn is asked for by the library before it uses a connection again, to
// see whether it is still alive. That is seen to here, with an error if it is not;
// with what is returned nothing can be done.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	var failed error
	err := s.raw.Read(func(fd uintptr) (done bool) {
		var one [1]byte
		n, errno := rawio.Recv(int(fd), one[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
		switch {
		case errno == syscall.EAGAIN:
		case errno != 0:
			failed = os.NewSyscallError("recvfrom", errno)
		case n == 0:
			failed = io.EOF
		default:
			failed = errors.New("an answer that nobody has asked for")
		}
		return true
	})
	return seen{}, errors.Join(err, failed)
}

// hungUp is an error where the peer of a connection of TLS has closed it. What there is
// to be read tells nothing: it may be the session's.
func hungUp(c net.Conn) error {
	over, ok := c.(interface{ NetConn() net.Conn })
	if !ok {
		return nil
	}
	s, ok := over.NetConn().(*socket)
	if !ok {
		return nil
	}
	var ended bool
	err := s.raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		ended = err == nil && n > 0
	})
	if err == nil && ended {
		err = io.EOF
	}
	return err
}

// secured is a connection of TLS that can be asked whether there is something to read.
type secured struct {
	*tls.Conn
	under *socket
}

// readable makes a connection of TLS one that can be asked, if it can.
func readable(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		if s, ok := t.NetConn().(*socket); ok {
			return &secured{t, s}
		}
	}
	return c
}

// TryRead is Read where there is something; 0: there is nothing yet. Only the reader
// calls it.
func (s *secured) TryRead(b []byte) (int, error) {
	s.under.tryOnly = true
	n, err := s.Conn.Read(b)
	s.under.tryOnly = false
	if _, nothing := err.(errNothing); nothing {
		err = nil
	}
	return n, err
}

// errNothing says that there is nothing to read. crypto/tls does not take it as the end.
type errNothing struct{}

func (errNothing) Error() string   { return "nothing to read" }
func (errNothing) Timeout() bool   { return true }
func (errNothing) Temporary() bool { return true }
