package conn

import (
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	acceptsAtOnce = 64
	acceptPause   = 200 * time.Millisecond // where no descriptor is to be had
)

// epollAcceptor accepts on the first loop, and deals connections out.
type epollAcceptor struct {
	s    *Server
	e    *epoll
	fd   int
	deal dealer

	resume *time.Timer // after a pause; owned by stop and pause under the loop's lock
	over   bool
}

func (s *Server) newAcceptor() (acceptor, error) {
	if s.opts.Portable {
		return s.newPortableAcceptor(), nil
	}
	raw, err := s.listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, err
	}
	a := &epollAcceptor{s: s, e: s.loops[0].io.(*epoll)}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		a.fd = int(fd)
		// Accepted sockets inherit it.
		failed = os.NewSyscallError("setsockopt", unix.SetsockoptInt(a.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	// Told by the event, so visible to the loop before its first one.
	a.e.l.mu.Lock()
	defer a.e.l.mu.Unlock()
	a.e.accept = a.accept
	return a, a.listen()
}

func (a *epollAcceptor) listen() error {
	return a.e.control(unix.EPOLL_CTL_ADD, a.fd, unix.EPOLLIN, 0, eventAccept)
}

func (a *epollAcceptor) stop() {
	l := a.e.l
	l.mu.Lock()
	defer l.mu.Unlock()
	a.over = true
	if a.resume != nil {
		a.resume.Stop()
	}
	_ = a.e.control(unix.EPOLL_CTL_DEL, a.fd, 0, 0, 0)
}

// accept takes what waits, up to a bound: the rest makes another event.
func (a *epollAcceptor) accept() {
	for range acceptsAtOnce {
		var addr unix.RawSockaddrAny
		size := uint32(unsafe.Sizeof(addr))
		fd, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(a.fd), uintptr(unsafe.Pointer(&addr)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			a.pause()
			return
		case syscall.ECONNABORTED, syscall.EINTR:
			continue
		default:
			return // EAGAIN, or the listener is closed
		}
		l := a.s.loops[a.deal.next(len(a.s.loops), a.s.Len())]
		e := l.io.(*epoll)
		if !a.s.admitSocket(l, int32(fd), remoteOf(&addr), e.register) {
			syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
		}
	}
}

// pause stops listening for a while: without a descriptor to be had the
// listener stays readable, and would keep the loop busy for nothing.
func (a *epollAcceptor) pause() {
	l := a.e.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acceptErrors++
	if a.over {
		return
	}
	_ = a.e.control(unix.EPOLL_CTL_DEL, a.fd, 0, 0, 0)
	a.resume = time.AfterFunc(acceptPause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !a.over {
			_ = a.listen()
		}
	})
}

func remoteOf(addr *unix.RawSockaddrAny) (ip [16]byte) {
	switch addr.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(addr))
		ip[10], ip[11] = 0xff, 0xff
		copy(ip[12:], a.Addr[:])
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(addr))
		ip = a.Addr
	}
	return ip
}
