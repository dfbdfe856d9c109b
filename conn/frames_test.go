package conn

import (
	"bytes"
	"encoding/binary"
	"fmt"
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
		first := []byte(request("?user=u"))
		for i := range 300 { // more than is read at once
			first = append(first, text(strings.Repeat("x", i))...)
		}
		c.send(first)
		c.wantUpgrade()
		c.wantText("welcome", welcome)
		for i := range 300 {
			c.wantText("early", strings.Repeat("x", i))
		}
		c.closeNow()
	})
}

func TestRequestAndFramesMayBeSplitAtAnyByte(t *testing.T) {
	long := strings.Repeat("x", 300)
	all := request("?user=u") + string(slices.Concat(text("short"), frame(ws.OpText, false, []byte("frag")), frame(ws.OpPing, true, []byte("p")),
		frame(ws.OpContinuation, true, []byte("ment é")), text(long)))
	want := slices.Concat(textOf(welcome), textOf("short"), wire.AppendFrame(nil, wire.OpPong, []byte("p")), textOf("fragment é"), textOf(long))
	for i := range len(all) {
		x := newFakeServer(t, Options{}, echoing).connect(all[:i])
		if x.arrive(all[i:]); !bytes.HasPrefix(x.got, []byte("HTTP/1.1 101 ")) || !bytes.HasSuffix(x.got, want) {
			t.Fatalf("split at %d: written %q", i, x.got)
		}
	}
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
	begun := raw(0x01, true, []byte{1}, "a")
	cases := map[string]struct {
		code Code
		send []byte
	}{
		// What a header can be wrong in, and the codes of closes, are tested in wire.
		"not masked":                      {wire.CodeProtocol, raw(0x81, false, []byte{1}, "a")},
		"a reserved bit":                  {wire.CodeProtocol, raw(0xc1, true, []byte{1}, "a")},
		"a reserved opcode":               {wire.CodeProtocol, raw(0x8b, true, []byte{1}, "a")},
		"ping of 126 bytes":               {wire.CodeProtocol, raw(0x89, true, []byte{126, 0, 126}, strings.Repeat("a", 126))},
		"continuation of nothing":         {wire.CodeProtocol, raw(0x80, true, []byte{1}, "a")},
		"continuation of a whole message": {wire.CodeProtocol, slices.Concat(text("a"), raw(0x80, true, []byte{1}, "a"))},
		"text within fragments":           {wire.CodeProtocol, slices.Concat(begun, raw(0x81, true, []byte{1}, "a"))},
		"opcode 3 within fragments":       {wire.CodeProtocol, slices.Concat(begun, raw(0x83, true, []byte{0}, ""))},
		"binary":                          {wire.CodeUnsupported, raw(0x82, true, []byte{1}, "a")},
		"binary in fragments":             {wire.CodeUnsupported, append(raw(0x02, true, []byte{1}, "a"), raw(0x80, true, []byte{1}, "b")...)},
		"length 1 in 16 bits":             {wire.CodeProtocol, raw(0x81, true, []byte{126, 0, 1}, "a")},
		"length limit+1":                  {wire.CodeTooLarge, raw(0x81, true, []byte{126, 1001 >> 8, 1001 & 255}, strings.Repeat("a", 1001))},
		"fragments beyond the limit":      {wire.CodeTooLarge, append(raw(0x01, true, []byte{126, 1000 >> 8, 1000 & 255}, strings.Repeat("a", 1000)), raw(0x80, true, []byte{1}, "a")...)},
		"many fragments beyond the limit": {wire.CodeTooLarge, slices.Concat(begun, bytes.Repeat(raw(0x00, true, []byte{100}, strings.Repeat("a", 100)), 10))},
		"close of one byte":               {wire.CodeProtocol, raw(0x88, true, []byte{1}, "a")},
		"close code 1005":                 {wire.CodeProtocol, closeFrame(1005, "")},
		"close reason not UTF-8":          {wire.CodeBadText, closeFrame(1000, "\xff")},
		"text not UTF-8":                  {wire.CodeBadText, text("\xff")},
		"text cut":                        {wire.CodeBadText, text("a\xe2\x82")},
		"fragments cut":                   {wire.CodeBadText, append(frame(ws.OpText, false, []byte("\xe2\x82")), frame(ws.OpContinuation, true, nil)...)},
		"first fragment can't be a start": {wire.CodeBadText, frame(ws.OpText, false, []byte("a\xff"))},
	}
	for i, bad := 0, "é\xf4\x90\x80\x80"; i <= len(bad); i++ {
		both := append(frame(ws.OpText, false, []byte(bad[:i])), frame(ws.OpContinuation, true, []byte(bad[i:]))...)
		cases[fmt.Sprint("not UTF-8, cut at ", i)] = struct {
			code Code
			send []byte
		}{wire.CodeBadText, both}
	}
	for name, tc := range cases {
		x := newFakeServer(t, Options{Settings: Settings{MaxMessage: 1000}}).open("u")
		x.give(1 << 20)
		if x.arrive(string(tc.send)); x.closed || len(x.got) == 0 || closeFrom(x.got, tc.code) != 0 {
			t.Errorf("%s: written %q", name, x.got)
		}
		if x.arrive(string(closeFrame(wire.CodeNormal, ""))); !x.closed {
			t.Errorf("%s: the close is answered, and TCP does not end", name)
		}
	}
}

