// Package conntest has a network without sockets, for tests that hold many
// connections. Only tests import it.
package conntest

import (
	"bytes"
	"net"
	"sync"
	"time"

	"pushpod/conn/internal/netloop"
)

// Void is a network whose sockets take everything that is written, at once and
// for nothing, and whose peers answer pings (conn.Options.Network). A server
// needs no Listen with it.
type Void struct {
	loops []*loop

	accepting sync.Mutex // protects take; held while it is called
	take      func(fd int32, remote [16]byte)

	mu      sync.Mutex // protects following
	sockets []socket   // by descriptor; they lie densely: there may be a million
}

// socket is whose event it is.
type socket struct {
	ref  netloop.Ref
	loop uint32
}

// NewVoid makes a network for one server.
func NewVoid() *Void { return new(Void) }

// Connect has a connection accepted, whose peer sends the head of its request at
// once. It returns when that has been read. It may be called from any goroutine
// once the server serves; after StopAccepting it does nothing.
func (v *Void) Connect(head string) {
	v.accepting.Lock()
	defer v.accepting.Unlock()
	if v.take == nil {
		return
	}
	v.mu.Lock()
	fd := int32(len(v.sockets))
	v.sockets = append(v.sockets, socket{})
	v.mu.Unlock()
	v.take(fd, net4())
	v.loops[v.socket(fd).loop].arrive(fd, []byte(head))
}

// net4 is 127.0.0.1.
func net4() [16]byte { return [16]byte(net.IPv4(127, 0, 0, 1).To16()) }

func (v *Void) socket(fd int32) socket {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.sockets[fd]
}

// Loop makes one more loop.
func (v *Void) Loop() (netloop.Loop, error) {
	l := &loop{net: v, index: uint32(len(v.loops)), running: make(chan struct{}), done: make(chan struct{})}
	v.loops = append(v.loops, l)
	return l, nil
}

// Accept has Connect call take.
func (v *Void) Accept(_ net.Listener, take func(fd int32, remote [16]byte), _ func()) (stop func(), err error) {
	set := func(f func(int32, [16]byte)) {
		v.accepting.Lock()
		defer v.accepting.Unlock()
		v.take = f
	}
	set(take)
	return func() { set(nil) }, nil
}

// IOUring says that it is off.
func (v *Void) IOUring() (used bool, err error) { return false, nil }

// loop is a loop of a Void.
type loop struct {
	net     *Void
	index   uint32
	to      netloop.Events // since running is closed
	running chan struct{}
	done    chan struct{}
	results []int // of writes; guarded by the loop's owner

	arriving sync.Mutex // protects input; held while the owner reads it
	input    []byte

	mu      sync.Mutex // protects following
	ticking bool
	pinged  []int32 // descriptors whose peers owe an answer
}

// Run lets the time go on, and brings the answers to pings, until Stop.
func (l *loop) Run(to netloop.Events) {
	l.to = to
	close(l.running)
	t := time.NewTicker(netloop.Tick)
	defer t.Stop()
	pong := []byte{0x8a, 0x80, 0, 0, 0, 0} // masked, by nothing
	for {
		select {
		case <-t.C:
		case <-l.done:
			return
		}
		l.mu.Lock()
		ticking, pinged := l.ticking, l.pinged
		l.pinged = nil
		l.mu.Unlock()
		if ticking {
			to.Tick()
		}
		for _, fd := range pinged {
			l.arrive(fd, pong)
		}
	}
}

// arrive has the owner of a socket read b.
func (l *loop) arrive(fd int32, b []byte) {
	<-l.running
	l.arriving.Lock()
	defer l.arriving.Unlock()
	l.input = b
	l.to.Ready(l.net.socket(fd).ref, true, false)
}

func (l *loop) Read(_ int32, b []byte) (int, error) {
	n := copy(b, l.input)
	if l.input = l.input[n:]; n == 0 {
		return 0, netloop.ErrAgain
	}
	return n, nil
}

func (l *loop) Stop() { close(l.done) }

func (l *loop) Timer(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ticking = on
}

func (l *loop) Add(fd int32, r netloop.Ref) error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.net.sockets[fd] = socket{r, l.index}
	return nil
}

func (l *loop) Close(int32)                             {}
func (l *loop) FinishWrites(int32)                      {}
func (l *loop) NotifyWritable(int32, netloop.Ref, bool) {}
func (l *loop) Sender() netloop.Sender                  { return (*sender)(l) }

// sender is a loop that takes everything.
type sender loop

// Add takes the buffers. A ping is the last frame of a write: it is written at once.
func (s *sender) Add(fd int32, bufs [][]byte) {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	s.results = append(s.results, n)
	if bytes.HasSuffix(bufs[len(bufs)-1], []byte{0x89, 0}) {
		s.mu.Lock()
		s.pinged = append(s.pinged, fd)
		s.mu.Unlock()
	}
}

func (s *sender) Send() { s.results = s.results[:0] }

// Result reads what Send has left behind.
func (s *sender) Result(i int) (int, error) { return s.results[:cap(s.results)][i], nil }
