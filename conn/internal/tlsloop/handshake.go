package tlsloop

import (
	"container/list"
	"crypto/tls"
	"errors"
	"iter"
	"time"

	"pushpod/conn/internal/netloop"
)

// What may have come of a peer and not be read while its handshake is made.
const (
	maxFirst   = 2 * maxHello // before the ClientHello is whole
	maxShaking = readOnce     // certificates, and what it sends without a wait
)

var errShaking = errors.New("too much was sent before the handshake was complete")

// handshake is a handshake that is under way. The loop's owner brings what comes; a
// worker resumes its coroutine.
type handshake struct {
	workers *workers
	conn    *tls.Conn
	tell    func() // the loop's owner, that it should read

	hello hello // the owner's

	// The worker's that has it.
	next   func() (struct{}, bool) // resumes the coroutine; nil: it has not begun
	yield  func(struct{}) bool
	result error // when it has ended

	// Guarded by workers.mu.
	phase phase
	in    []byte        // that came, and was not read
	out   []byte        // to be written
	err   error         // why it failed, or is to fail
	list  *list.List    // of workers, that it is in; nil: none
	place *list.Element // there
	since time.Time     // it is there
}

// phase is where a handshake stands.
type phase uint8

const (
	phaseHello   phase = iota // the ClientHello is not whole
	phaseFresh                // waits for a worker to begin
	phaseReady                // waits for a worker to go on
	phaseWorking              // a worker has it
	phaseParked               // waits for the peer
	phaseDone
)

func newHandshake(w *workers, c *tls.Conn, tell func()) *handshake {
	return &handshake{workers: w, conn: c, tell: tell}
}

// shakeOn brings a handshake what has come, and brings out what it has to say.
func (s *socket) shakeOn(b []byte) (established bool, err error) {
	out, done, err := s.shake.progress()
	if s.send(out) != nil {
		return false, s.err
	}
	switch {
	case err != nil:
		return false, s.fail(err)
	case done:
		s.early, s.shake = s.shake.in, nil
		s.loop.net.ok.Add(1)
		s.notify()
		return true, nil
	}
	n, err := s.loop.over.Read(s.fd, b)
	if err != nil {
		return false, err
	}
	if err := s.shaking(b[:n]); err != nil {
		return false, err
	}
	return false, netloop.ErrAgain
}

// shaking takes what has come of a peer whose handshake is not complete.
func (s *socket) shaking(b []byte) error {
	err := s.shake.input(b)
	if err != nil {
		s.shake.abandon()
		return s.fail(err)
	}
	return nil
}

// fail ends a handshake. What has been said to the peer still goes out.
func (s *socket) fail(err error) error {
	if errors.Is(err, errHTTP) || errors.Is(err, errNotTLS) {
		s.loop.net.notTLS.Add(1)
	} else {
		s.loop.net.failed.Add(1)
	}
	s.failed, s.shake = true, nil
	return &HandshakeError{err}
}

// begun reports whether the peer has sent anything.
func (h *handshake) begun() bool {
	h.workers.mu.Lock()
	defer h.workers.mu.Unlock()
	return h.phase != phaseHello || len(h.in) > 0
}

// input takes what has come.
func (h *handshake) input(b []byte) error {
	w := h.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	h.in = append(h.in, b...)
	if len(h.in) > maxShaking {
		return errShaking
	}
	switch h.phase {
	case phaseHello:
		whole, err := h.hello.look(h.in)
		if whole {
			w.enqueue(h, phaseFresh)
		} else if err == nil && len(h.in) > maxFirst {
			err = errHello
		}
		return err
	case phaseParked:
		w.enqueue(h, phaseReady)
	}
	return nil
}

// progress returns what is to be written, and whether the handshake is complete, or
// why it has failed.
func (h *handshake) progress() (out []byte, done bool, err error) {
	w := h.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	out, h.out = h.out, nil
	if h.phase == phaseDone {
		return out, h.err == nil, h.err
	}
	return out, false, nil
}

// abandon gives up a handshake whose socket is closed.
func (h *handshake) abandon() { h.workers.interrupt(h, errClosed) }

// resume lets the coroutine run until it wants input that is not there, or ends.
func (h *handshake) resume() (ended bool) {
	if h.next == nil {
		h.next, _ = iter.Pull(h.run) // it is always run to its end
	}
	_, more := h.next()
	return !more
}

// run is the coroutine.
func (h *handshake) run(yield func(struct{}) bool) {
	h.yield = yield
	h.result = h.conn.Handshake()
}

// read is what crypto/tls reads by: it waits, and leaves the worker to others.
func (h *handshake) read(p []byte) (int, error) {
	for {
		if n, err := h.taken(p); n > 0 || err != nil {
			return n, err
		}
		h.yield(struct{}{})
	}
}

func (h *handshake) taken(p []byte) (int, error) {
	h.workers.mu.Lock()
	defer h.workers.mu.Unlock()
	if h.err != nil {
		return 0, h.err
	}
	n := copy(p, h.in)
	if h.in = h.in[n:]; len(h.in) == 0 {
		h.in = nil
	}
	return n, nil
}

// write is what crypto/tls writes by.
func (h *handshake) write(p []byte) (int, error) {
	h.workers.mu.Lock()
	defer h.workers.mu.Unlock()
	h.out = append(h.out, p...)
	return len(p), nil
}
