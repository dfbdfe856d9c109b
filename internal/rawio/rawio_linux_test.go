package rawio_test

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pushpod/internal/rawio"
)

// pair returns two sockets that are connected and don't block.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	return fds[0], fds[1]
}

func TestBytesAreSentAndReceivedWithoutWaiting(t *testing.T) {
	a, b := pair(t)
	room := make([]byte, 16)
	for name, receive := range map[string]func() (int, syscall.Errno){
		"read": func() (int, syscall.Errno) { return rawio.Read(b, room) },
		"recv": func() (int, syscall.Errno) { return rawio.Recv(b, room, unix.MSG_DONTWAIT) },
	} {
		if n, errno := receive(); n != 0 || errno != syscall.EAGAIN {
			t.Errorf("%s: %d, %v where nothing is there; want EAGAIN", name, n, errno)
		}
		if n, errno := rawio.Send(a, []byte("abc")); n != 3 || errno != 0 {
			t.Fatalf("sent %d, %v", n, errno)
		}
		if n, errno := receive(); string(room[:n]) != "abc" || errno != 0 {
			t.Errorf("%s: %q, %v", name, room[:n], errno)
		}
	}
	full := make([]byte, 64<<10)
	for {
		if n, errno := rawio.Send(a, full); errno == syscall.EAGAIN {
			break
		} else if errno != 0 || n == 0 {
			t.Fatalf("sent %d, %v", n, errno)
		}
	}
	unix.Shutdown(b, unix.SHUT_RDWR)
	if _, errno := rawio.Send(a, full); errno != syscall.EPIPE {
		t.Errorf("%v where the peer has gone, want EPIPE, and no signal", errno)
	}
}

func TestABlockingReceiveWaitsAsLongAsTheSocketSays(t *testing.T) {
	_, b := pair(t)
	const wait = 20 * time.Millisecond
	timeout := unix.NsecToTimeval(wait.Nanoseconds())
	if err := errors.Join(unix.SetNonblock(b, false), unix.SetsockoptTimeval(b, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; {
		_, errno := rawio.Recv(b, make([]byte, 1), 0)
		if errno == syscall.EINTR { // the runtime's signal
			continue
		}
		if errno != syscall.EAGAIN || time.Since(start) < wait {
			t.Errorf("%v after %v, want EAGAIN after %v", errno, time.Since(start), wait)
		}
		return
	}
}

func TestAnEpollWaitsUntilSomethingIsReadyOrItIsStopped(t *testing.T) {
	e, err := rawio.NewEpoll()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a, b := pair(t)
	if err := e.Control(unix.EPOLL_CTL_ADD, b, unix.EPOLLIN, 7, 9); err != nil {
		t.Fatal(err)
	}
	if err := e.Control(unix.EPOLL_CTL_ADD, b, unix.EPOLLIN, 7, 9); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("added twice: %v, want EEXIST", err)
	}
	var events [4]unix.EpollEvent
	if n := e.Ready(events[:]); n != 0 {
		t.Errorf("%d are ready, want none", n)
	}
	tries := make(chan int, 100)
	ended := make(chan error)
	go func() {
		ended <- e.Wait(func(uintptr) bool {
			n := e.Ready(events[:])
			tries <- n
			return n > 0
		})
	}()
	if n := <-tries; n != 0 {
		t.Fatalf("%d are ready, want none", n)
	}
	rawio.Send(a, []byte("x"))
	if err := <-ended; err != nil || events[0].Fd != 7 || events[0].Pad != 9 || events[0].Events != unix.EPOLLIN {
		t.Errorf("%+v, %v", events[0], err)
	}

	go func() { ended <- e.Wait(func(uintptr) bool { return false }) }()
	e.Stop()
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v after Stop", err)
	}
	e.Close()
	if err := e.Wait(func(uintptr) bool { return false }); err == nil {
		t.Error("it waits after Close")
	}
}
