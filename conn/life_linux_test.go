package conn

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
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
		if why, _ := s.hub.cause("dead"); why != CauseDead {
			t.Fatalf("cause %v", why)
		}
		if d := time.Since(start); d < time.Second {
			t.Fatalf("dead after %v already", d)
		}
		if _, gone := s.hub.cause("alive"); gone {
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
		for q, ok := range map[string]bool{"app,15": true, "app,300": true, "app,14": false, "app,301": false, "app,": false, "ws": false, "": false, "app,015": false} {
			c := s.dial(t)
			c.send([]byte(request("?user=v&ping=" + q)))
			if ok {
				c.wantUpgrade()
			} else {
				c.wantRefusal(400)
			}
		}
	})
}

func TestTCPEndsSoonAfterACloseThatIsNotAnswered(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 s")
	}
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		c := s.connect(t, "u")
		s.hub.conn(t, "u").Close(CodeGoingAway, "bye")
		start := time.Now()
		c.wantClose("the pod's close", CodeGoingAway)
		c.wantEOF("the deadline")
		if d := time.Since(start); d < 3*time.Second || d > 6*time.Second {
			t.Fatalf("TCP ended after %v", d)
		}
	})
}

func TestOldConnectionsAreRecycled(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.MaxAge = time.Second })
		c := s.connect(t, "u")
		if reason := c.wantClose("max age", CodeGoingAway); !strings.HasPrefix(reason, "retry_ms=") {
			t.Fatalf("reason %q", reason)
		}
	})
}

func TestRenewalsComeWhileTheConnectionIsOpen(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.Renew = 200 * time.Millisecond })
		c := s.connect(t, "u")
		renewals := func() int {
			s.hub.mu.Lock()
			defer s.hub.mu.Unlock()
			return s.hub.renewals["u"]
		}
		eventually(t, "some renewals", func() bool { return renewals() >= 3 })
		c.closeNow()
		n := renewals()
		time.Sleep(500 * time.Millisecond)
		if renewals() != n {
			t.Fatal("a closed connection was renewed")
		}
	})
}

func TestASlowHandshakeIsTimedOut(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.HandshakeTimeout = 300 * time.Millisecond })
		c := s.dial(t)
		c.send([]byte("GET /ws?user=u HTTP/1.1\r\nHost: x\r\n"))
		c.wantRefusal(408)
		c = s.dial(t)
		c.wantRefusal(408)
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
		c = s.connect(t, "mid-frame")
		c.send(text("0123456789")[:8])
		reset(c)
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

func TestBeyondTheDescriptorLimitOneIsToldSo(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.MaxConns = 3 })
		var in []*client
		for range 3 {
			in = append(in, s.connect(t, "u"))
		}
		c := s.dial(t)
		c.send([]byte(request("?user=u")))
		h := c.wantRefusal(503)
		if h["retry-after"] == "" {
			t.Fatal("no Retry-After")
		}
		in[0].closeNow()
		eventually(t, "there is room again", func() bool { return s.Len() < 3 })
		s.connect(t, "u").closeNow()
	})
}

