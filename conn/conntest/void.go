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

// Void is a network whose sockets take all that is written, at once and for
// nothing, and whose peers answer pings: a conn.Options.Network. A server needs no
// Listen with it.
type Void struct {
	take func(fd int32, remote [16]byte) // since Accept

	accepting sync.Mutex // held while take is called; protects following
	latest    *loop      // that was given a socket

	mu   sync.Mutex    // protects following
	refs []netloop.Ref // by descriptor: there may be a million
}

// NewVoid makes a network for one server.
func NewVoid() *Void { return new(Void) }

// Connect has a connection accepted, from 127.0.0.1, whose peer sends the head of
// its request at once. It returns when that has been read. It may be called from
// any goroutine, once the server serves and until it is closed.
func (v *Void) Connect(head string) {
	v.accepting.Lock()
	defer v.accepting.Unlock()
	v.mu.Lock()
	fd := int32(len(v.refs))
	v.refs = append(v.refs, netloop.Ref{})
	v.mu.Unlock()
	v.take(fd, [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1})
	v.latest.arrive(fd, []byte(head))
}

// Loop makes one more loop.
func (v *Void) Loop() (netloop.Loop, error) {
	return &loop{net: v, running: make(chan struct{}), done: make(chan struct{})}, nil
}

// Accept has Connect call take. There is no listener, and no end.
func (v *Void) Accept(_ net.Listener, take func(int32, [16]byte), _ func()) (stop func(), err error) {
	v.take = take
	return func() {}, nil
}

// IOUring says that it is off.
func (v *Void) IOUring() (used bool, err error) { return false, nil }

// loop is a loop of a Void. It ticks whether or not it is asked to.
type loop struct {
	net     *Void
	to      netloop.Events // since running is closed
	running chan struct{}
	done    chan struct{}
	results []int // of writes; the owner guards it

	arriving sync.Mutex // protects input; held while the owner reads it
	input    []byte

	mu     sync.Mutex // protects following
	pinged []int32    // descriptors whose peers owe an answer
}

// Run lets the time go on, and brings the answers to pings, until Stop.
func (l *loop) Run(to netloop.Events) {
	l.to = to
	close(l.running)
	t := time.NewTicker(netloop.Tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.mu.Lock()
			pinged := l.pinged
			l.pinged = nil
			l.mu.Unlock()
			to.Tick()
			for _, fd := range pinged {
				l.arrive(fd, []byte{0x8a, 0x80, 0, 0, 0, 0}) // masked
			}
		case <-l.done:
			return
		}
	}
}

// arrive has the owner of a socket read b.
func (l *loop) arrive(fd int32, b []byte) {
	<-l.running
	l.arriving.Lock()
	defer l.arriving.Unlock()
	l.input = b
	l.net.mu.Lock()
	ref := l.net.refs[fd]
	l.net.mu.Unlock()
	l.to.Ready(ref, true, false)
}

func (l *loop) Read(_ int32, b []byte) (int, error) {
	n := copy(b, l.input)
	l.input = l.input[n:]
	return n, nil
}

func (l *loop) Add(fd int32, r netloop.Ref) error {
	l.net.latest = l // within take
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.net.refs[fd] = r
	return nil
}

func (l *loop) Stop()                                   { close(l.done) }
func (l *loop) Timer(bool)                              {}
func (l *loop) Close(int32)                             {}
func (l *loop) FinishWrites(int32)                      {}
func (l *loop) Abandon(int32, time.Duration)            {}
func (l *loop) NotifyWritable(int32, netloop.Ref, bool) {}
func (l *loop) Sender() netloop.Sender                  { return sender{l} }

// sender takes everything.
type sender struct{ *loop }

// Add takes the buffers. A ping is the last frame of a write: it is written at once.
func (s sender) Add(fd int32, bufs [][]byte) {
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

func (s sender) Send() { s.results = s.results[:0] }

// Result reads what Send has left behind.
func (s sender) Result(i int) (int, error) { return s.results[:cap(s.results)][i], nil }
