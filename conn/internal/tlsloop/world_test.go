package tlsloop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"pushpod/conn/internal/netloop"
	"pushpod/internal/certtest"
)

// world is a loop over sockets of which the test says what they take and when what
// was sent arrives, and the loop's owner.
type world struct {
	t    *testing.T
	net  *Network
	loop *Loop

	running chan struct{} // closed when Run of the sockets' loop is called
	done    chan struct{}
	over    netloop.Events // since running is closed

	mu    sync.Mutex // the owner's lock; protects following
	socks map[int32]*sock
	last  int32
}

// sock is one socket: below, what the system does with it; above, what its owner sees.
type sock struct {
	w   *world
	fd  int32
	ref netloop.Ref

	// Below. Guarded by world.mu.
	in       []byte // that has arrived, and is not read
	eof      bool
	room     int    // bytes that it takes
	out      []byte // that it took, and the peer has not read
	notify   bool
	finished bool
	closed   bool
	abandon  time.Duration // after which it fails where its peer acknowledges nothing
	changed  *sync.Cond

	// Above.
	got      []byte
	err      error // with which reading has ended
	writable int

	peer *peer
	tls  *tls.Conn // the client
}

func newWorld(t *testing.T, config *tls.Config) *world {
	w := &world{t: t, running: make(chan struct{}), done: make(chan struct{}), socks: map[int32]*sock{}}
	w.net = New(w, func() *tls.Config { return config })
	l, err := w.net.Loop()
	if err != nil {
		t.Fatal(err)
	}
	w.loop = l.(*Loop)
	var running sync.WaitGroup
	running.Go(func() { w.loop.Run(w) })
	t.Cleanup(func() {
		w.locked(func() {
			for _, s := range w.socks {
				s.close()
			}
		})
		w.loop.Stop()
		running.Wait()
		if n := w.net.workers; n.begun != 0 || n.fresh.Len()+n.ready.Len()+n.parked.Len() != 0 {
			t.Errorf("%d handshakes are left, %d %d %d wait", n.begun, n.fresh.Len(), n.ready.Len(), n.parked.Len())
		}
	})
	<-w.running
	return w
}

// The sockets' network, loop, and sender.

func (w *world) IOUring() (bool, error)      { return false, nil }
func (w *world) Loop() (netloop.Loop, error) { return below{w}, nil }
func (w *world) Accept(net.Listener, func(int32, [16]byte), func()) (stop func(), _ error) {
	return nil, nil
}

type below struct{ w *world }

func (b below) Run(to netloop.Events) {
	b.w.over = to
	close(b.w.running)
	<-b.w.done
}
func (b below) Stop()                                           { close(b.w.done) }
func (b below) Timer(bool)                                      {}
func (b below) Add(fd int32, r netloop.Ref) error               { b.w.socks[fd].ref = r; return nil }
func (b below) NotifyWritable(fd int32, _ netloop.Ref, on bool) { b.w.socks[fd].notify = on }
func (b below) Sender() netloop.Sender                          { return &belowSender{w: b.w} }
func (b below) Read(fd int32, p []byte) (int, error) {
	s := b.w.socks[fd]
	n := copy(p, s.in)
	s.in = s.in[n:]
	switch {
	case n > 0:
		return n, nil
	case s.eof:
		return 0, io.EOF
	}
	return 0, netloop.ErrAgain
}
func (b below) Abandon(fd int32, after time.Duration) { b.w.socks[fd].abandon = after }
func (b below) FinishWrites(fd int32) {
	s := b.w.socks[fd]
	s.finished = true
	s.changed.Broadcast()
}
func (b below) Close(fd int32) {
	s := b.w.socks[fd]
	s.closed = true
	s.changed.Broadcast()
}

type belowSender struct {
	w       *world
	n       int
	results []int
}

func (b *belowSender) Add(fd int32, bufs [][]byte) {
	s := b.w.socks[fd]
	p := bytes.Join(bufs, nil)
	n := min(len(p), s.room)
	s.room -= n
	s.out = append(s.out, p[:n]...)
	s.changed.Broadcast()
	b.results = append(b.results[:b.n], n)
	b.n++
}
func (b *belowSender) Send()                     { b.n = 0 }
func (b *belowSender) Result(i int) (int, error) { return b.results[i], nil }

// The owner.

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) Ready(r netloop.Ref, readable, writable bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.socks[int32(r.Slot)]
	if s.closed {
		return
	}
	if writable {
		s.writable++
	}
	if readable && s.err == nil {
		b := make([]byte, ReadBytes)
		n, err := w.loop.Read(s.fd, b)
		if s.got = append(s.got, b[:n]...); err != nil && err != netloop.ErrAgain {
			s.err = err
		}
		s.changed.Broadcast()
	}
}

func (w *world) Tick()    {}
func (w *world) Turn(int) {}

