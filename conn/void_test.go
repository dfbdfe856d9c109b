package conn

import (
	"fmt"
	"testing"

	"pushpod/conn/conntest"
)

// voidServer has n open connections, whose sockets take everything at once.
func voidServer(tb testing.TB, n int, o Options) (*Server, []*Conn) {
	tb.Helper()
	hub, net := newFakeHub(), conntest.NewVoid()
	orDefault(&o.Loops, 1)
	o.Admitter, o.Network = hub, net
	s := New(o)
	if err := s.Serve(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	conns := make([]*Conn, n)
	for i := range conns {
		user := fmt.Sprint("u", i)
		net.Connect(request("?user=" + user))
		conns[i] = hub.told(user).conn
	}
	hub.pending.Wait()
	return s, conns
}
