// Package source reads the connection on which Redis sends what is published, by
// whichever way of waiting is the cheapest.
//
// While messages come in quick succession, one processor of Go's (P) more is given
// than there are cores, and the goroutine that reads waits in the system call
// itself and keeps its processor for these milliseconds: a message then costs one
// system call to read it, and none of the scheduler's work of finding out what to
// run next. Where messages come seldom it waits in the runtime's poller, as any
// goroutine does.
//
// Measured with Go 1.26 on Linux, on two cores: at 10,000 messages a second
// a push takes 19.0 µs of CPU, and 22.3 without; p99 is 0.4 ms, and 2.4 without
// (docs/performance.md). With another Go, measure again: it rests on when its
// scheduler takes a processor back from a system call.
package source

import (
	"net"
	"sync/atomic"
	"time"
)

// Source is a connection on which Redis sends what is published.
type Source interface {
	// Read reads what there is. Where there is nothing it waits, or, without wait,
	// returns 0. Only one goroutine reads.
	Read(b []byte, wait bool) (int, error)
	// Write writes a command, all of it or an error. It may be called from anywhere,
	// while a read is under way.
	Write(b []byte) error
	// End ends the connection: a read under way fails, and all later ones. It may
	// be called from anywhere, and more than once.
	End()
	// Close releases it, after the last read.
	Close()
}

// New takes c over: nothing may be done with c any more. spare says whether the
// reader may keep a processor while it waits; see SpareProcessor.
func New(c net.Conn, spare *atomic.Bool) Source {
	if s, err := newSocket(c, spare); err == nil {
		return s
	}
	return stream{c} // it is no socket (TLS), or there is no descriptor to spare
}

// writeTimeout bounds a write to what can't be asked whether it would wait.
const writeTimeout = time.Second

// stream is a source that is no socket, and can tell whether there is something to read
// only where its connection can.
type stream struct{ conn net.Conn }

// tryReader is a connection that can tell: it reads 0 where there is nothing.
type tryReader interface {
	TryRead(b []byte) (int, error)
}

func (s stream) Read(b []byte, wait bool) (n int, err error) {
	t, can := s.conn.(tryReader)
	if wait {
		n, err = s.conn.Read(b)
	}
	// TLS comes by records, of which each read takes one.
	for can && err == nil && n < len(b) {
		k, failed := t.TryRead(b[n:])
		if n += k; k == 0 {
			if n == 0 {
				err = failed
			}
			break // what has failed fails again
		}
	}
	return n, err
}

func (s stream) Write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	_ = s.conn.SetWriteDeadline(time.Time{}) // TLS writes by itself, now and then
	return err
}

func (s stream) End()   { s.conn.Close() }
func (s stream) Close() { s.conn.Close() }
