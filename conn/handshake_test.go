package conn

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pushpod/conn/internal/wire"
)

func TestWithoutUpgradeTheSameIsAnsweredAsHTTP(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		c := s.dial(t)
		c.send([]byte("GET /ws?user=u HTTP/1.1\r\nHost: x\r\nOrigin: http://good\r\n\r\n"))
		h := c.wantRefusal(426)
		if h["access-control-allow-origin"] != "http://good" || h["access-control-allow-credentials"] != "true" || h["vary"] != "Origin" || h["connection"] != "close, Upgrade" {
			t.Fatalf("header %v", h)
		}
		c = s.dial(t)
		c.send([]byte("GET /ws?user=u&user=v HTTP/1.1\r\nHost: x\r\nOrigin: http://bad\r\n\r\n"))
		if h := c.wantRefusal(400); h["access-control-allow-origin"] != "" {
			t.Fatalf("header %v", h)
		}
	})
}

func TestASlowHandshakeIsTimedOut(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.HandshakeTimeout = 300 * time.Millisecond })
		c := s.dial(t)
		c.send([]byte("GET /ws?user=u HTTP/1.1\r\nHost: x\r\n"))
		c.wantRefusal(408)
		s.dial(t).wantEOF("nothing was sent, nothing is answered")
		eventually(t, "both have timed out", func() bool { return s.Stats().Ended[CauseTimeout] == 2 })
		if st := s.Stats(); len(st.Handshakes) != 1 || st.Handshakes[408] != 1 {
			t.Fatalf("the silent one is counted: %v", st.Handshakes)
		}
	})
}

func TestBalancersAreToldWhetherThePodIsReady(t *testing.T) {
	for notReady, want := range map[bool]string{false: "HTTP/1.1 200 OK", true: "HTTP/1.1 503 Service Unavailable"} {
		s := newFakeServer(t, Options{}, func(_ *Options, h *fakeHub) { h.notReady = notReady })
		x := s.connect("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		if !strings.HasPrefix(string(x.got), want) || !x.finished {
			t.Errorf("answered %q", x.got)
		}
		x.end()
		if st := s.Stats(); len(st.Handshakes) != 0 || len(s.hub.refused) != 0 || st.Pending != 0 || !x.closed {
			t.Errorf("it counts as a handshake: %+v, %v", st.Handshakes, s.hub.refused)
		}
	}
}

