package conntest_test

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"pushpod/conn"
	"pushpod/conn/conntest"
)

// crowd lets everyone in, and owns everyone.
type crowd struct {
	admitted         []*conn.Conn
	renewals, closed atomic.Int64
}

func (c *crowd) Admit(x *conn.Conn, r *conn.Request) (conn.Owner, *conn.Refusal) {
	if user, _ := r.Query.Get("user"); user == "" || r.Remote.String() != "127.0.0.1" {
		return nil, &conn.Refusal{Status: 401, Error: "unauthorized", Reason: "who?"}
	}
	c.admitted = append(c.admitted, x)
	return c, nil
}

func (c *crowd) Ready() bool                               { return true }
func (c *crowd) Refused(netip.Addr, string, *conn.Refusal) {}
func (c *crowd) Message(text []byte, limited bool)         {}
func (c *crowd) Opened()                                   {}
func (c *crowd) Slow(int, conn.Policy)                     {}
func (c *crowd) Renew()                                    { c.renewals.Add(1) }
func (c *crowd) Closed(conn.Cause)                         { c.closed.Add(1) }

func head(user int) string {
	return fmt.Sprintf("GET /ws?user=%d HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", user)
}

func TestConnectionsWithoutASocketLiveAsOthersDo(t *testing.T) {
	const users = 100
	all, void := new(crowd), conntest.NewVoid()
	// A loop that was held up makes up for a second: the timeout is longer than that.
	s := conn.New(conn.Options{Admitter: all, Network: void, Loops: 2, Settings: conn.Settings{Ping: time.Second, PingTimeout: 1500 * time.Millisecond, Renew: 500 * time.Millisecond}})
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		s.Close()
		if s.Len() != 0 || all.closed.Load() != users {
			t.Errorf("%d are left, %d were told", s.Len(), all.closed.Load())
		}
	}()
	for i := range users {
		void.Connect(head(i))
		s.Answer(conn.Answer{Conn: all.admitted[i], Welcome: []byte("{}")})
	}
	void.Connect("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
	if st := s.Stats(); st.Open != users || st.Handshakes[101] != users || st.Handshakes[401] != 1 {
		t.Fatalf("%+v", st)
	}
	d := s.NewDeliverer()
	for _, c := range all.admitted {
		d.Plain(c, 0, []byte("1"))
	}
	f := d.Frame(conn.Push{}, []byte("2"))
	d.All(f)
	f.Release()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		d.Flush()
		for d.Work() {
		}
		st := s.Stats()
		if st.Written == 2*users && st.QueuedConns == 0 && st.PingsSent >= 2*users && st.FramesReceived >= users && all.renewals.Load() >= 2*users {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("all of it is taken; everyone is pinged twice, answers, and is renewed: not so: %d renewals, %+v", all.renewals.Load(), st)
		}
	}
	if st := s.Stats(); st.Open != users {
		t.Fatalf("some were called dead: %+v", st)
	}
}
