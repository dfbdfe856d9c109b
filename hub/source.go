package hub

import (
	"net"
	"sync/atomic"
	"time"

	"pushpod/internal/resp"
)

// source is the connection on which Redis sends what is published, as the
// subscriber reads it.
type source interface {
	// read reads what there is. Where there is nothing it waits, or, without wait,
	// returns 0. Only one goroutine reads.
	read(b []byte, wait bool) (int, error)
	// end ends the connection: a read under way fails, and all later ones. It may
	// be called from anywhere, and more than once.
	end()
	// close lets go of it, after the last read.
	close()
}

// newSource takes c over: nothing may be done with c any more, but to close it.
// spare says whether the reader may keep a processor while it waits.
func newSource(c net.Conn, spare *atomic.Bool) source {
	if s, err := newSocket(c, spare); err == nil {
		return s
	}
	return stream{c} // it is no socket (TLS), or there is no descriptor to spare
}

// stream is a source that can't tell whether there is something to read.
type stream struct{ net.Conn }

func (s stream) read(b []byte, wait bool) (int, error) {
	if !wait {
		return 0, nil
	}
	return s.Read(b)
}

func (s stream) end()   { s.Close() }
func (s stream) close() { s.Close() }

// command writes a command; it is used for SUBSCRIBE only.
func command(c net.Conn, timeout time.Duration, args ...string) error {
	if err := c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.Write(resp.AppendCommand(nil, args...))
	return err
}