func TestCloseAllSpreadsAndTellsWhenToComeBack(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		var clients []*client
		for range 10 {
			clients = append(clients, s.connect(t, "u"))
		}
		start := time.Now()
		if err := s.CloseAll(context.Background(), 500*time.Millisecond, CodeGoingAway, func() string { return Retry(0, time.Second) }); err != nil {
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

// A connection goes on in another server, in the middle of a frame in both
// directions, and of a message of fragments.
func TestAConnectionCanBeTakenUpElsewhere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("event loops only")
	}
	a := startServer(t, Options{}, func(o *Options, _ *fakeHub) { o.QueueBytes = 32 << 20 })
	b := startServer(t, Options{}, echoing, func(o *Options, _ *fakeHub) { o.QueueBytes = 32 << 20 })
	c := a.connect(t, "u")
	// More than the socket will ever take: a write may find room where the loop
	// was not told of any yet.
	n := a.jamTo(t, "u", 8<<20)
	a.push(t, Push{Collapse: "=k"}, "waits", "u")
	a.flush()
	c.send(frame(ws.OpText, false, []byte("first \xe2")))
	half := frame(ws.OpContinuation, true, []byte("\x82\xac last"))
	c.send(half[:7])
	eventually(t, "half a frame has come", func() bool {
		conn := a.hub.conn(t, "u")
		conn.loop.mu.Lock()
		defer conn.loop.mu.Unlock()
		return conn.in != nil && len(conn.in.text) > 0 && len(conn.in.buf) == 7
	})
	old := a.hub.conn(t, "u")
	fd, state, err := a.Detach(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, told := a.hub.cause("u"); told {
		t.Fatal("the handler was told that it ended")
	}
	if _, _, err := a.Detach(old); !errors.Is(err, ErrNotOpen) {
		t.Fatalf("detached twice: %v", err)
	}
	if err := b.Adopt(fd, state, func(c *Conn) {
		if c.User() != "u" || c.UUID() != old.UUID() || c.Remote() != old.Remote() {
			t.Errorf("adopted as %q %x %v", c.User(), c.UUID(), c.Remote())
		}
		b.hub.conns["u"] = c
	}); err != nil {
		t.Fatal(err)
	}
	b.push(t, Push{Collapse: "=k"}, "newer", "u")
	b.push(t, Push{}, "after", "u")
	b.flush()
	c.send(half[7:])
	big := strings.Repeat("j", 32<<10)
	for range n {
		c.wantText("what was queued, whole", big)
	}
	c.wantText("collapsed over there", "newer")
	got := []string{string(c.want("one", ws.OpText)), string(c.want("two", ws.OpText))}
	if !(got[0] == "after" && got[1] == "first € last" || got[1] == "after" && got[0] == "first € last") {
		t.Fatalf("got %q", got)
	}
	c.closeNow()
}

func TestARefusedStateIsNotTakenUp(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("event loops only")
	}
	s := startServer(t, Options{})
	for _, state := range []string{"", "{}", `{"uuid":"AAAA"}`, `null`} {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(pair[1])
		if err := s.Adopt(pair[0], []byte(state), func(*Conn) { t.Error("introduced") }); err == nil {
			t.Errorf("state %q was taken", state)
		}
	}
	eventually(t, "nothing is left", func() bool { return s.Len() == 0 })
}

func TestAStalledProcessCallsNobodyDead(t *testing.T) {
	hub := newFakeHub()
	s := New(Options{Handler: hub, Loops: 1, Ping: 2 * time.Second, PingTimeout: 1500 * time.Millisecond})
	l := s.loops[0]
	l.io = sink{}
	c := l.add(-1, [16]byte{})
	l.pending--
	l.open++
	c.state, c.pingEach = stateOpen, 2
	c.startClocks()
	for range 25 { // until it is pinged
		l.wheel.last = time.Now().Add(-tick)
		l.advance()
		if c.has(flagPinged) {
			break
		}
	}
	if !c.has(flagAwaiting) {
		t.Fatal("not pinged")
	}
	l.wheel.last = time.Now().Add(-time.Hour) // the process was stopped
	l.advance()
	if c.state != stateOpen {
		t.Fatal("called dead because the pod was away")
	}
	c.input(frame(ws.OpPong, true, nil))
	for range 5 {
		l.wheel.last = time.Now().Add(-tick)
		l.advance()
	}
	if c.state != stateOpen {
		t.Fatal("called dead though it answered")
	}
}

func TestADeadPeerIsNotRenewed(t *testing.T) {
	hub := newFakeHub()
	s := New(Options{Handler: hub, Loops: 1, Renew: time.Second})
	l := s.loops[0]
	l.io = sink{}
	c := l.add(-1, [16]byte{})
	s.conns.Add(1)
	l.pending--
	l.open++
	c.state, c.pingEach = stateOpen, 25
	c.set(flagPinged | flagAwaiting)
	c.pingAt, c.renewAt = l.wheel.now+1, l.wheel.now+1 // both at once
	c.schedule()
	l.wheel.last = time.Now().Add(-2 * tick)
	l.advance()
	if c.state != stateClosed || hub.renewals[""] != 0 {
		t.Fatalf("state %d, %d renewals", c.state, hub.renewals[""])
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
