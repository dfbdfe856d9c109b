package conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/wire"
)

// fakeNet is a network of one loop in which nothing happens by itself: what comes,
// what a socket takes, and the time are the test's to say.
type fakeNet struct {
	to      netloop.Events // since running is closed
	take    func(fd int32, remote [16]byte)
	running chan struct{}
	done    chan struct{}
	sockets map[int32]*fakeSocket // that are open
	last    int32
	sends   int // calls of Send

	prepared []fakeWrite
	results  []fakeWrite
}

type fakeWrite struct {
	to   *fakeSocket
	bufs [][]byte
	n    int
	err  error
}

// fakeSocket is a socket, and what the test knows of its connection.
type fakeSocket struct {
	t   *testing.T
	s   *fakeServer
	c   *Conn // nil: it is not admitted
	fd  int32
	ref netloop.Ref

	in     []byte
	eof    bool
	fails  error // of a read, behind in
	room   int   // bytes that it still takes
	broken bool
	got    []byte

	notify, finished, closed bool
	abandon                  time.Duration
}

func (n *fakeNet) Loop() (netloop.Loop, error) { return n, nil }
func (n *fakeNet) IOUring() (bool, error)      { return false, nil }

func (n *fakeNet) Accept(_ net.Listener, take func(int32, [16]byte), _ func()) (func(), error) {
	n.take = take
	return func() {}, nil
}

func (n *fakeNet) Run(to netloop.Events) {
	n.to = to
	close(n.running)
	<-n.done
}

func (n *fakeNet) Stop()                  { close(n.done) }
func (n *fakeNet) Timer(bool)             {}
func (n *fakeNet) Sender() netloop.Sender { return fakeSender{n} }

func (n *fakeNet) Add(fd int32, r netloop.Ref) error {
	n.sockets[fd].ref = r
	return nil
}

func (n *fakeNet) Read(fd int32, b []byte) (int, error) {
	x := n.sockets[fd]
	k := copy(b, x.in)
	x.in = x.in[k:]
	switch {
	case k > 0:
		return k, nil
	case x.fails != nil:
		return 0, x.fails
	case x.eof:
		return 0, io.EOF
	}
	return 0, netloop.ErrAgain
}

func (n *fakeNet) NotifyWritable(fd int32, r netloop.Ref, on bool) {
	x := n.sockets[fd]
	if x.ref != r || x.notify == on {
		x.t.Errorf("asked to notify %v: %v, which it was already, or of another", r, on)
	}
	x.notify = on
}

func (n *fakeNet) Abandon(fd int32, after time.Duration) { n.sockets[fd].abandon = after }

func (n *fakeNet) FinishWrites(fd int32) { n.sockets[fd].finished = true }

func (n *fakeNet) Close(fd int32) {
	n.sockets[fd].closed = true
	delete(n.sockets, fd)
}

var errBroken = errors.New("the peer has gone")

// fakeSender writes when it is told to send: until then nothing may change.
type fakeSender struct{ *fakeNet }

func (n fakeSender) Add(fd int32, bufs [][]byte) {
	x := n.sockets[fd]
	if len(bufs) > netloop.MaxBuffers || len(n.prepared) == netloop.MaxWrites {
		x.t.Errorf("%d buffers, for write %d", len(bufs), len(n.prepared))
	}
	n.prepared = append(n.prepared, fakeWrite{to: x, bufs: append([][]byte(nil), bufs...)})
}

func (n fakeSender) Send() {
	n.sends++
	for i := range n.prepared {
		w := &n.prepared[i]
		if w.to.broken {
			w.err = errBroken
			continue
		}
		b := bytes.Join(w.bufs, nil)
		w.n = min(len(b), w.to.room)
		w.to.room -= w.n
		w.to.got = append(w.to.got, b[:w.n]...)
	}
	n.results, n.prepared = n.prepared, n.results[:0]
}

func (n fakeSender) Result(i int) (int, error) { return n.results[i].n, n.results[i].err }

