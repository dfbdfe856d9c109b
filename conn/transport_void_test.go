package conn

import (
	"testing"
	"time"
)

func TestConnectionsWithoutASocketLiveAsOthersDo(t *testing.T) {
	t.Parallel()
	hub := newFakeHub()
	// A loop that was held up makes up for a second: the timeout is longer than that.
	s := New(Options{Handler: hub, Loops: 2, Void: true, IOUring: true, Ping: time.Second, PingTimeout: 1500 * time.Millisecond, Renew: 500 * time.Millisecond})
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if why, told := hub.cause("u"); !told || why != CauseServer || s.Len() != 0 {
			t.Errorf("after Close: told %v, %v, %d are left", told, why, s.Len())
		}
	})
	d := s.NewDeliverer()
	const users = 100
	var conns []*Conn
	for i := range users {
		s.Introduce("u", UUID{byte(i)}, func(c *Conn) { conns = append(conns, c) })
	}
	if st := s.Stats(); st.Open != users || st.Pending != 0 || s.Len() != users || len(s.loops[0].slots) != users/2 {
		t.Fatalf("introduced: %+v", st)
	}
	for _, c := range conns {
		d.Plain(c, []byte(`{"data":`), []byte("1"), '}', time.Now().UnixMilli())
	}
	m, text := d.Message(Push{Size: 1})
	_ = append(text, '2')
	d.All(m)
	d.Done(m)
	eventually(t, "all of it is taken", func() bool {
		d.Flush()
		for d.Work() {
		}
		st := s.Stats()
		return st.Written == 2*users && st.WrittenBytes >= users*(2+10)+users*(2+1) && st.QueuedConns == 0
	})
	eventually(t, "everyone is pinged twice, answers, and is renewed", func() bool {
		st := s.Stats() // before hub.mu, which is taken inside a loop's lock
		hub.mu.Lock()
		defer hub.mu.Unlock()
		return st.PingsSent >= 2*users && st.FramesReceived >= users && hub.renewals["u"] >= 2*users
	})
	if st := s.Stats(); st.Open != users {
		t.Fatalf("some were called dead: %+v", st)
	}
}
