package netloop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// overAll runs a test over every network.
func overAll(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	for name, n := range map[string]Network{"system": New(false), "io_uring": New(true), "portable": NewPortable()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, n)
			if used, err := n.IOUring(); name == "io_uring" && !used {
				t.Skip("no io_uring here: ", err)
			}
			f(t, w)
		})
	}
}

// world is a network with one loop, a listener, and the owner of what it accepts.
type world struct {
	t      *testing.T
	net    Network
	loop   Loop
	ln     net.Listener
	run    func()
	failed chan struct{}
	taken  chan *sock

	mu    sync.Mutex // guards the loop, as its owner does, and what follows
	socks []*sock
	ticks int
	turns int
}

// sock is a socket of the loop's, and its peer.
type sock struct {
	w    *world
	fd   int32
	ref  Ref
	peer *net.TCPConn

	in       []byte
	end      error
	writable int // how often it was told
}

func newWorld(t *testing.T, n Network) *world {
	w := &world{t: t, net: n, failed: make(chan struct{}, 100), taken: make(chan *sock, 100)}
	var err error
	if w.loop, err = n.Loop(); err != nil {
		t.Fatal(err)
	}
	if w.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	w.run = sync.OnceFunc(func() { running.Go(func() { w.loop.Run(w) }) })
	t.Cleanup(func() {
		w.run()
		w.ln.Close()
		w.locked(func() {
			for _, s := range w.socks {
				if s.fd >= 0 {
					s.close()
				}
			}
		})
		w.loop.Stop()
		running.Wait()
	})
	return w
}

// accept has the network accept, and the loop run.
func (w *world) accept() (stop func()) {
	w.t.Helper()
	stop, err := w.net.Accept(w.ln, w.take, func() { w.failed <- struct{}{} })
	if err != nil {
		w.t.Fatal(err)
	}
	return stop
}

func (w *world) take(fd int32, remote [16]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &sock{w: w, fd: fd, ref: Ref{uint32(len(w.socks)), 7}}
	w.socks = append(w.socks, s)
	if err := w.loop.Add(fd, s.ref); err != nil || [16]byte(net.IPv4(127, 0, 0, 1)) != remote {
		w.t.Errorf("a socket from %v: %v", remote, err)
	}
	w.taken <- s
}

// dial returns a socket of the loop's.
func (w *world) dial() *sock {
	w.t.Helper()
	peer, err := net.Dial("tcp", w.ln.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { peer.Close() })
	peer.SetDeadline(time.Now().Add(20 * time.Second))
	s := <-w.taken
	s.peer = peer.(*net.TCPConn)
	return s
}

// start is accept, run, and dial.
func (w *world) start() *sock {
	w.t.Helper()
	w.run()
	w.accept()
	return w.dial()
}

// close closes the loop's end. The caller holds mu.
func (s *sock) close() {
	s.w.loop.Close(s.fd)
	s.fd = -1
}

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) Ready(r Ref, readable, writable bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.socks[r.Slot]
	if s.fd < 0 {
		return
	}
	if writable {
		s.writable++
		w.loop.NotifyWritable(s.fd, s.ref, false)
	}
	if readable && s.end == nil {
		var b [1000]byte
		n, err := w.loop.Read(s.fd, b[:])
		if s.in = append(s.in, b[:n]...); err != ErrAgain {
			s.end = err
		}
	}
}

func (w *world) Tick()      { w.locked(func() { w.ticks++ }) }
func (w *world) Turn(n int) { w.locked(func() { w.turns += n }) }

// write writes the buffers to each of the sockets by one Send.
func (w *world) write(bufs [][]byte, socks ...*sock) (took []int, errs []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range socks {
		w.loop.Sender().Add(s.fd, bufs)
	}
	w.loop.Sender().Send()
	for i := range socks {
		n, err := w.loop.Sender().Result(i)
		took, errs = append(took, n), append(errs, err)
	}
	return took, errs
}