func TestEachRefusalIsToldCountedAndSent(t *testing.T) {
	origin := "Origin: http://good\r\n"
	for name, tc := range map[string]struct {
		status int
		origin string // that is told
		allow  bool   // pages of origin may read it
		do     func(s *fakeServer) *fakeSocket
	}{
		"no request": {400, "", false, func(s *fakeServer) *fakeSocket { return s.connect("\x16\x03\x01\x02\n\n") }},
		"too large a header": {431, "http://good", true, func(s *fakeServer) *fakeSocket {
			return s.connect(request("?user=u", origin, "X: "+strings.Repeat("x", 1000)+"\r\n"))
		}},
		"too large a header that does not end": {431, "", false, func(s *fakeServer) *fakeSocket {
			return s.connect("GET /ws?user=u HTTP/1.1\r\nX: " + strings.Repeat("x", 1000))
		}},
		"a problem": {404, "http://good", true, func(s *fakeServer) *fakeSocket {
			return s.connect("GET /other HTTP/1.1\r\nHost: x\r\n" + origin + "\r\n")
		}},
		"by Admit": {403, "http://bad", false, func(s *fakeServer) *fakeSocket {
			s.hub.check = func(*Request) *Refusal { return &Refusal{Status: 403, Error: "forbidden", Reason: "no"} }
			return s.connect(request("?user=u", "Origin: http://bad\r\n"))
		}},
		"by Answer": {503, "http://good", true, func(s *fakeServer) *fakeSocket {
			s.hub.hold = make(chan struct{})
			x := s.connect(request("?user=u", origin))
			s.push(s.t, Push{}, "waits", "u")
			flushAll(s.d)
			a := Answer{Conn: s.hub.told("u").conn, Refusal: &Refusal{Status: 503, Error: "unavailable", Reason: "Redis"}}
			s.Answer(a, a) // once is enough
			close(s.hub.hold)
			s.hub.pending.Wait() // which accepts it: too late
			return x
		}},
		"too late": {408, "", false, func(s *fakeServer) *fakeSocket {
			x := s.connect("GET /ws")
			for i := 0; i < 60 && !x.finished; i++ { // a byte now and then buys no time
				x.arrive("x")
				s.tick(1)
			}
			return x
		}},
		"too late a page": {408, "http://good", true, func(s *fakeServer) *fakeSocket {
			x := s.connect("GET /ws HTTP/1.1\r\nHost: x\r\n" + origin + "X: ")
			s.tick(51)
			return x
		}},
		"a bare LF in a page's": {400, "http://good", true, func(s *fakeServer) *fakeSocket {
			return s.connect("GET /ws HTTP/1.1\r\nHost: x\r\n" + origin + "X: \n")
		}},
		"too many connections": {503, "http://good", true, func(s *fakeServer) *fakeSocket {
			s.open("one")
			return s.connect(request("?user=two", origin))
		}},
		"too many connections, of whom one is late": {503, "http://good", true, func(s *fakeServer) *fakeSocket {
			s.open("one")
			x := s.connect("GET /ws HTTP/1.1\r\nHost: x\r\n" + origin)
			s.tick(11)
			return x
		}},
		"more before the answer than may wait": {400, "http://good", true, func(s *fakeServer) *fakeSocket {
			s.hub.hold = make(chan struct{})
			x := s.connect(request("?user=u", origin) + strings.Repeat("x", 400))
			if x.arrive(strings.Repeat("x", 600)); len(x.got) > 0 {
				s.t.Errorf("refused within the bound: %q", x.got)
			}
			x.arrive("x")
			close(s.hub.hold)
			s.hub.pending.Wait()
			return x
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeServer(t, Options{MaxConns: 1, Settings: Settings{MaxHeader: 1000, QueueBytes: 1000}})
			x := tc.do(s)
			if got, want := s.hub.refused, []string{fmt.Sprint(tc.status, " ", tc.origin, " 192.0.2.1")}; !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			if got := s.Stats().Handshakes[tc.status]; got != 1 {
				t.Errorf("%d are counted", got)
			}
			if got := string(x.got); !strings.HasPrefix(got, fmt.Sprint("HTTP/1.1 ", tc.status, " ")) || strings.Contains(got, "Allow-Origin: http://good") != tc.allow {
				t.Errorf("sent %q", got)
			}
			if !x.finished || x.closed {
				t.Errorf("sending is finished: %v, the socket closed: %v", x.finished, x.closed)
			}
			s.tick(21)
			u := s.hub.told("u")
			if !x.closed || u.conn != nil && (!u.closed || u.why != CauseRefused) {
				t.Errorf("after 2 s the socket is closed: %v, the owner told: %v, %v", x.closed, u.closed, u.why)
			}
		})
	}
}

// A pod that is full tells a page so by a close code too, and a balancer that it is well.
func TestOneTooManyIsHeardBeforeItIsRefused(t *testing.T) {
	s := newFakeServer(t, Options{MaxConns: 1})
	s.open("one")
	x := s.connect(request("?refuse=close"))
	_, frame, _ := strings.Cut(string(x.got), "\r\n\r\n")
	if h, _ := wire.ParseHeader([]byte(frame)); !strings.HasPrefix(string(x.got), "HTTP/1.1 101 ") || h.OpCode != wire.OpClose || !strings.Contains(frame, "retry_ms=") {
		t.Errorf("answered %q", x.got)
	}
	if x := s.connect("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(string(x.got), "HTTP/1.1 200 ") {
		t.Errorf("a balancer is answered %q", x.got)
	}
	silent := s.connect("")
	if s.tick(11); !silent.closed || len(silent.got) > 0 {
		t.Errorf("who says nothing for a second is closed: %v, and told %q", silent.closed, silent.got)
	}
	if got := s.Stats().Handshakes; got[503] != 1 || got[101] != 1 || len(got) != 2 {
		t.Errorf("counted as %v", got)
	}
}

