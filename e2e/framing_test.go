package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// part returns a data frame that is not the whole message.
func part(opcode byte, fin bool, payload string) rawFrame {
	if fin {
		opcode |= finBit
	}
	return rawFrame{first: opcode, payload: []byte(payload)}
}

// framingPod is for tests that send many frames: they are not what is limited.
func framingPod(t *testing.T) *pod {
	return startPod(t, startRedis(t), quick().with("limits.frames_per_second", "0", "limits.per_user", "0"))
}

// Errors of framing (RFC 6455 sections 5 and 7, as in Autobahn's cases) close
// the connection with the right code.
func TestFramingErrors(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	type test struct {
		name string
		code int
		send []byte
	}
	ping := text(`{"type":"ping","id":"x"}`)
	tests := []test{
		{"unmasked text", 1002, rawFrame{first: finBit | opText, unmasked: true, payload: []byte("{}")}.bytes()},
		{"unmasked ping", 1002, rawFrame{first: finBit | opPing, unmasked: true}.bytes()},
		{"unmasked empty text", 1002, rawFrame{first: finBit | opText, unmasked: true}.bytes()},

		{"fragmented ping", 1002, join(rawFrame{first: opPing}, part(opContinuation, true, ""))},
		{"fragmented pong", 1002, rawFrame{first: opPong, payload: []byte("x")}.bytes()},
		{"fragmented close", 1002, rawFrame{first: opClose, payload: []byte{3, 232}}.bytes()},
		{"ping of 126 bytes", 1002, control(opPing, strings.Repeat("x", 126)).bytes()},
		{"pong of 126 bytes", 1002, control(opPong, strings.Repeat("x", 126)).bytes()},
		{"ping of 64 KiB", 1002, control(opPing, strings.Repeat("x", 64<<10)).bytes()},
		{"close of 126 bytes", 1002, closing(1000, strings.Repeat("x", 124)).bytes()},
		{"ping that declares 2^63-1 bytes", 1002, rawFrame{first: finBit | opPing, declared: 1<<63 - 1}.bytes()},

		{"continuation without a start", 1002, part(opContinuation, true, "x").bytes()},
		{"continuation without a start or an end", 1002, part(opContinuation, false, "x").bytes()},
		{"continuation after a whole message", 1002, join(ping, part(opContinuation, true, ""))},
		{"text within fragments", 1002, join(part(opText, false, "{"), text("{}"))},
		{"text start within fragments", 1002, join(part(opText, false, "{"), part(opText, false, "}"))},

		{"binary", 1003, rawFrame{first: finBit | opBinary, payload: []byte("{}")}.bytes()},
		{"empty binary", 1003, rawFrame{first: finBit | opBinary}.bytes()},
		{"binary in fragments", 1003, join(part(opBinary, false, "x"), part(opContinuation, true, "y"))},

		{"declares 2^63-1 bytes", 1009, rawFrame{first: finBit | opText, declared: 1<<63 - 1}.bytes()},
		{"declares 2^63 bytes", 1002, rawFrame{first: finBit | opText, declared: 1 << 63}.bytes()},
		{"declares 2^64-1 bytes", 1002, rawFrame{first: finBit | opText, declared: 1<<64 - 1}.bytes()},
		{"declares 2^31 bytes", 1009, rawFrame{first: finBit | opText, declared: 1 << 31}.bytes()},
		{"declares 2^32 bytes", 1009, rawFrame{first: finBit | opText, declared: 1 << 32}.bytes()},
		{"declares conn.max_message + 1", 1009, rawFrame{first: finBit | opText, declared: 64<<10 + 1}.bytes()},
		{"conn.max_message + 1", 1009, text(strings.Repeat("x", 64<<10+1)).bytes()},
		{"conn.max_message + 1 in two fragments", 1009, join(part(opText, false, strings.Repeat("x", 64<<10)), part(opContinuation, true, "x"))},
		{"conn.max_message + 1 in many fragments", 1009, append(join(part(opText, false, "x")), []byte(strings.Repeat(string(part(opContinuation, false, strings.Repeat("x", 1<<10)).bytes()), 64))...)},

		{"close of one byte", 1002, control(opClose, "\x03").bytes()},
		{"close with a reason that is not UTF-8", 1007, closing(1000, "\xff").bytes()},
		{"close with a surrogate in its reason", 1007, closing(1000, "\xed\xa0\x80").bytes()},
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		tests = append(tests,
			test{fmt.Sprintf("reserved bits %03b on text", rsv), 1002, rawFrame{first: finBit | rsv<<4 | opText, payload: []byte("{}")}.bytes()},
			test{fmt.Sprintf("reserved bits %03b on ping", rsv), 1002, rawFrame{first: finBit | rsv<<4 | opPing}.bytes()},
			test{fmt.Sprintf("reserved bits %03b on close", rsv), 1002, rawFrame{first: finBit | rsv<<4 | opClose, payload: []byte{3, 232}}.bytes()})
	}
	for _, opcode := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		tests = append(tests,
			test{fmt.Sprintf("reserved opcode %#x", opcode), 1002, rawFrame{first: finBit | opcode, payload: []byte("x")}.bytes()},
			test{fmt.Sprintf("reserved opcode %#x, empty, within fragments", opcode), 1002, join(part(opText, false, "{"), rawFrame{first: finBit | opcode})})
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		tests = append(tests, test{fmt.Sprintf("close with code %d", code), 1002, closing(code, "x").bytes()})
	}
	for _, test := range tests {
		c := dial(t, p, "alice")
		_ = c.trySend(test.send)
		wantCode(t, c, test.name, test.code)
	}
	wantEntries(t, p.redisClient(), "alice", settle, nil)
	p.wantMetric("all are closed", 0, "pushpod_connections")
	dial(t, p, "alice").check("after all those")
}