func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		ok := false
		if w.locked(func() { ok = f() }); ok {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

func TestWhatComesIsReadAndItsEndIsSeen(t *testing.T) {
	overAll(t, func(t *testing.T, w *world) {
		s := w.start()
		long := strings.Repeat("x", 10_000) // more than is read at once
		io.WriteString(s.peer, long)
		w.eventually("all of it is read", func() bool { return string(s.in) == long })
		io.WriteString(s.peer, "more")
		w.eventually("what comes later is read", func() bool { return string(s.in) == long+"more" && s.end == nil })
		s.peer.CloseWrite()
		w.eventually("the end is seen", func() bool { return s.end == io.EOF })
	})
}

func TestASocketAcceptedBeforeTheLoopRunsIsNotForgotten(t *testing.T) {
	w := newWorld(t, NewPortable()) // the others accept by the loop itself
	w.accept()
	s := w.dial()
	io.WriteString(s.peer, "early")
	time.Sleep(20 * time.Millisecond)
	w.run()
	w.eventually("it is read", func() bool { return string(s.in) == "early" })
}

// fill writes until the socket is full, and returns what it has not taken. It asks to
// be told when there is room.
func (s *sock) fill(rest []byte) []byte {
	s.w.t.Helper()
	for len(rest) > 0 {
		asked := min(len(rest), 100_000)
		took, errs := s.w.write([][]byte{rest[:asked/3], rest[asked/3 : asked]}, s)
		if errs[0] != nil {
			s.w.t.Fatal(errs[0])
		}
		if rest = rest[took[0]:]; took[0] < asked {
			s.w.locked(func() { s.w.loop.NotifyWritable(s.fd, s.ref, true) })
			break
		}
	}
	return rest
}

func (s *sock) told() (n int) {
	s.w.locked(func() { n = s.writable })
	return n
}

func TestASocketThatIsFullSaysWhenItTakesMore(t *testing.T) {
	overAll(t, func(t *testing.T, w *world) {
		s := w.start()
		all := make([]byte, 16<<20)
		for i := range all {
			all[i] = byte(i * 7 / 3)
		}
		rest := s.fill(all)
		for seen, until := s.told(), time.Now().Add(100*time.Millisecond); time.Now().Before(until); time.Sleep(time.Millisecond) {
			if now := s.told(); now > seen { // it moves on
				seen, until, rest = now, time.Now().Add(100*time.Millisecond), s.fill(rest)
			}
		}
		if len(rest) == 0 || len(rest) == len(all) {
			t.Fatalf("nobody reads, and of %d bytes %d are left", len(all), len(rest))
		}
		got := make(chan []byte)
		go func() {
			b := make([]byte, len(all))
			n, _ := io.ReadFull(s.peer, b)
			got <- b[:n]
		}()
		for seen := s.told(); len(rest) > 0; rest = s.fill(rest) {
			w.eventually("it takes more", func() bool { return s.writable > seen })
			seen = s.told()
		}
		if !bytes.Equal(<-got, all) {
			t.Error("other bytes arrive")
		}
	})
}

func TestWhatWasTakenGoesOutBeforeTheEnd(t *testing.T) {
	overAll(t, func(t *testing.T, w *world) {
		w.run()
		w.accept()
		for range 20 {
			w.goesOut((*sock).close)
			w.goesOut(func(s *sock) { w.loop.FinishWrites(s.fd) })
		}
	})
}

func (w *world) goesOut(end func(*sock)) {
	w.t.Helper()
	s := w.dial()
	text := strings.Repeat("x", 50_000)
	took, _ := w.write([][]byte{[]byte(text)}, s)
	w.locked(func() { end(s) })
	got, err := io.ReadAll(s.peer)
	if string(got) != text[:took[0]] || took[0] == 0 || err != nil {
		w.t.Fatalf("of %d bytes taken %d arrive: %v", took[0], len(got), err)
	}
	if s.fd >= 0 { // one side may end, and the other go on
		io.WriteString(s.peer, "still here")
		w.eventually("it is still read", func() bool { return string(s.in) == "still here" })
	}
}

func TestAPortableSocketTakesSoMuchAtOnce(t *testing.T) {
	w := newWorld(t, NewPortable())
	took, err := w.write([][]byte{make([]byte, socketSends-1), make([]byte, 100)}, w.start())
	if took[0] != socketSends || err[0] != nil {
		t.Errorf("%d bytes, %v", took[0], err[0])
	}
}

func TestAPeerThatReadsNothingHoldsNoEndUp(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 s")
	}
	w := newWorld(t, NewPortable())
	s := w.start()
	for full := time.Now().Add(time.Second); time.Now().Before(full); {
		s.fill(make([]byte, 1<<20))
	}
	w.locked(s.close)
	w.loop.(*portable).running.Wait()
}

func TestManyAreWrittenToByOneSend(t *testing.T) {
	overAll(t, func(t *testing.T, w *world) {
		socks := []*sock{w.start()}
		for len(socks) < MaxWrites {
			socks = append(socks, w.dial())
		}
		gone := socks[3]
		gone.peer.SetLinger(0)
		gone.peer.Close()
		w.eventually("it is seen that one has gone", func() bool { return gone.end != nil })
		var bufs [][]byte
		for i := range MaxBuffers {
			bufs = append(bufs, fmt.Appendf(nil, "buffer %d;", i))
		}
		want := bytes.Join(bufs, nil)
		for range 3 { // by the second one at the latest everyone knows of the one
			took, errs := w.write(bufs, socks...)
			for i, s := range socks {
				if s == gone {
					continue
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(s.peer, got); err != nil || took[i] != len(want) || errs[i] != nil || !bytes.Equal(got, want) {
					t.Fatalf("socket %d: %d of %d bytes were taken, %v, and %q arrives, %v", i, took[i], len(want), errs[i], got, err)
				}
			}
			time.Sleep(10 * time.Millisecond)
			if took, errs = w.write(bufs[:1], socks[0], gone, socks[1]); errs[0] != nil || errs[2] != nil {
				t.Fatal(took, errs)
			}
			for _, s := range socks[:2] {
				io.ReadFull(s.peer, make([]byte, len(bufs[0])))
			}
			if errs[1] != nil {
				return
			}
		}
		t.Error("a write to one that has gone never fails")
	})
}

func TestTheTimerTicksWhileItIsOn(t *testing.T) {
	overAll(t, func(t *testing.T, w *world) {
		w.run()
		w.locked(func() { w.loop.Timer(true) })
		w.eventually("some ticks", func() bool { return w.ticks >= 3 })
		var was int
		w.locked(func() { w.loop.Timer(false) })
		time.Sleep(20 * time.Millisecond) // one may be on its way
		w.locked(func() { was = w.ticks })
		time.Sleep(3 * Tick)
		w.locked(func() {
			if w.ticks != was {
				t.Errorf("%d ticks while the timer is off", w.ticks-was)
			}
		})
	})
}

func TestNobodyIsAcceptedAfterStop(t *testing.T) {
	overAll(t, func(t *testing.T, w *world) {
		w.run()
		stop := w.accept()
		w.dial()
		stop()
		if c, err := net.Dial("tcp", w.ln.Addr().String()); err == nil {
			defer c.Close()
		}
		time.Sleep(50 * time.Millisecond)
		w.locked(func() {
			if len(w.socks) != 1 {
				t.Errorf("%d sockets", len(w.socks))
			}
		})
	})
}
