package conn

import (
	"fmt"
	"testing"
	"time"
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
			s.push(t, Push{Close: true, CloseCode: CodeNormal}, "", fmt.Sprint("u", i))
		}
		s.flush()
		for i := 2; i < n; i += 10 {
			eventually(t, "it is noticed that one has gone", func() bool { _, gone := s.hub.cause(fmt.Sprint("u", i)); return gone })
		}
		row := make([]Welcome, n)
		for i, c := range conns {
			row[i] = Welcome{c, fmt.Appendf(nil, "welcome %d", i)}
		}
		s.AcceptAll(row)
		for i, c := range clients {
			if i%10 == 2 {
				continue
			}
			c.wantUpgrade()
			c.wantText("the welcome", fmt.Sprint("welcome ", i))
			switch i % 10 {
			case 0:
				eventually(t, "what came early is received", func() bool {
					s.hub.mu.Lock()
					defer s.hub.mu.Unlock()
					return fmt.Sprint(s.hub.received[fmt.Sprint("u", i)]) == "[early]"
				})
			case 1:
				c.wantText("what was pushed meanwhile", "pushed")
			case 3:
				c.wantClose("it was closed meanwhile", CodeNormal)
			}
		}
		if got := s.Stats().Handshakes[101]; got != n-n/10 {
			t.Errorf("%d handshakes are counted, want %d", got, n-n/10)
		}
	})
}

// slowSender takes limit bytes of each send.
type slowSender struct {
	limit             int
	prepared, results []int // bytes
	sent              int
}

func (s *slowSender) add(_ int32, bufs [][]byte) {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	s.prepared = append(s.prepared, min(n, s.limit))
}

func (s *slowSender) send() {
	s.results, s.prepared = s.prepared, s.results[:0]
	s.sent += len(s.results)
}

func (s *slowSender) result(i int) (int, error) { return s.results[i], nil }
func (s *slowSender) usable() bool              { return true }
func (s *slowSender) trim()                     {}
func (s *slowSender) close()                    {}

// senderServer is sinkServer with a sender.
func senderServer(n int, sender *slowSender) (*Server, []*Conn) {
	s, conns := sinkServer(n)
	s.loops[0].sender = sender
	return s, conns
}

func TestAPingThatASenderTakesInPartIsFinishedLater(t *testing.T) {
	for name, c := range map[string]struct {
		taken, left int
	}{"nothing": {0, 2}, "half of it": {1, 1}, "all of it": {2, 0}} {
		s, conns := senderServer(1, &slowSender{limit: c.taken})
		l := s.loops[0]
		l.mu.Lock()
		conns[0].sendShared(s.wsPing, true)
		l.complete()
		if conns[0].out == nil {
			if c.left > 0 {
				t.Errorf("%s is taken: nothing waits, want %d bytes", name, c.left)
			}
		} else if b := conns[0].gather(); len(b) != c.left || string(b) != string(s.wsPing.frame[2-c.left:]) {
			t.Errorf("%s is taken: %x waits", name, b)
		}
		l.mu.Unlock()
	}
}

// TestNothingIsSentToASocketThatWasClosed: its descriptor may be another's by then.
func TestNothingIsSentToASocketThatWasClosed(t *testing.T) {
	sender := &slowSender{limit: 100}
	s, conns := senderServer(2, sender)
	l := s.loops[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	s.conns.Add(2)
	l.open = 2
	for _, c := range conns {
		c.sendShared(s.wsPing, true)
	}
	conns[0].end(CauseDead)
	if sender.sent != 2 {
		t.Errorf("%d of 2 pings were sent when the socket was closed", sender.sent)
	}
	l.complete()
	if sender.sent != 2 {
		t.Errorf("%d pings were sent, want 2", sender.sent)
	}
}

func TestPingsToManyAreLifted(t *testing.T) {
	sender := &slowSender{limit: 100}
	s, conns := senderServer(64, sender)
	l := s.loops[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	s.opts.Ping = 2 * tick
	for _, c := range conns {
		c.pingEach = 1
		l.open++
		c.pingAt = l.wheel.now + 1
		c.schedule()
	}
	l.wheel.last = time.Now().Add(-tick)
	l.advance()
	if sender.sent != len(conns) || l.pings != uint64(len(conns)) {
		t.Errorf("%d of %d pings went through the sender; %d were due", sender.sent, len(conns), l.pings)
	}
}
