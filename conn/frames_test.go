package conn

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func echoing(_ *Options, h *fakeHub) { h.echo = true }

func TestFramesInThePacketOfTheHandshakeAreServed(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, echoing)
		c := s.dial(t)
		c.send(append([]byte(request("?user=u")), append(text("one"), text("two")...)...))
		c.wantUpgrade()
		c.wantText("welcome", `{"type":"welcome"}`)
		c.wantText("first", "one")
		c.wantText("second", "two")
		c.closeNow()
	})
}

func TestRequestAndFramesMayBeSplitAtAnyByte(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, echoing)
		all := []byte(request("?user=u"))
		head := len(all)
		all = append(all, text("short")...)
		all = append(all, frame(ws.OpText, false, []byte("frag"))...)
		all = append(all, frame(ws.OpPing, true, []byte("p"))...)
		all = append(all, frame(ws.OpContinuation, true, []byte("ment é"))...)
		all = append(all, text(strings.Repeat("x", 300))...)
		step := 1
		if testing.Short() {
			step = 7
		}
		for i := 1; i < len(all); i += step {
			c := s.dial(t)
			c.send(all[:i])
			if i >= head {
				c.wantUpgrade()
				c.wantText("welcome", `{"type":"welcome"}`)
			}
			c.send(all[i:])
			if i < head {
				c.wantUpgrade()
				c.wantText("welcome", `{"type":"welcome"}`)
			}
			c.wantText("whole", "short")
			if p := c.want("a ping between fragments is answered at once", ws.OpPong); string(p) != "p" {
				t.Fatalf("pong %q", p)
			}
			c.wantText("fragments", "fragment é")
			c.wantText("16-bit length", strings.Repeat("x", 300))
			c.sock.Close()
		}
	})
}

// raw is a frame as a careless or hostile client might make it.
func raw(first byte, masked bool, length []byte, payload string) []byte {
	b := append([]byte{first}, length...)
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, payload...)
}

func TestWrongFramesEndTheConnectionWithTheRightCode(t *testing.T) {
	huge := func(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{127}, n) }
	cases := map[string]struct {
		code Code
		send []byte
	}{
		"not masked":                      {CodeProtocol, raw(0x81, false, []byte{1}, "a")},
		"reserved bit 1":                  {CodeProtocol, raw(0xc1, true, []byte{1}, "a")},
		"reserved bit 2":                  {CodeProtocol, raw(0xa1, true, []byte{1}, "a")},
		"reserved bit 3":                  {CodeProtocol, raw(0x91, true, []byte{1}, "a")},
		"reserved opcode 3":               {CodeProtocol, raw(0x83, true, []byte{1}, "a")},
		"reserved opcode 11":              {CodeProtocol, raw(0x8b, true, []byte{1}, "a")},
		"fragmented ping":                 {CodeProtocol, raw(0x09, true, []byte{0}, "")},
		"ping of 126 bytes":               {CodeProtocol, raw(0x89, true, []byte{126, 0, 126}, strings.Repeat("a", 126))},
		"continuation of nothing":         {CodeProtocol, raw(0x80, true, []byte{1}, "a")},
		"text within fragments":           {CodeProtocol, append(raw(0x01, true, []byte{1}, "a"), raw(0x81, true, []byte{1}, "a")...)},
		"binary":                          {CodeUnsupported, raw(0x82, true, []byte{1}, "a")},
		"length with its top bit":         {CodeProtocol, raw(0x81, true, huge(1<<63), "")},
		"length 2^63-1":                   {CodeTooLarge, raw(0x81, true, huge(1<<63-1), "")},
		"length 2^31":                     {CodeTooLarge, raw(0x81, true, huge(1<<31), "")},
		"length limit+1":                  {CodeTooLarge, raw(0x81, true, huge(1001), "")},
		"fragments beyond the limit":      {CodeTooLarge, append(raw(0x01, true, huge(1000), strings.Repeat("a", 1000)), raw(0x80, true, []byte{1}, "a")...)},
		"close of one byte":               {CodeProtocol, raw(0x88, true, []byte{1}, "a")},
		"close code 999":                  {CodeProtocol, closeFrame(999, "")},
		"close code 1004":                 {CodeProtocol, closeFrame(1004, "")},
		"close code 1005":                 {CodeProtocol, closeFrame(1005, "")},
		"close code 1006":                 {CodeProtocol, closeFrame(1006, "")},
		"close code 1015":                 {CodeProtocol, closeFrame(1015, "")},
		"close code 2000":                 {CodeProtocol, closeFrame(2000, "")},
		"close code 5000":                 {CodeProtocol, closeFrame(5000, "")},
		"close reason not UTF-8":          {CodeBadText, closeFrame(1000, "\xff")},
		"text not UTF-8":                  {CodeBadText, text("\xff")},
		"text overlong":                   {CodeBadText, text("\xc0\xaf")},
		"text surrogate":                  {CodeBadText, text("\xed\xa0\x80")},
		"text beyond U+10FFFF":            {CodeBadText, text("\xf4\x90\x80\x80")},
		"text cut":                        {CodeBadText, text("a\xe2\x82")},
		"fragments cut":                   {CodeBadText, append(frame(ws.OpText, false, []byte("\xe2\x82")), frame(ws.OpContinuation, true, nil)...)},
		"first fragment can't be a start": {CodeBadText, frame(ws.OpText, false, []byte("a\xff"))},
	}
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.MaxMessage = 1000 })
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				c := s.connect(t, "u")
				c.send(tc.send)
				c.wantClose(name, tc.code)
				c.send(closeFrame(CodeNormal, ""))
				c.sock.CloseWrite()
				c.wantEOF("after the close")
			})
		}
	})
}

