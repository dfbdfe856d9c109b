package conn

import (
	"net/http"
	"time"
)

// overflowConns is how many connections beyond MaxConns are still told so, and
// overflowTimeout for how long each of them may take a descriptor until its request is
// there: what a page can read is known by then only.
const (
	overflowConns   = 64
	overflowTimeout = time.Second
)

// accepted makes a connection of an accepted socket. It is called by one
// goroutine.
func (s *Server) accepted(fd int32, remote [16]byte) {
	l := s.loops[s.deal.next(len(s.loops), s.Len())]
	n := s.conns.Add(1)
	l.lock()
	defer l.unlock()
	if n > int64(s.opts.MaxConns)+overflowConns { // too many even to say so
		s.conns.Add(-1)
		l.acceptErrors++
		l.io.Close(fd)
		return
	}
	c := l.add(fd, remote)
	if s.opts.untrusted(remote) {
		c.closeUnheard("only trusted proxies may connect (PROXY protocol)", CauseRefused)
		return
	}
	if err := l.io.Add(fd, c.ref()); err != nil {
		l.acceptErrors++
		c.end(CauseRefused)
		return
	}
	timeout := l.settings().HandshakeTimeout
	if n > int64(s.opts.MaxConns) {
		c.set(flagOverflow)
		timeout = min(timeout, overflowTimeout)
	}
	if s.opts.ProxyProtocol {
		c.set(flagProxied)
	} else {
		c.beginTLS(nil)
	}
	c.endAt = l.after(timeout)
	c.schedule()
}

// overflowing is the answer to a connection beyond MaxConns.
func overflowing() *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Error: "unavailable", Reason: "this pod holds as many connections as it can", RetryAfter: 5}
}

// acceptFailed is called where there is no descriptor for a socket.
func (s *Server) acceptFailed() {
	l := s.loops[0]
	l.lock()
	defer l.unlock()
	l.acceptErrors++
}

// dealer deals connections out to loops: one by one while they are few, and in
// runs when they are many. What the kernel keeps of connections that come one after
// the other lies together, and two cores that write to it in turn disturb each
// other: in runs, two loops bring out a tenth to a quarter more (BenchmarkCores).
type dealer struct {
	loop int
	left int // of the run
}

const (
	dealtSingly = 1024 // connections for which each loop matters
	dealtAtOnce = 256
)

// next returns the index of the loop for the next connection, where conns are open.
func (d *dealer) next(loops, conns int) int {
	if d.left == 0 {
		d.loop, d.left = (d.loop+1)%loops, 1
		if conns > dealtSingly {
			d.left = dealtAtOnce
		}
	}
	d.left--
	return d.loop
}
