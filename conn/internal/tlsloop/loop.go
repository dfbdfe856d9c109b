package tlsloop

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"

	"pushpod/conn/internal/netloop"
)

// Loop is a loop of a Network. Its owner guards it, as it does every loop, and also
// calls Begin and Peer one at a time with the others.
type Loop struct {
	net     *Network
	over    netloop.Loop
	out     netloop.Sender // of over; nothing is prepared in it between calls
	to      netloop.Events // since Run
	sockets map[int32]*socket
	sender  sender
	one     [1][]byte // buffer, for out

	// While a tls.Conn is read: how much it may still be given, and whether the
	// socket has no more.
	budget int
	dry    bool
}

// Run tells of events until Stop, and has handshakes made.
func (l *Loop) Run(to netloop.Events) {
	l.to = to
	var running sync.WaitGroup
	w := l.net.workers
	if w.claim() {
		running.Go(w.run)
	}
	l.over.Run(events{to, w})
	if l.net.loops.Add(-1) == 0 {
		w.stop() // every socket has been closed
	}
	running.Wait()
}

// Stop ends Run. All sockets of all loops have been closed before.
func (l *Loop) Stop() { l.over.Stop() }

// events is who is told in the owner's place.
type events struct {
	netloop.Events
	workers *workers
}

// Ready has the owner read where a socket takes more: the rest of a record is then
// written, of which the owner may know nothing.
func (e events) Ready(r netloop.Ref, readable, writable bool) {
	e.Events.Ready(r, readable || writable, writable)
}

// Tick also looks for handshakes that have to give way.
func (e events) Tick() {
	e.workers.tick()
	e.Events.Tick()
}

// Timer starts or stops the calls of Tick.
func (l *Loop) Timer(on bool) { l.over.Timer(on) }

// Add watches a socket.
func (l *Loop) Add(fd int32, r netloop.Ref) error {
	if err := l.over.Add(fd, r); err != nil {
		return err
	}
	l.sockets[fd] = &socket{loop: l, fd: fd, ref: r}
	return nil
}

// Begin has the peer of a socket that was added speak TLS from now on. early is what
// has been read of it.
func (l *Loop) Begin(fd int32, early []byte) error {
	s := l.sockets[fd]
	s.tls = tls.Server(s, l.net.config())
	s.shake = newHandshake(l.net.workers, s.tls, func() { l.to.Ready(s.ref, true, false) })
	return s.shaking(early)
}

// Peer returns the certificate by which the peer has proved who it is; nil: it has
// shown none.
func (l *Loop) Peer(fd int32) *x509.Certificate {
	s := l.sockets[fd]
	if s == nil || s.tls == nil || s.shake != nil {
		return nil
	}
	if chains := s.tls.ConnectionState().VerifiedChains; len(chains) > 0 {
		return chains[0][0]
	}
	return nil
}

// Read reads what there is, of which there may be some beside an error. b has room
// for ReadBytes at least.
func (l *Loop) Read(fd int32, b []byte) (int, error) {
	s := l.sockets[fd]
	switch {
	case s.tls == nil:
		return l.over.Read(fd, b)
	case s.failed:
		return s.discard(b)
	}
	if err := s.flush(); err != nil {
		return 0, err
	}
	if s.shake != nil {
		if established, err := s.shakeOn(b); !established {
			return 0, err
		}
	}
	return s.read(b)
}

// NotifyWritable starts or ends telling when the socket takes more.
func (l *Loop) NotifyWritable(fd int32, _ netloop.Ref, on bool) {
	s := l.sockets[fd]
	s.wanted = on
	s.notify()
}

// Abandon has the socket fail where its peer acknowledges nothing.
func (l *Loop) Abandon(fd int32, after time.Duration) { l.over.Abandon(fd, after) }

// FinishWrites says that nothing more will be written, by a close_notify and a FIN.
func (l *Loop) FinishWrites(fd int32) {
	s := l.sockets[fd]
	s.sayClose()
	s.finishing = true
	s.finish()
}

// Close closes a socket, which may not have been added.
func (l *Loop) Close(fd int32) {
	if s := l.sockets[fd]; s != nil {
		s.end()
		delete(l.sockets, fd)
	}
	l.over.Close(fd)
}

// Sender returns what encrypts and writes.
func (l *Loop) Sender() netloop.Sender { return &l.sender }