func TestGoodClosesAreEchoed(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		for _, code := range []Code{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
			c := s.connect(t, "u")
			c.send(closeFrame(code, "bye é"))
			c.wantClose("echo", code)
			c.wantEOF("the server ends TCP")
		}
		c := s.connect(t, "u")
		c.send(frame(ws.OpClose, true, nil))
		c.wantClose("echo of a close without a code", codeNone)
		c.wantEOF("the server ends TCP")
	})
}

func TestUTF8IsCheckedAcrossFragments(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, echoing)
		whole := "aé€😀z"
		for i := range len(whole) + 1 {
			for j := i; j <= len(whole); j++ {
				c := s.connect(t, "u")
				c.send(frame(ws.OpText, false, []byte(whole[:i])))
				c.send(frame(ws.OpContinuation, false, []byte(whole[i:j])))
				c.send(frame(ws.OpContinuation, true, []byte(whole[j:])))
				c.wantText("put together", whole)
				c.sock.Close()
			}
		}
	})
}

func TestEmptyTextsAndFragmentsAreMessages(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, echoing)
		c := s.connect(t, "u")
		c.send(text(""))
		c.wantText("empty", "")
		for range 20 {
			c.send(frame(ws.OpText, false, nil))
			for range 3 {
				c.send(frame(ws.OpContinuation, false, nil))
			}
			c.send(frame(ws.OpContinuation, true, nil))
			c.wantText("of empty fragments", "")
		}
		c.closeNow()
	})
}

func TestAMessageOfTheLargestSizeComesThrough(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, echoing)
		c := s.connect(t, "u")
		large := strings.Repeat("x", 64<<10)
		sent := make(chan error, 1)
		go func() { _, err := c.sock.Write(text(large)); sent <- err }()
		c.wantText("large", large)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		c.closeNow()
	})
}

func TestMoreFramesThanAllowedAreRefusedAndThenTooMany(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.FramesPerSecond = 10 })
		c := s.connect(t, "u")
		c.send(bytes.Repeat(text("x"), 15))
		eventually(t, "some are refused", func() bool {
			s.hub.mu.Lock()
			defer s.hub.mu.Unlock()
			return s.hub.limited["u"] >= 1 && len(s.hub.received["u"]) >= 10
		})
		c.send(bytes.Repeat(frame(ws.OpPong, true, nil), 50))
		if reason := c.wantClose("a client that goes on", CodePolicy); reason != "rate" {
			t.Fatalf("reason %q", reason)
		}
	})
}

func FuzzFrames(f *testing.F) {
	for _, seed := range [][]byte{
		text("hello"), closeFrame(1000, "x"), frame(ws.OpText, false, []byte("a")), frame(ws.OpPing, true, []byte("p")),
		raw(0x81, false, []byte{1}, "a"), raw(0x81, true, binary.BigEndian.AppendUint64([]byte{127}, 1<<63-1), ""),
		append(frame(ws.OpText, false, []byte("\xe2")), frame(ws.OpContinuation, true, []byte("\x82\xac"))...),
	} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		one, hub := fuzzConn()
		two, hub2 := fuzzConn()
		one.input(append([]byte(nil), b...))
		if split = max(1, split%16); len(b) > 4096 {
			return
		}
		for rest := append([]byte(nil), b...); len(rest) > 0; {
			n := min(split, len(rest))
			if two.state != stateClosed {
				two.input(rest[:n:n])
			}
			rest = rest[n:]
		}
		if a, b := hub.received[""], hub2.received[""]; len(a) != len(b) || strings.Join(a, "\x00") != strings.Join(b, "\x00") || one.state != two.state {
			t.Fatalf("split at %d: %q in state %d, whole: %q in state %d", split, b, two.state, a, one.state)
		}
	})
}

// sink is a transport that takes everything.
type sink struct{}

func (sink) run()                                 {}
func (sink) stop()                                {}
func (sink) timer(bool)                           {}
func (sink) write(_ *Conn, b []byte) (int, error) { return len(b), nil }
func (sink) armWrite(*Conn, bool)                 {}
func (sink) finish(*Conn)                         {}
func (sink) close(*Conn)                          {}

func fuzzConn() (*Conn, *fakeHub) {
	hub := newFakeHub()
	s := New(Options{Handler: hub, Loops: 1, MaxMessage: 1000})
	l := s.loops[0]
	l.io = sink{}
	c := l.add(-1, [16]byte{})
	s.conns.Add(1)
	l.pending--
	l.open++
	c.state = stateOpen
	return c, hub
}
