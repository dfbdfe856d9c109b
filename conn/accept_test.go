package conn

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/wire"
)

// TestARowOfHandshakesIsAnsweredAtOnce: whatever else has happened to one of them
// meanwhile, nobody's answer is late, missing or another's.
func TestARowOfHandshakesIsAnsweredAtOnce(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		const n = 150 // more than are sent at once
		never := make(chan struct{})
		s := startServer(t, o, func(_ *Options, f *fakeHub) { f.hold = never })
		t.Cleanup(func() { close(never) }) // before the server's own end
		clients := make([]*client, n)
		conns := make([]*Conn, n)
		for i := range clients {
			c := s.dial(t)
			first := []byte(request(fmt.Sprint("?user=u", i)))
			if i%10 == 0 {
				first = append(first, text("early")...)
			}
			c.send(first)
			clients[i] = c
		}
		for i := range conns {
			conns[i] = s.hub.conn(t, fmt.Sprint("u", i))
		}
		for i := 1; i < n; i += 10 {
			s.push(t, Push{}, "pushed", fmt.Sprint("u", i))
		}
		for i := 2; i < n; i += 10 {
			clients[i].sock.Close()
		}
		for i := 3; i < n; i += 10 {
			s.push(t, Push{Close: true, CloseCode: wire.CodeNormal}, "", fmt.Sprint("u", i))
		}
		s.flush()
		for i := 2; i < n; i += 10 {
			eventually(t, "it is noticed that one has gone", func() bool { return s.hub.told(fmt.Sprint("u", i)).closed })
		}
		row := make([]Answer, n)
		for i, c := range conns {
			row[i] = Answer{Conn: c, Welcome: fmt.Appendf(nil, "welcome %d", i)}
		}
		s.Answer(row...)
		for i, c := range clients {
			if i%10 == 2 {
				continue
			}
			c.wantUpgrade()
			c.wantText("the welcome", fmt.Sprint("welcome ", i))
			switch i % 10 {
			case 0:
				eventually(t, "what came early is received", func() bool {
					return fmt.Sprint(s.hub.told(fmt.Sprint("u", i)).received) == "[early]"
				})
			case 1:
				c.wantText("what was pushed meanwhile", "pushed")
			case 3:
				c.wantClose("it was closed meanwhile", wire.CodeNormal)
			}
		}
		if got := s.Stats().Handshakes[101]; got != n-n/10 {
			t.Errorf("%d handshakes are counted, want %d", got, n-n/10)
		}
	})
}

func TestAPingThatASocketTakesInPartIsFinishedLater(t *testing.T) {
	for room, left := range map[int]int64{0: 2, 1: 1, 2: 0} {
		s := newFakeServer(t, Options{Settings: Settings{Ping: time.Second}})
		c := s.open("u")
		c.give(room)
		s.tick(10)
		if st := s.Stats(); st.PingsSent != 1 || st.QueuedBytes != left || len(c.got) != room {
			t.Errorf("room for %d bytes: %d are written, %d wait", room, len(c.got), st.QueuedBytes)
		}
		c.give(100)
		c.want("the whole ping", s.codec.ping(false))
	}
}

func TestPingsToManyAreWrittenTogether(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: time.Second}})
	var conns []*fakeSocket
	for i := range netloop.MaxWrites {
		c := s.open(fmt.Sprint("u", i))
		c.give(100)
		conns = append(conns, c)
	}
	s.net.sends = 0
	s.stall(time.Second) // all of them are due in one look
	if got := s.Stats().PingsSent; got != uint64(len(conns)) || s.net.sends != 1 {
		t.Errorf("%d of %d pings in %d calls", got, len(conns), s.net.sends)
	}
}

// Its descriptor may be another's by then.
func TestNothingIsWrittenToASocketThatWasClosed(t *testing.T) {
	s := newFakeServer(t, Options{})
	a, b := s.open("a"), s.open("b")
	l := s.loops[0]
	l.mu.Lock()
	for _, x := range []*fakeSocket{a, b} {
		x.room = 100
		x.c.sendText([]byte("x"))
		x.c.prepare()
	}
	a.c.end(CauseDead)
	l.unlock()
	a.want("what was prepared goes out before the end", textOf("x"))
	b.want("the other's too", textOf("x"))
}

func TestFarTooManyConnectionsAreClosedWithoutAWord(t *testing.T) {
	s := newFakeServer(t, Options{MaxConns: 1})
	var last *fakeSocket
	for i := range 1 + overflowConns {
		x := s.connect("GET /ws HTTP/1.1\r\nHost: x\r\n")
		if x.closed || len(x.got) > 0 {
			t.Fatalf("connection %d is closed: %v, and told %q", i, x.closed, x.got)
		}
		if i == overflowConns {
			last = x
		}
	}
	s.net.last++
	x := &fakeSocket{t: t, s: s, fd: s.net.last}
	s.net.sockets[x.fd] = x
	s.net.take(x.fd, [16]byte{})
	if st := s.Stats(); !x.closed || st.AcceptErrors != 1 || s.Len() != 1+overflowConns {
		t.Errorf("it is closed: %v, %d errors, %d connections", x.closed, st.AcceptErrors, s.Len())
	}
	if last.arrive("\r\n"); !strings.HasPrefix(string(last.got), "HTTP/1.1 503 ") {
		t.Errorf("the last one is told %q", last.got)
	}
	s.acceptFailed()
	if st := s.Stats(); st.AcceptErrors != 2 {
		t.Error("a socket for which there is no descriptor is not counted")
	}
}

func TestAnEventOfOneThatHasEndedIsNobodys(t *testing.T) {
	s := newFakeServer(t, Options{})
	s.open("stays") // or all slots are given up
	old := s.open("old")
	old.end()
	x := s.open("new")
	if x.ref.Slot != old.ref.Slot || x.ref == old.ref {
		t.Fatalf("%v, then %v", old.ref, x.ref)
	}
	x.eof = true // which is seen when it is read
	s.net.to.Ready(old.ref, true, true)
	s.net.to.Ready(netloop.Ref{Slot: 100, Gen: 1}, true, true)
	if x.closed {
		t.Error("the next one in its place was read")
	}
}