// wantCode waits for a close frame of that code behind whatever was answered
// before the fault, and hangs up; it goes on with the test where it is wrong.
func wantCode(t *testing.T, c *client, name string, code int) {
	t.Helper()
	f, ok := c.take(settle, func(f received) bool { return f.err == nil && f.opcode != opClose })
	switch {
	case !ok:
		t.Errorf("%s: no close frame, want %d", name, code)
	case f.err != nil:
		t.Errorf("%s: %v, want close %d", name, f, code)
	case f.code != code:
		t.Errorf("%s: %v, want %d", name, f, code)
	}
	c.vanish()
}

// Whatever the pod closes a connection for, TCP ends once the peer has answered
// its close frame, not seconds later.
func TestAnsweredCloseEndsTCP(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	clients := make(map[string]*client)
	for name, send := range map[string][]byte{
		"1002, unmasked":       rawFrame{first: finBit | opText, unmasked: true, payload: []byte("{}")}.bytes(),
		"1002, continuation":   part(opContinuation, true, "x").bytes(),
		"1002, a close frame":  control(opClose, "\x03").bytes(),
		"1003, binary":         rawFrame{first: finBit | opBinary, payload: []byte("{}")}.bytes(),
		"1007, not UTF-8":      text("\xff").bytes(),
		"1009, a whole frame":  text(strings.Repeat("x", 64<<10+1)).bytes(),
		"1009, many fragments": join(part(opText, false, strings.Repeat("x", 64<<10)), part(opContinuation, true, "x")),
	} {
		clients[name] = dial(t, p, "alice")
		_ = clients[name].trySend(send)
	}
	closed := dial(t, p, "bob")
	publish(t, p.redisClient(), p.channel, `{"user":"bob","close":{"code":4100,"reason":"x"}}`)
	clients["4100, by the producer"] = closed
	for name, c := range clients {
		f, ok := c.take(settle, pings)
		if !ok || f.err != nil || f.opcode != opClose {
			t.Errorf("%s: got %v (%v), want a close frame", name, f, ok)
			continue
		}
		if end, ok := c.take(5*time.Second+slack, pings); !ok || end.err == nil {
			t.Errorf("%s: %v (%v) after the close frame, want the end", name, end, ok)
		} else if took := end.at.Sub(f.at); took > slack {
			t.Errorf("%s: TCP ended %v after the answered close frame, want at once", name, took.Round(time.Millisecond))
		}
	}
}

