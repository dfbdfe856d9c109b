package conn

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheServerSaysWhetherItUsesIOUring(t *testing.T) {
	needIOUring(t)
	if used, err := startServer(t, Options{IOUring: true}).IOUring(); !used || err != nil {
		t.Errorf("asked for: used %v, %v", used, err)
	}
	if used, err := startServer(t, Options{}).IOUring(); used || err != nil {
		t.Errorf("not asked for: used %v, %v", used, err)
	}
	if used, err := startServer(t, Options{IOUring: true, Portable: true}).IOUring(); used || err != nil {
		t.Errorf("without event loops: used %v, %v", used, err)
	}
}

func TestWhereTheKernelRefusesIOUringEverythingIsWritten(t *testing.T) {
	refused := errors.New("io_uring_setup: operation not permitted")
	s := startServer(t, Options{IOUring: true, ringFrom: 1, sender: func() (sender, error) { return nil, refused }})
	if used, err := s.IOUring(); used || err != refused {
		t.Errorf("used %v, %v", used, err)
	}
	c := s.connect(t, "u")
	s.push(t, Push{}, "for all")
	s.push(t, Push{}, "for one", "u")
	s.flush()
	c.wantText("a broadcast", "for all")
	c.wantText("a push", "for one")
}

// TestARingThatBreaksLosesNothing: from then on everything is written.
func TestARingThatBreaksLosesNothing(t *testing.T) {
	needIOUring(t)
	s := startServer(t, Options{IOUring: true, ringFrom: 1, Loops: 1})
	var clients []*client
	for i := range 5 {
		clients = append(clients, s.connect(t, fmt.Sprint("u", i)))
	}
	for i := range 30 {
		if i == 10 {
			l := s.loops[0]
			l.mu.Lock()
			r := l.sender.(*ring)
			null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Dup3(null, r.fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			unix.Close(null)
			l.mu.Unlock()
		}
		s.push(t, Push{}, fmt.Sprint("all ", i))
		s.push(t, Push{}, fmt.Sprint("some ", i), "u0", "u1", "u2", "u3", "u4")
		s.flush()
	}
	for _, c := range clients {
		for i := range 30 {
			c.wantText("a broadcast", fmt.Sprint("all ", i))
			c.wantText("a push", fmt.Sprint("some ", i))
		}
	}
	if s.loops[0].sender.usable() {
		t.Error("the broken ring is still used")
	}
}
