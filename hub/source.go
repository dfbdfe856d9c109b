package hub

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// source is the connection on which Redis sends what is published. Its socket
// is read without holding up the goroutine where there is other work to do.
type source struct {
	conn net.Conn
	raw  syscall.RawConn // nil where the system has no such thing (TLS): then read always waits

	// For the callback, which is made once: it would be an allocation a read.
	buf   []byte
	wait  bool
	n     int
	err   error
	ready func(fd uintptr) bool
}

var errNothing = errors.New("nothing to read")

func newSource(c net.Conn) *source {
	s := &source{conn: c}
	if sc, ok := c.(syscall.Conn); ok && rawReads {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	s.ready = s.try
	return s
}

// try reads once; false: wait until there is something.
func (s *source) try(fd uintptr) bool {
	s.n, s.err = rawRead(fd, s.buf)
	return s.err != errNothing || !s.wait
}

// read reads what there is. Where there is nothing it waits, or, without wait,
// returns 0.
func (s *source) read(b []byte, wait bool) (int, error) {
	if s.raw == nil {
		if !wait {
			return 0, nil
		}
		return s.conn.Read(b)
	}
	s.buf, s.wait = b, wait
	if err := s.raw.Read(s.ready); err != nil {
		return 0, err
	}
	if s.err == errNothing {
		return 0, nil
	}
	if s.n == 0 && s.err == nil {
		return 0, io.EOF
	}
	return s.n, s.err
}

// command writes a command; it is used for SUBSCRIBE only.
func (s *source) command(timeout time.Duration, args ...string) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(appendCommand(nil, args...))
	return err
}