// Text that is not UTF-8 is refused wherever it is split.
func TestTextThatIsNotUTF8(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	for name, bad := range map[string]string{
		"a lone byte":         "\xff",
		"a continuation":      "\x80",
		"overlong":            "\xc0\xaf",
		"overlong in three":   "\xe0\x80\xaf",
		"a surrogate":         "\xed\xa0\x80",
		"above U+10FFFF":      "\xf4\x90\x80\x80",
		"a cut character":     "\xe2\x82",
		"a cut character, ok": "κόσμε\xf0\x9f\x98",
	} {
		message := `{"type":"ping","id":"` + bad + `"}`
		c := dial(t, p, "alice")
		_ = c.trySend(text(message).bytes())
		wantCode(t, c, name, 1007)
	}
	message := "{\"a\":\"κό\xf4\x90\x80\x80\"}"
	for i := range len(message) {
		c := dial(t, p, "alice")
		_ = c.trySend(join(part(opText, false, message[:i]), part(opContinuation, true, message[i:])))
		wantCode(t, c, fmt.Sprintf("split at %d", i), 1007)
	}
	// Cut at the message's end, and within a character across an empty fragment.
	c := dial(t, p, "alice")
	_ = c.trySend(join(part(opText, false, "\"\xe2\x82"), part(opContinuation, false, ""), part(opContinuation, true, "")))
	wantCode(t, c, "the message ends within a character", 1007)
}

// What is right is taken, however it is cut.
func TestFramesArePutTogether(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	c := dial(t, p, "alice")
	message := `{"type":"ping","id":"κόσμε 😀"}`
	answered := func(why string) {
		t.Helper()
		c.wantReceipt(why, "κόσμε 😀", "accepted", "")
	}
	for i := range len(message) + 1 {
		c.send(join(part(opText, false, message[:i]), part(opContinuation, true, message[i:])))
		answered(fmt.Sprintf("two fragments, cut at byte %d", i))
	}
	var frames []rawFrame
	for i := range len(message) {
		frames = append(frames, part(opContinuation, false, message[i:i+1]), part(opContinuation, false, ""))
	}
	frames[0].first = opText
	c.send(join(append(frames, part(opContinuation, true, ""))...))
	answered("a fragment for each byte")

	for _, b := range text(message).bytes() { // in packets of one byte
		c.send([]byte{b})
		time.Sleep(time.Millisecond)
	}
	answered("a packet for each byte")

	c.send(join(part(opText, false, message[:5]), control(opPing, "amid"), part(opContinuation, true, message[5:])))
	c.wantPong("a ping between fragments", "amid")
	answered("around a ping")

	for i, n := range []int{0, 1, 125} {
		payload := strings.Repeat("\xff", n) // a ping's payload need not be text
		c.send(control(opPing, payload).bytes())
		c.wantPong(fmt.Sprint("ping ", i), payload)
	}
	c.send(join(control(opPong, "never asked for"), control(opPong, "")))
	c.send(join(control(opPing, "1"), control(opPing, "2"), control(opPing, "3")))
	for _, payload := range []string{"1", "2", "3"} {
		c.wantPong("pings in one packet", payload)
	}
	c.send(join(text(message), text(message), text(message)))
	for range 3 {
		answered("messages in one packet")
	}

	// As large as conn.max_message, at once and in fragments.
	envelope := `{"type":"request","id":"x","data":""}`
	large := strings.Replace(envelope, `""`, `"`+strings.Repeat("x", 64<<10-len(envelope))+`"`, 1)
	c.send(text(large).bytes())
	c.wantReceipt("conn.max_message", "x", "accepted", "")
	c.send(join(part(opText, false, large[:60000]), part(opContinuation, true, large[60000:])))
	c.wantReceipt("conn.max_message in fragments", "x", "accepted", "")

	// Around the bounds of the three forms of a length.
	for _, n := range []int{125, 126, 127, 65535} {
		padded := fmt.Sprintf(`{"type":"ping","id":"x","p":"%s"}`, strings.Repeat("y", max(0, n-len(`{"type":"ping","id":"x","p":""}`))))
		c.send(text(padded).bytes())
		c.wantReceipt(fmt.Sprint("a message of ", len(padded), " bytes"), "x", "accepted", "")
	}
	c.leave()
}

