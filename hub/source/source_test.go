package source

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// TLS is such a one.
func TestAConnectionThatIsNoSocketIsReadAsAStream(t *testing.T) {
	ours, theirs := net.Pipe()
	s := New(ours, new(atomic.Bool))
	b := make([]byte, 10)
	if n, err := s.Read(b, false); n != 0 || err != nil {
		t.Errorf("a read that shall not wait: %d, %v", n, err)
	}
	go func() { _, _ = io.WriteString(theirs, "abc") }()
	if n, err := s.Read(b, true); string(b[:n]) != "abc" || err != nil {
		t.Errorf("%q, %v", b[:n], err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.Read(b, true)
		ended <- err
	}()
	s.End()
	if err := <-ended; err == nil {
		t.Error("a read goes on after the end")
	}

	ours, theirs = net.Pipe()
	New(ours, new(atomic.Bool)).Close()
	if _, err := theirs.Read(b); err != io.EOF {
		t.Errorf("the connection is not closed: %v", err)
	}
}