// fakeServer is a server over a fakeNet.
type fakeServer struct {
	testServer
	t     *testing.T
	net   *fakeNet
	now   time.Time // of the wheel
	ticks int
}

func newFakeServer(t *testing.T, o Options, set ...func(*Options, *fakeHub)) *fakeServer {
	n := &fakeNet{running: make(chan struct{}), done: make(chan struct{}), sockets: map[int32]*fakeSocket{}}
	o.Loops, o.Network = 1, n
	hub := newFakeHub()
	for _, f := range set {
		f(&o, hub)
	}
	o.Admitter = hub
	s := New(o)
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	<-n.running
	return &fakeServer{testServer: testServer{s, hub, s.NewDeliverer()}, t: t, net: n}
}

// connect has a connection accepted, from which b comes.
func (s *fakeServer) connect(b string) *fakeSocket {
	s.net.last++
	x := &fakeSocket{t: s.t, s: s, fd: s.net.last, room: 1 << 20}
	s.net.sockets[x.fd] = x
	s.net.take(x.fd, [16]byte{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: 1})
	x.arrive(b)
	return x
}

// open opens a connection, whose socket takes nothing more for now. Behind the user there
// may be more of the query.
func (s *fakeServer) open(user string) *fakeSocket {
	s.t.Helper()
	x := s.connect(request("?user=" + user))
	name, _, _ := strings.Cut(user, "&")
	x.c = s.hub.told(name).conn
	if !bytes.HasPrefix(x.got, []byte("HTTP/1.1 101")) || !bytes.HasSuffix(x.got, textOf(welcome)) {
		s.t.Fatalf("the answer to the handshake is %q", x.got)
	}
	x.got, x.room = nil, 0
	return x
}

// arrive has b come from the peer.
func (x *fakeSocket) arrive(b string) {
	x.in = append(x.in, b...)
	for len(x.in) > 0 && !x.closed {
		x.s.net.to.Ready(x.ref, true, false)
	}
	if x.s.hub.hold == nil {
		x.s.hub.pending.Wait() // it is answered
	}
}

// end has the peer end its side.
func (x *fakeSocket) end() {
	x.eof = true
	x.s.net.to.Ready(x.ref, true, false)
}

// give makes room for n bytes more.
func (x *fakeSocket) give(n int) {
	x.room += n
	if x.notify && !x.closed {
		x.s.net.to.Ready(x.ref, false, true)
	}
}

// push sends texts to the connection alone.
func (x *fakeSocket) push(texts ...string) {
	for _, s := range texts {
		x.s.d.Plain(x.c, 0, []byte(s))
	}
	flushAll(x.s.d)
}

// message sends a message as one with anything special to it is sent.
func (x *fakeSocket) message(p Push, text string) {
	send(x.s.d, p, []byte(text), x.c)
	flushAll(x.s.d)
}

// want gives the socket room, and holds that these frames, and nothing else, were
// written from the beginning on.
func (x *fakeSocket) want(why string, frames ...[]byte) {
	x.t.Helper()
	x.give(1 << 20)
	if want := bytes.Join(frames, nil); !bytes.Equal(x.got, want) {
		x.t.Fatalf("%s: written %.300q, want %.300q", why, x.got, want)
	}
}

func textOf(s string) []byte { return wire.AppendFrame(nil, wire.OpText, []byte(s)) }

func closeOf(code Code, reason string) []byte { return wire.AppendClose(nil, code, reason) }

// tick lets n ticks pass.
func (s *fakeServer) tick(n int) {
	for range n {
		s.ticks++
		s.stall(netloop.Tick)
	}
}

// stall lets the time pass without a look at it.
func (s *fakeServer) stall(d time.Duration) {
	if now := time.Now(); s.now.Before(now) {
		s.now = now
	}
	s.now = s.now.Add(d)
	l := s.loops[0]
	l.mu.Lock()
	defer l.unlock()
	for l.wheel.Advance(s.now, sliceDue, l.due) {
	}
}
