package presence

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a TCP connection that is read and written by raw system calls, which
// never block: where they would have to wait, the runtime's poller does.
//
// Of ordinary ones the scheduler is told, which for each wakes its monitor thread
// where all else sleeps, and that then looks around every 20 us for a while: of what
// a pod that is nearly idle does it would be a fifth, of a handshake a tenth.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn
}

// dialSocket returns a dialer for the client library.
func dialSocket(timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout, KeepAlive: 5 * time.Minute} // as the library's own
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			if raw, err := tcp.SyscallConn(); err == nil {
				return &socket{tcp, raw}, nil
			}
		}
		return c, nil
	}
}

func (s *socket) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var failed error
	err = s.raw.Read(func(fd uintptr) (done bool) {
		n, failed = transfer(syscall.SYS_RECVFROM, fd, b, 0)
		return failed != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, os.NewSyscallError("recvfrom", failed)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socket) Write(b []byte) (n int, err error) {
	var failed error
	err = s.raw.Write(func(fd uintptr) (done bool) {
		for n < len(b) {
			var k int
			if k, failed = transfer(syscall.SYS_SENDTO, fd, b[n:], unix.MSG_NOSIGNAL); failed != nil {
				return failed != syscall.EAGAIN
			}
			n += k
		}
		return true
	})
	if err == nil && failed != nil {
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
		n, err := transfer(syscall.SYS_RECVFROM, fd, one[:], unix.MSG_PEEK)
		switch {
		case err == syscall.EAGAIN:
		case err != nil:
			failed = os.NewSyscallError("recvfrom", err)
		case n == 0:
			failed = io.EOF
		default:
			failed = errors.New("an answer that nobody has asked for")
		}
		return true
	})
	return seen{}, errors.Join(err, failed)
}

// seen is a connection that has been looked at.
type seen struct{}

func (seen) Control(func(fd uintptr)) error           { return nil }
func (seen) Read(func(fd uintptr) (done bool)) error  { return nil }
func (seen) Write(func(fd uintptr) (done bool)) error { return nil }

// transfer is recv(2) or send(2), as trap says.
func transfer(trap, fd uintptr, b []byte, flags uintptr) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags|unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
