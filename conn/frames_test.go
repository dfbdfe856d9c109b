package conn

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"pushpod/conn/internal/wire"
)

func echoing(_ *Options, h *fakeHub) { h.echo = true }

func TestFramesInThePacketOfTheHandshakeAreServed(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, echoing)
		c := s.dial(t)
		c.send(append([]byte(request("?user=u")), append(text("one"), text("two")...)...))
		c.wantUpgrade()
		c.wantText("welcome", welcome)
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
				c.wantText("welcome", welcome)
			}
			c.send(all[i:])
			if i < head {
				c.wantUpgrade()
				c.wantText("welcome", welcome)
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
		"not masked":                      {wire.CodeProtocol, raw(0x81, false, []byte{1}, "a")},
		"reserved bit 1":                  {wire.CodeProtocol, raw(0xc1, true, []byte{1}, "a")},
		"reserved bit 2":                  {wire.CodeProtocol, raw(0xa1, true, []byte{1}, "a")},
		"reserved bit 3":                  {wire.CodeProtocol, raw(0x91, true, []byte{1}, "a")},
		"reserved opcode 3":               {wire.CodeProtocol, raw(0x83, true, []byte{1}, "a")},
		"reserved opcode 11":              {wire.CodeProtocol, raw(0x8b, true, []byte{1}, "a")},
		"fragmented ping":                 {wire.CodeProtocol, raw(0x09, true, []byte{0}, "")},
		"ping of 126 bytes":               {wire.CodeProtocol, raw(0x89, true, []byte{126, 0, 126}, strings.Repeat("a", 126))},
		"continuation of nothing":         {wire.CodeProtocol, raw(0x80, true, []byte{1}, "a")},
		"text within fragments":           {wire.CodeProtocol, append(raw(0x01, true, []byte{1}, "a"), raw(0x81, true, []byte{1}, "a")...)},
		"binary":                          {wire.CodeUnsupported, raw(0x82, true, []byte{1}, "a")},
		"length with its top bit":         {wire.CodeProtocol, raw(0x81, true, huge(1<<63), "")},
		"length 1 in 16 bits":             {wire.CodeProtocol, raw(0x81, true, []byte{126, 0, 1}, "a")},
		"length 126 in 64 bits":           {wire.CodeProtocol, raw(0x81, true, huge(126), strings.Repeat("a", 126))},
		"length 1 of a ping in 16 bits":   {wire.CodeProtocol, raw(0x89, true, []byte{126, 0, 1}, "a")},
		"length 2^63-1":                   {wire.CodeTooLarge, raw(0x81, true, huge(1<<63-1), "")},
		"length 2^31":                     {wire.CodeTooLarge, raw(0x81, true, huge(1<<31), "")},
		"length limit+1":                  {wire.CodeTooLarge, raw(0x81, true, []byte{126, 1001 >> 8, 1001 & 255}, "")},
		"fragments beyond the limit":      {wire.CodeTooLarge, append(raw(0x01, true, []byte{126, 1000 >> 8, 1000 & 255}, strings.Repeat("a", 1000)), raw(0x80, true, []byte{1}, "a")...)},
		"close of one byte":               {wire.CodeProtocol, raw(0x88, true, []byte{1}, "a")},
		"close code 999":                  {wire.CodeProtocol, closeFrame(999, "")},
		"close code 1004":                 {wire.CodeProtocol, closeFrame(1004, "")},
		"close code 1005":                 {wire.CodeProtocol, closeFrame(1005, "")},
		"close code 1006":                 {wire.CodeProtocol, closeFrame(1006, "")},
		"close code 1015":                 {wire.CodeProtocol, closeFrame(1015, "")},
		"close code 2000":                 {wire.CodeProtocol, closeFrame(2000, "")},
		"close code 5000":                 {wire.CodeProtocol, closeFrame(5000, "")},
		"close reason not UTF-8":          {wire.CodeBadText, closeFrame(1000, "\xff")},
		"text not UTF-8":                  {wire.CodeBadText, text("\xff")},
		"text overlong":                   {wire.CodeBadText, text("\xc0\xaf")},
		"text surrogate":                  {wire.CodeBadText, text("\xed\xa0\x80")},
		"text beyond U+10FFFF":            {wire.CodeBadText, text("\xf4\x90\x80\x80")},
		"text cut":                        {wire.CodeBadText, text("a\xe2\x82")},
		"fragments cut":                   {wire.CodeBadText, append(frame(ws.OpText, false, []byte("\xe2\x82")), frame(ws.OpContinuation, true, nil)...)},
		"first fragment can't be a start": {wire.CodeBadText, frame(ws.OpText, false, []byte("a\xff"))},
	}
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.MaxMessage = 1000 })
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				c := s.connect(t, "u")
				c.send(tc.send)
				c.wantClose(name, tc.code)
				c.send(closeFrame(wire.CodeNormal, ""))
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
		c.wantClose("echo of a close without a code", wire.CodeNone)
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
			u := s.hub.told("u")
			return u.limited >= 1 && len(u.received) >= 10
		})
		c.send(bytes.Repeat(frame(ws.OpPong, true, nil), 50))
		if reason := c.wantClose("a client that goes on", wire.CodePolicy); reason != "rate" {
			t.Fatalf("reason %q", reason)
		}
	})
}

// Whatever a client sends, in whatever pieces: it is understood as the whole is.
func FuzzInput(f *testing.F) {
	head := request("?user=")
	for _, seed := range []string{
		request("?user=&ping=app,30", "Origin: http://x\r\n"), "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.0\r\n\r\n", "\x16\x03\x01", "GET /healthz HTTP/1.0\r\n\r\n",
		head + string(text("hello")), head + string(closeFrame(1000, "x")), head + string(frame(ws.OpText, false, []byte("a"))), head + string(frame(ws.OpPing, true, []byte("p"))),
		head + string(raw(0x81, false, []byte{1}, "a")), head + string(raw(0x81, true, binary.BigEndian.AppendUint64([]byte{127}, 1<<63-1), "")),
		head + string(frame(ws.OpText, false, []byte("\xe2"))) + string(frame(ws.OpContinuation, true, []byte("\x82\xac"))),
		head + string(text("\xff")) + string(text("not read")) + string(closeFrame(1000, "")),
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		if split = max(1, split%64); len(b) > 4096 {
			return
		}
		whole, parts := newFakeServer(t, Options{Settings: Settings{MaxMessage: 1000}}, echoing), newFakeServer(t, Options{Settings: Settings{MaxMessage: 1000}}, echoing)
		one, two := whole.connect(string(b)), parts.connect("")
		for part := range slices.Chunk(b, split) {
			two.arrive(string(part))
		}
		if !bytes.Equal(one.got, two.got) || one.closed != two.closed {
			t.Fatalf("whole: %q, closed %v; split at %d: %q, closed %v", one.got, one.closed, split, two.got, two.closed)
		}
	})
}
