package netloop

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	acceptsAtOnce = 64
	acceptPause   = 200 * time.Millisecond // where no descriptor is to be had
)

// acceptor accepts on the first loop.
type acceptor struct {
	e      *epoll
	fd     int
	take   func(fd int32, remote [16]byte)
	failed func()

	mu     sync.Mutex  // protects following; held while sockets are accepted
	resume *time.Timer // after a pause
	over   bool
}

// Accept hands accepted sockets to take.
func (n *epollNetwork) Accept(l net.Listener, take func(fd int32, remote [16]byte), failed func()) (stop func(), err error) {
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, err
	}
	a := &acceptor{e: n.loops[0], take: take, failed: failed}
	var refused error
	if err := raw.Control(func(fd uintptr) {
		a.fd = int(fd)
		// Accepted sockets inherit it.
		refused = os.NewSyscallError("setsockopt", unix.SetsockoptInt(a.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}); err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, refused
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.e.accept.Store(a) // before its first event
	return a.stop, a.listen()
}

func (a *acceptor) listen() error {
	return a.e.control(unix.EPOLL_CTL_ADD, a.fd, unix.EPOLLIN, Ref{Slot: eventAccept})
}

func (a *acceptor) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.resume != nil {
		a.resume.Stop()
	}
	_ = a.e.control(unix.EPOLL_CTL_DEL, a.fd, 0, Ref{})
}

// accept takes what waits, up to a bound: the rest makes another event.
func (a *acceptor) accept() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range acceptsAtOnce {
		if a.over {
			return
		}
		var addr unix.RawSockaddrAny
		size := uint32(unsafe.Sizeof(addr))
		fd, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(a.fd), uintptr(unsafe.Pointer(&addr)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			a.take(int32(fd), remoteOf(&addr))
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			a.pause()
			return
		case syscall.ECONNABORTED, syscall.EINTR:
		default:
			return // EAGAIN, or the listener is closed
		}
	}
}

// pause stops listening for a while: without a descriptor to be had the listener
// stays readable, and would keep the loop busy for nothing.
func (a *acceptor) pause() {
	a.failed()
	_ = a.e.control(unix.EPOLL_CTL_DEL, a.fd, 0, Ref{})
	a.resume = time.AfterFunc(acceptPause, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
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