func TestGoodClosesAreEchoed(t *testing.T) {
	for _, code := range []Code{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999, wire.CodeNone} {
		x := newFakeServer(t, Options{}).open("u")
		x.arrive(string(frame(ws.OpClose, true, closeOf(code, "bye é")[2:])))
		if x.want("echo", closeOf(code, "")); !x.closed {
			t.Errorf("%d: TCP does not end", code)
		}
	}
}

func TestNothingIsReadBehindAClose(t *testing.T) {
	x := newFakeServer(t, Options{}, echoing).open("u")
	x.arrive(string(text("before")) + string(closeFrame(wire.CodeNormal, "")) + string(text("behind")) + string(raw(0x87, true, []byte{0}, "")))
	x.want("what came before it", textOf("before"), closeOf(wire.CodeNormal, ""))
	x = newFakeServer(t, Options{}, echoing).connect(request("?user=u") + string(closeFrame(wire.CodeNormal, "")))
	if !bytes.HasSuffix(x.got, append(textOf(welcome), closeOf(wire.CodeNormal, "")...)) || !x.closed {
		t.Errorf("in the packet of the handshake: written %q, closed %v", x.got, x.closed)
	}
}

func TestPingsAreAnsweredOneByOneWithTheirPayload(t *testing.T) {
	x := newFakeServer(t, Options{}).open("u")
	x.give(1 << 20)
	var sent string
	var want [][]byte
	for _, payload := range []string{"", "\xff", strings.Repeat("x", wire.MaxControl), "1", "2"} {
		sent += string(frame(ws.OpPing, true, []byte(payload))) + string(frame(ws.OpPong, true, []byte("never asked for")))
		want = append(want, wire.AppendFrame(nil, wire.OpPong, []byte(payload)))
	}
	x.arrive(sent)
	x.want("pongs", want...)
}

func TestFragmentsArePutTogether(t *testing.T) {
	x := newFakeServer(t, Options{}, echoing).open("u")
	var want [][]byte
	for _, whole := range []string{"aé€😀z", ""} { // cut within characters, and of nothing
		for i := range len(whole) + 1 {
			for j := i; j <= len(whole); j++ {
				x.arrive(string(frame(ws.OpText, false, []byte(whole[:i]))))
				x.arrive(string(frame(ws.OpContinuation, false, []byte(whole[i:j]))))
				x.arrive(string(frame(ws.OpContinuation, true, []byte(whole[j:]))) + string(text("")))
				want = append(want, textOf(whole), textOf(""))
			}
		}
	}
	x.want("put together", want...)
}

func TestAMessageOfTheLargestSizeComesThrough(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, echoing)
		c := s.connect(t, "u")
		large := strings.Repeat("x", 64<<10)
		sent := make(chan error, 1)
		go func() { _, err := c.conn.Write(text(large)); sent <- err }()
		c.wantText("large", large)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		c.send(frame(ws.OpText, false, []byte(large[:60000])))
		c.send(frame(ws.OpContinuation, true, []byte(large[60000:])))
		c.wantText("large, in fragments", large)
		c.closeNow()
	})
}

func TestMoreFramesThanAllowedAreRefusedAndThenTooMany(t *testing.T) {
	calm := newFakeServer(t, Options{Settings: Settings{FramesPerSecond: 10}}).open("u")
	for range 30 {
		calm.arrive(string(text("x")))
		calm.s.tick(1)
	}
	if u := calm.s.hub.told("u"); len(u.received) != 30 {
		t.Errorf("%d of 30 messages in 3 s are taken", len(u.received))
	}
	for _, flood := range [][]byte{text("x"), frame(ws.OpPing, true, nil), frame(ws.OpPong, true, nil), frame(ws.OpContinuation, false, nil)} {
		x := newFakeServer(t, Options{Settings: Settings{FramesPerSecond: 10}}).open("u")
		x.give(1 << 20)
		if flood[0] == 0 {
			x.arrive(string(frame(ws.OpText, false, nil)))
		}
		if x.arrive(strings.Repeat(string(flood), 50)); !bytes.HasSuffix(x.got, closeOf(wire.CodePolicy, "rate")) {
			t.Errorf("many of %x: written %q", flood, x.got)
		}
		if u := x.s.hub.told("u"); flood[0] == text("x")[0] && (len(u.received) != 10 || u.limited != 10) {
			t.Errorf("%d are taken, %d refused, want 10 each", len(u.received), u.limited)
		}
	}
}

func TestFramesAreAllowedASecondsWorthAtOnce(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{FramesPerSecond: 10}})
	x := s.open("u")
	s.tick(30) // saves nothing up
	send := func(frames, received, limited int) {
		t.Helper()
		x.arrive(strings.Repeat(string(text("x")), frames))
		if u := s.hub.told("u"); len(u.received) != received || u.limited != limited {
			t.Fatalf("%d are received, %d refused, want %d, %d", len(u.received), u.limited, received, limited)
		}
	}
	send(12, 10, 2)
	s.tick(5) // makes room for five, of which two are owed
	send(4, 13, 3)
	s.tick(10)
	send(9, 22, 3)
	send(10, 22, 13)
	x.want("nothing yet")
	send(1, 22, 13)
	x.want("a second's worth too much", closeOf(wire.CodePolicy, "rate"))
	if n := s.Stats().RateLimited; n != 14 {
		t.Errorf("%d are counted", n)
	}
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