func TestThereIsRoomAgainOnceAConnectionHasGone(t *testing.T) {
	s := newFakeServer(t, Options{MaxConns: 1})
	one := s.open("one")
	if x := s.connect(request("?user=two")); !strings.Contains(string(x.got), "\r\nRetry-After: ") {
		t.Errorf("answered %q", x.got)
	}
	s.tick(21) // the refused one has gone
	one.end()
	s.open("two")
}

// Browsers hide the status of a handshake that is refused, but not a close code.
func TestRefusalsByACloseFrame(t *testing.T) {
	for name, c := range map[string]struct {
		query, more string
		refusal     *Refusal
		code        Code // 0: the HTTP answer
		reason      string
	}{
		"401":               {"?refuse=close", "", &Refusal{Status: 401, Reason: "who?"}, wire.CodeUnauthorized, "who?"},
		"403":               {"?refuse=close", "Origin: http://bad\r\n", &Refusal{Status: 403, Reason: "no"}, wire.CodeForbidden, "no"},
		"429":               {"?refuse=close", "", &Refusal{Status: 429, RetryAfter: 5}, wire.CodeTooMany, "retry_ms="},
		"503":               {"?refuse=close", "", &Refusal{Status: 503}, wire.CodeUnavailable, "retry_ms="},
		"a subprotocol":     {"?refuse=close", "Sec-WebSocket-Protocol: x, pushpod.v1\r\n", &Refusal{Status: 401}, wire.CodeUnauthorized, ""},
		"400":               {"?refuse=close", "", &Refusal{Status: 400}, 0, ""},
		"not asked for":     {"?user=u", "", &Refusal{Status: 401}, 0, ""},
		"asked otherwise":   {"?refuse=open", "", &Refusal{Status: 401}, 0, ""},
		"a wrong handshake": {"?refuse=close", "Sec-WebSocket-Version: 13\r\n", &Refusal{Status: 401}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeServer(t, Options{})
			s.hub.check = func(*Request) *Refusal { return c.refusal }
			x := s.connect(request(c.query, c.more))
			if plain := s.connect("GET /ws" + c.query + " HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(string(plain.got), fmt.Sprint("HTTP/1.1 ", c.refusal.Status)) {
				t.Errorf("a plain GET: %q", plain.got)
			}
			head, frame, _ := strings.Cut(string(x.got), "\r\n\r\n")
			if c.code == 0 {
				if !strings.HasPrefix(head, "HTTP/1.1 4") {
					t.Errorf("answered %q", head)
				}
				return
			}
			h, _ := wire.ParseHeader([]byte(frame))
			if !strings.HasPrefix(head, "HTTP/1.1 101 ") || strings.Contains(head, "pushpod.v1") != strings.Contains(c.more, "pushpod.v1") || h.OpCode != wire.OpClose || int(h.Total()) != len(frame) {
				t.Fatalf("answered %q", x.got)
			}
			code, _ := wire.ParseClose([]byte(frame)[h.Size:])
			reason := frame[h.Size+2:]
			if code != c.code || !strings.HasPrefix(reason, c.reason) {
				t.Errorf("closed with %d %q", code, reason)
			}
			if ms, retry := strings.CutPrefix(reason, "retry_ms="); retry {
				if n, err := strconv.Atoi(ms); err != nil || n < 1000*max(1, c.refusal.RetryAfter) {
					t.Errorf("retry after %s ms", ms)
				}
			}
			if got := s.Stats(); got.Handshakes[c.refusal.Status] != 2 || got.Handshakes[101] != 0 {
				t.Errorf("counted as %v", got.Handshakes)
			}
			if !x.finished || len(s.hub.refused) != 2 {
				t.Errorf("sending is finished: %v, told: %q", x.finished, s.hub.refused)
			}
			if s.tick(21); !x.closed {
				t.Error("it is open after 2 s")
			}
		})
	}
}