// connect makes a socket whose peer, a client of crypto/tls, has not sent anything.
func (w *world) connect(config *tls.Config) *sock {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	s := &sock{w: w, fd: w.last, ref: netloop.Ref{Slot: uint32(w.last), Gen: 1}, room: 1 << 30}
	s.changed = sync.NewCond(&w.mu)
	s.peer = &peer{s: s, at: 1 << 30}
	w.socks[s.fd] = s
	if err := w.loop.Add(s.fd, s.ref); err != nil {
		w.t.Fatal(err)
	}
	if err := w.loop.Begin(s.fd, nil); err != nil {
		w.t.Fatal(err)
	}
	if config != nil {
		s.tls = tls.Client(s.peer, config)
	}
	return s
}

// open is connect, and the handshake.
func (w *world) open(config *tls.Config) *sock {
	w.t.Helper()
	s := w.connect(config)
	if err := s.tls.Handshake(); err != nil {
		w.t.Fatal(err)
	}
	s.eventually("the handshake is complete", func() bool { return w.loop.sockets[s.fd].shake == nil })
	return s
}

// arrive has b come from the peer, and tells of it until it is read.
func (s *sock) arrive(b []byte) {
	s.w.locked(func() { s.in = append(s.in, b...) })
	s.readable()
}

func (s *sock) readable() {
	for more := true; more; {
		s.w.over.Ready(s.ref, true, false)
		s.w.locked(func() { more = len(s.in) > 0 && !s.closed && s.err == nil })
	}
}

// give makes room.
func (s *sock) give(n int) {
	notify := false
	s.w.locked(func() { s.room += n; notify = s.notify })
	if notify {
		s.w.over.Ready(s.ref, false, true)
	}
}

// write writes by the loop's sender.
func (s *sock) write(bufs ...[]byte) (n int, err error) {
	s.w.locked(func() {
		out := s.w.loop.Sender()
		out.Add(s.fd, bufs)
		out.Send()
		n, err = out.Result(0)
	})
	return n, err
}

// close closes the socket. The caller holds mu.
func (s *sock) close() {
	if !s.closed {
		s.w.loop.Close(s.fd)
	}
}

func (s *sock) eventually(what string, f func() bool) {
	s.w.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		ok := false
		if s.w.locked(func() { ok = f() }); ok {
			return
		}
		if time.Now().After(end) {
			s.w.t.Fatalf("never: %s", what)
		}
	}
}

// want waits until the owner has read this.
func (s *sock) want(what string) {
	s.w.t.Helper()
	s.eventually("the owner has read what was sent", func() bool { return len(s.got) >= len(what) || s.err != nil })
	s.w.locked(func() {
		if string(s.got) != what {
			s.w.t.Fatalf("read %.100q (%d bytes), want %.100q (%d)", s.got, len(s.got), what, len(what))
		}
		s.got = nil
	})
}

// peer is the other end, as a net.Conn for a client.
type peer struct {
	s    *sock
	at   int  // bytes that arrive together at most
	hold bool // nothing arrives: what is sent is kept
	kept []byte
	net.Conn
}

func (p *peer) Read(b []byte) (int, error) {
	s := p.s
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for len(s.out) == 0 {
		if s.finished || s.closed {
			return 0, errTCPEnds
		}
		s.changed.Wait()
	}
	n := copy(b, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (p *peer) Write(b []byte) (int, error) {
	held := false
	if p.s.w.locked(func() { held = p.hold }); held {
		p.s.w.locked(func() { p.kept = append(p.kept, b...) })
		return len(b), nil
	}
	for rest := b; len(rest) > 0; {
		n := min(p.at, len(rest))
		p.s.arrive(rest[:n])
		rest = rest[n:]
	}
	return len(b), nil
}

func (p *peer) Close() error                     { return nil }
func (p *peer) SetDeadline(time.Time) error      { return nil }
func (p *peer) SetReadDeadline(time.Time) error  { return nil }
func (p *peer) SetWriteDeadline(time.Time) error { return nil }

// Certificates.

var (
	theAuthority = certtest.NewAuthority("authority")
	serverConfig = &tls.Config{Certificates: []tls.Certificate{theAuthority.Issue("pod")}, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true}
	clientConfig = &tls.Config{ServerName: "pod", RootCAs: theAuthority.Pool()}
)

func version(c *tls.Config, v uint16) *tls.Config {
	c = c.Clone()
	c.MinVersion, c.MaxVersion = v, v
	return c
}

// overVersions runs a test with each version of TLS.
func overVersions(t *testing.T, f func(t *testing.T, w *world, client *tls.Config)) {
	for name, v := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) { f(t, newWorld(t, serverConfig), version(clientConfig, v)) })
	}
}

var (
	errTest = errors.New("test")
	// errTCPEnds is not io.EOF, which a client of crypto/tls also makes of a close_notify.
	errTCPEnds = errors.New("TCP ends")
)