func TestCloseIsAnswered(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		c := dial(t, p, "alice")
		c.send(closing(code, "gone é").bytes())
		f, ok := c.take(settle, pings)
		if !ok || f.err != nil || f.opcode != opClose || f.code != code && f.code != 1000 {
			t.Errorf("close %d: got %v (%v), want the close frame answered", code, f, ok)
			continue
		}
		c.wantEnd("both have said it", settle)
	}
	c := dial(t, p, "alice")
	c.send(control(opClose, "").bytes())
	if f, ok := c.take(settle, pings); !ok || f.err != nil || f.opcode != opClose || f.code != 1005 && f.code != 1000 {
		t.Errorf("close without a code: got %v (%v), want the close frame answered", f, ok)
	}
	c.wantEnd("both have said it", settle)

	// What follows a close frame is not looked at.
	c = dial(t, p, "alice")
	_ = c.trySend(join(closing(1000, ""), text(`{"type":"ping","id":"x"}`), rawFrame{first: finBit | 7}))
	c.wantClose("frames behind a close frame", 1000)
	c.wantEnd("frames behind a close frame", settle)

	// What came before it is.
	c = dial(t, p, "alice")
	_ = c.trySend(join(text(`{"type":"ping","id":"x"}`), closing(1000, "")))
	c.wantReceipt("a frame before a close frame", "x", "accepted", "")
	c.wantClose("a frame before a close frame", 1000)

	wantEntries(t, p.redisClient(), "alice", settle, nil)
}

// The pod does not wait for ever for the answer to its close frame.
func TestPeerThatDoesNotAnswerClose(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	silent, chatty := dial(t, p, "alice", mute()), dial(t, p, "bob", mute())
	for _, c := range []*client{silent, chatty} {
		c.send(rawFrame{first: finBit | opText, unmasked: true, payload: []byte("{}")}.bytes())
	}
	stop := make(chan struct{})
	talked := make(chan struct{})
	go func() { // never stops talking, until the test's end
		defer close(talked)
		for chatty.trySend(control(opPing, "x").bytes()) == nil {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	defer func() { close(stop); <-talked }()
	for _, c := range []*client{silent, chatty} {
		closed := c.wantClose("a framing error", 1002)
		end := c.wantEnd("no answer to the close frame", 5*time.Second+slack)
		t.Logf("%s: the end %v after the close frame", c.name, end.at.Sub(closed.at).Round(time.Millisecond))
	}
	wantEntries(t, p.redisClient(), "alice", settle, nil)
	wantEntries(t, p.redisClient(), "bob", settle, nil)
}

// A socket that is reset in any state leaves nothing behind.
func TestResetLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	before := p.openFiles()
	for state, send := range map[string][]byte{
		"idle":             nil,
		"within a header":  {finBit | opText, 0x80 | 126, 1},
		"within a frame":   text(`{"type":"ping"}`).bytes()[:10],
		"within fragments": part(opText, false, "{").bytes(),
		"behind a request": text(`{"type":"request","id":"x","data":1}`).bytes(),
		"closing":          closing(1000, "").bytes(),
		"failing":          {finBit | 7, 0x80},
	} {
		for range 5 {
			c := dial(t, p, "alice", sleeper())
			if send != nil {
				c.send(send)
			}
			reset(t, c.conn)
		}
		t.Log("reset while", state)
	}
	wantEntries(t, p.redisClient(), "alice", settle, nil)
	p.wantMetric("all are gone", 0, "pushpod_connections")
	eventually(t, "descriptors are given back", settle, func() (bool, any) {
		n := p.openFiles()
		return n <= before+2, fmt.Sprintf("%d, before %d", n, before)
	})
}
