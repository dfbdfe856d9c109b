package conn

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"pushpod/conn/internal/wire"
)

func TestADeadPeerIsClosedAndAnAnswerKeepsItAlive(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.Ping, o.PingTimeout = time.Second, 500*time.Millisecond })
		dead, alive := s.connect(t, "dead"), s.connect(t, "alive")
		start := time.Now()
		for range 3 {
			p := alive.want("a ping", ws.OpPing)
			alive.send(frame(ws.OpPong, true, p))
		}
		dead.want("a ping", ws.OpPing)
		dead.wantEOF("no answer to the ping")
		s.hub.wantCause(t, "dead", CauseDead)
		if d := time.Since(start); d < time.Second {
			t.Fatalf("dead after %v already", d)
		}
		if s.hub.told("alive").closed {
			t.Fatal("the one that answers was closed")
		}
		alive.closeNow()
	})
}

func TestAppPingsTakeThePlaceOfPings(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.Ping, o.PingTimeout = time.Second, 500*time.Millisecond })
		c := s.connect(t, "u", "&ping=app")
		for range 2 {
			c.wantText("an app ping", `{"type":"ping"}`)
			c.send(text(`{"type":"pong"}`)) // any frame would do
		}
		c.wantText("an app ping", `{"type":"ping"}`)
		c.wantEOF("an app ping is not answered")
		s.hub.wantCause(t, "u", CauseDead)
	})
}

func TestAppPingsComeEach15To300Seconds(t *testing.T) {
	for status, queries := range map[int][]string{
		101: {"app", "app,15", "app,300"},
		400: {"", "ws", "App", "app,", "app,14", "app,301", "app,-15", "app,015", "app,15.5", "app,1e2", "app,15,15", "app,%2015", ",15", "15", "app,99999999999999999999"},
	} {
		for _, q := range queries {
			if x := newFakeServer(t, Options{}).connect(request("?user=u&ping=" + q)); !strings.HasPrefix(string(x.got), fmt.Sprint("HTTP/1.1 ", status)) {
				t.Errorf("ping=%s: answered %q", q, x.got)
			}
		}
	}
}

func TestRenewalsComeWhileTheConnectionIsOpen(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.Renew = 200 * time.Millisecond })
		c := s.connect(t, "u")
		renewals := func() int { return s.hub.told("u").renewals }
		eventually(t, "some renewals", func() bool { return renewals() >= 3 })
		c.closeNow()
		n := renewals()
		time.Sleep(500 * time.Millisecond)
		if renewals() != n {
			t.Fatal("a closed connection was renewed")
		}
	})
}

func TestResetsInEachStateLeaveNothingBehind(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		reset := func(c *client) {
			c.sock.SetLinger(0)
			c.sock.Close()
		}
		c := s.dial(t)
		c.send([]byte("GET /ws"))
		reset(c)
		reset(s.connect(t, "idle"))
		for state, sent := range map[string][]byte{
			"mid-header": text(strings.Repeat("x", 200))[:3], "mid-frame": text("0123456789")[:8], "mid-message": frame(ws.OpText, false, []byte("x")),
			"failing": raw(0x87, true, []byte{0}, ""), "leaving": closeFrame(wire.CodeNormal, ""),
		} {
			c = s.connect(t, state)
			c.send(sent)
			reset(c)
		}
		c = s.connect(t, "mid-write")
		s.jam(t, "mid-write")
		reset(c)
		c = s.connect(t, "closing")
		s.hub.conn(t, "closing").Close(CodeGoingAway, "")
		c.want("close", ws.OpClose)
		reset(c)
		eventually(t, "all are gone", func() bool { return s.Len() == 0 })
	})
}

func TestADrainSpreadsAndTellsWhenToComeBack(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		var clients []*client
		for range 10 {
			clients = append(clients, s.connect(t, "u"))
		}
		start := time.Now()
		if err := s.Drain(context.Background(), 500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 400*time.Millisecond {
			t.Fatalf("all closed within %v", d)
		}
		for _, c := range clients {
			c.wantClose("drain", CodeGoingAway)
			c.send(closeFrame(CodeGoingAway, ""))
			c.wantEOF("answered")
		}
		eventually(t, "empty", func() bool { return s.Len() == 0 })
	})
}

func TestAStalledProcessCallsNobodyDead(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: 2 * time.Second, PingTimeout: 1500 * time.Millisecond}})
	c := s.open("u")
	c.give(1000)
	for range 20 {
		if s.tick(1); len(c.got) > 0 {
			break
		}
	}
	c.want("the ping", s.codec.ping(false))
	s.stall(time.Hour)
	if c.closed {
		t.Fatal("called dead because the process was away")
	}
	c.arrive(string(frame(ws.OpPong, true, nil)))
	s.tick(15)
	if c.closed {
		t.Fatal("called dead though it answered")
	}
}

// Who takes something is there, though no answer comes.
func TestAPeerThatMakesRoomIsAlive(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: 2 * time.Second, PingTimeout: time.Second}})
	c := s.open("u")
	for s.Stats().PingsSent == 0 {
		s.tick(1)
	}
	c.want("the ping", s.codec.ping(false))
	if s.tick(15); c.closed {
		t.Fatal("called dead")
	}
	if s.tick(20); !c.closed {
		t.Fatal("not called dead after another ping")
	}
}

func TestADeadPeerIsNotRenewed(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: 10 * time.Second, PingTimeout: 5 * time.Second, Renew: 100 * time.Millisecond}})
	c := s.open("u")
	c.give(1000)
	for !c.closed {
		before := s.hub.told("u").renewals
		if s.tick(1); c.closed && s.hub.told("u").renewals != before || s.ticks > 200 {
			t.Fatalf("renewed when it was called dead, or alive after %d ticks", s.ticks)
		}
	}
	if u := s.hub.told("u"); u.why != CauseDead || u.renewals == 0 {
		t.Fatalf("cause %v, %d renewals", u.why, u.renewals)
	}
}

func TestConnectionsArePlainTCP(t *testing.T) {
	s := startServer(t, Options{})
	raw, err := s.listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if p, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || p != unix.IPPROTO_TCP {
			t.Errorf("the listener's protocol is %d, %v", p, err)
		}
	})
}
