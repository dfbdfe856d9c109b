package tlsloop

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"pushpod/conn/internal/netloop"
)

const (
	// ReadBytes is the least room that Loop.Read is given.
	ReadBytes = 128 << 10
	// readOnce is what a tls.Conn is given at once; with what it has of a record
	// already it makes no more than ReadBytes.
	readOnce = ReadBytes - maxRecord - recordHeader

	// maxUnwritten bounds what waits for a socket that is full: one record, and what
	// crypto/tls answers by itself (KeyUpdate, alerts).
	maxUnwritten = 2 * maxRecord
)

// socket is a socket of a Loop. It is the net.Conn of its tls.Conn, which calls it
// under the lock of the loop's owner, and from a worker while a handshake is made.
type socket struct {
	loop  *Loop
	ref   netloop.Ref
	fd    int32
	tls   *tls.Conn  // nil before Begin
	shake *handshake // nil: it is complete

	early     []byte // what came with the end of the handshake
	unwritten []byte // what the socket did not take
	err       error  // of a write

	owed      bool // the first byte that comes next to be written is encrypted already
	wanted    bool // the owner wants to be told when there is room
	notified  bool // it is told
	finishing bool // FIN goes behind unwritten
	failed    bool // the handshake
}

var (
	errFull   = errors.New("tlsloop: the peer asks for answers and does not read them")
	errClosed = net.ErrClosed
)

// again is what a tls.Conn is told where there is nothing to read for now. It is
// temporary, so crypto/tls goes on later.
type again struct{}

func (again) Error() string   { return "tlsloop: nothing to read for now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// read reads what is encrypted in what has come, all of it.
func (s *socket) read(b []byte) (n int, err error) {
	l := s.loop
	l.budget, l.dry = readOnce, false
	for err == nil {
		var k int
		k, err = s.tls.Read(b[n:])
		n += k
	}
	switch {
	case errors.Is(err, again{}):
		err = netloop.ErrAgain
	case s.err != nil:
		err = s.err
	}
	if n > 0 && err == netloop.ErrAgain {
		err = nil
	}
	return n, err
}

// Read is what a tls.Conn reads by.
func (s *socket) Read(p []byte) (int, error) {
	if s.shake != nil {
		return s.shake.read(p)
	}
	l := s.loop
	p = p[:min(len(p), l.budget)]
	if len(p) == 0 || l.dry && len(s.early) == 0 {
		return 0, again{}
	}
	if len(s.early) > 0 {
		n := copy(p, s.early)
		if s.early = s.early[n:]; len(s.early) == 0 {
			s.early = nil
		}
		l.budget -= n
		return n, nil
	}
	n, err := l.over.Read(s.fd, p)
	if err == netloop.ErrAgain {
		return 0, again{}
	}
	l.dry = n < len(p) // what has come since makes another event
	l.budget -= n
	return n, err
}

// Write is what a tls.Conn writes by. It takes everything.
func (s *socket) Write(p []byte) (int, error) {
	if s.shake != nil {
		return s.shake.write(p)
	}
	if err := s.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send writes p as far as the socket takes it, and keeps the rest.
func (s *socket) send(p []byte) error {
	if s.err == nil && len(s.unwritten) == 0 {
		var n int
		n, s.err = s.loop.write(s.fd, p)
		p = p[n:]
	}
	if len(s.unwritten)+len(p) > maxUnwritten && s.err == nil {
		s.err = errFull
	}
	if s.err != nil {
		return s.err
	}
	if len(p) > 0 {
		s.unwritten = append(s.unwritten, p...)
		s.notify()
	}
	return nil
}

// write makes one write.
func (l *Loop) write(fd int32, p []byte) (int, error) {
	l.one[0] = p
	l.out.Add(fd, l.one[:])
	l.out.Send()
	l.one[0] = nil
	return l.out.Result(0)
}

// flush writes what the socket did not take before.
func (s *socket) flush() error {
	if len(s.unwritten) > 0 && s.err == nil {
		var n int
		n, s.err = s.loop.write(s.fd, s.unwritten)
		if s.unwritten = s.unwritten[n:]; len(s.unwritten) == 0 {
			s.unwritten = nil
			s.notify()
			s.finish()
		}
	}
	return s.err
}

// notify asks to be told when there is room, where the owner wants it, or where
// something waits. Before the handshake is complete the owner's have to wait.
func (s *socket) notify() {
	on := len(s.unwritten) > 0 || s.wanted && s.shake == nil && !s.failed
	if on != s.notified {
		s.notified = on
		s.loop.over.NotifyWritable(s.fd, s.ref, on)
	}
}

// sayClose sends a close_notify (RFC 8446 section 6.1).
func (s *socket) sayClose() {
	if s.tls != nil && s.shake == nil && !s.failed && s.err == nil {
		_ = s.tls.CloseWrite()
	}
}

// finish ends the socket's writes behind all that waits.
func (s *socket) finish() {
	if s.finishing && len(s.unwritten) == 0 {
		s.finishing = false
		s.loop.over.FinishWrites(s.fd)
	}
}

// end is called before the socket is closed.
func (s *socket) end() {
	if s.shake != nil {
		if s.shake.begun() {
			s.loop.net.closed.Add(1)
		}
		s.shake.abandon()
		return
	}
	s.sayClose()
}

// discard throws away what comes after a handshake that has failed, until the end.
func (s *socket) discard(b []byte) (int, error) {
	_ = s.flush()
	_, err := s.loop.over.Read(s.fd, b)
	if err == nil {
		err = netloop.ErrAgain
	}
	return 0, err
}

// The rest of net.Conn: crypto/tls makes no use of it, but for deadlines when it
// says that it closes, where nothing waits anyway.

func (s *socket) Close() error                     { return nil }
func (s *socket) LocalAddr() net.Addr              { return nil }
func (s *socket) RemoteAddr() net.Addr             { return nil }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

var _ io.ReadWriteCloser = (*socket)(nil)
