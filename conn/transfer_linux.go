package conn

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Detach takes an open connection out of the server, and returns its
// descriptor, now the caller's, and its state, to be given to Adopt of another
// server, in this process or another one. The handler gets no Closed: to it
// the connection has not ended. Only for connections on event loops.
func (s *Server) Detach(c *Conn) (fd int, state []byte, err error) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.io.(*epoll)
	if !ok {
		return -1, nil, errors.ErrUnsupported
	}
	if state, err = c.snapshot(); err != nil {
		return -1, nil, err
	}
	fd = int(c.fd)
	if err := e.control(unix.EPOLL_CTL_DEL, fd, 0, 0, 0); err != nil {
		return -1, nil, err
	}
	for c.out != nil {
		c.pop(resultNone)
	}
	c.state = stateClosed
	c.dropHalf()
	c.clear(flagIdentified)
	l.open--
	l.remove(c)
	s.conns.Add(-1)
	return fd, state, nil
}

// Adopt goes on with a connection that was detached. The descriptor is the
// server's from now on, also where an error is returned. introduce is called
// once, with the loop locked, so that nothing comes in before: the handler makes
// the connection known there.
func (s *Server) Adopt(fd int, state []byte, introduce func(*Conn)) error {
	l := s.loops[fd%len(s.loops)]
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.io.(*epoll)
	if !ok {
		unix.Close(fd)
		return errors.ErrUnsupported
	}
	s.conns.Add(1)
	c := l.add(int32(fd), [16]byte{})
	c.fillBucket()
	if err := unix.SetNonblock(fd, true); err != nil {
		c.end(CauseRefused)
		return err
	}
	if err := e.register(c); err != nil {
		c.end(CauseRefused)
		return err
	}
	if err := c.restore(state); err != nil {
		c.end(CauseRefused)
		return err
	}
	introduce(c)
	return nil
}
