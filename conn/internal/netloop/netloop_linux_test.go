package netloop

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWithoutADescriptorAcceptingPausesAndGoesOn(t *testing.T) {
	withoutDescriptors(t, func(w *world, stop func(), restore func()) {
		restore()
		<-w.taken
		stop()
	})
}

func TestAPauseEndsWithAccepting(t *testing.T) {
	withoutDescriptors(t, func(w *world, stop func(), restore func()) {
		stop()
		restore()
		time.Sleep(acceptPause * 3 / 2)
		if len(w.taken) > 0 {
			w.t.Error("accepted after all")
		}
	})
}

// withoutDescriptors runs f while the loop can't accept a socket that waits.
func withoutDescriptors(t *testing.T, f func(w *world, stop func(), restore func())) {
	overAll(t, func(t *testing.T, w *world) {
		w.run()
		peer, err := net.Dial("tcp", w.ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		set := func(r unix.Rlimit) {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
				t.Fatal(err)
			}
		}
		set(unix.Rlimit{Cur: 3, Max: was.Max})
		defer set(was)
		stop := w.accept()
		<-w.failed
		time.Sleep(acceptPause / 4)
		if n := len(w.failed); n > 8 {
			t.Errorf("%d failures in %v: there is no pause", n+1, acceptPause/4)
		}
		f(w, stop, func() { set(was) })
	})
}

func TestSmallWritesDoNotWaitForOthers(t *testing.T) {
	w := newWorld(t, New(false))
	if on, err := unix.GetsockoptInt(int(w.start().fd), unix.IPPROTO_TCP, unix.TCP_NODELAY); on == 0 || err != nil {
		t.Errorf("TCP_NODELAY is %d, %v", on, err)
	}
}

func TestASocketOfWhichNothingIsTakenFails(t *testing.T) {
	w := newWorld(t, New(false))
	s := w.start()
	w.locked(func() { w.loop.Abandon(s.fd, 200*time.Millisecond) })
	s.fill(make([]byte, 64<<20)) // the peer reads nothing
	w.eventually("the socket has failed", func() bool { return s.end == unix.ETIMEDOUT })
}

// everyWrite is a world in which the ring makes even a single write.
func everyWrite(t *testing.T) (*world, *ring) {
	w := newWorld(t, New(true))
	if used, err := w.net.IOUring(); !used {
		t.Skip("no io_uring here: ", err)
	}
	r := w.loop.Sender().(*ring)
	r.from = 1
	return w, r
}

func TestTheRingMakesSingleWrites(t *testing.T) {
	w, r := everyWrite(t)
	s := w.start()
	for _, bufs := range [][][]byte{{[]byte("one")}, {[]byte(" and"), []byte(" two")}} {
		head := *r.cqHead
		if took, errs := w.write(bufs, s); errs[0] != nil || took[0] == 0 {
			t.Fatal(took, errs)
		}
		if *r.cqHead != head+1 {
			t.Error("the ring was not used")
		}
	}
	got := make([]byte, len("one and two"))
	if n, err := s.peer.Read(got); err != nil || string(got[:n]) != "one and two" {
		t.Errorf("%q %v", got[:n], err)
	}
}

// From then on everything is written one by one.
func TestARingThatBreaksLosesNothing(t *testing.T) {
	w, r := everyWrite(t)
	a := w.start()
	b := w.dial()
	for i := range 20 {
		if i == 10 {
			null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Dup3(null, r.fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			unix.Close(null)
		}
		text := fmt.Appendf(nil, "write %02d", i)
		w.write([][]byte{text}, a, b)
		for _, s := range []*sock{a, b} {
			got := make([]byte, len(text))
			if n, err := s.peer.Read(got); err != nil || string(got[:n]) != string(text) {
				t.Fatalf("write %d: %q %v", i, got[:n], err)
			}
		}
		if r.broken != (i >= 10) {
			t.Fatalf("write %d: broken %v", i, r.broken)
		}
	}
}

func TestALoopGivesItsDescriptorsBack(t *testing.T) {
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	n := New(true)
	before := open()
	l, err := n.Loop()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { l.Run(nil); close(done) }()
	l.Stop()
	<-done
	if after := open(); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

func TestTheNetworkSaysWhetherItUsesIOUring(t *testing.T) {
	for _, n := range []Network{New(false), NewPortable()} {
		newWorld(t, n)
		if used, err := n.IOUring(); used || err != nil {
			t.Errorf("not asked for: used %v, %v", used, err)
		}
	}
	n := New(true)
	newWorld(t, n)
	if used, err := n.IOUring(); used != (err == nil) {
		t.Errorf("asked for: used %v, %v", used, err)
	}
}
