package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// framingPod is for tests that send many frames: they are not what is limited.
func framingPod(t *testing.T) *pod {
	return startPod(t, startRedis(t), quick().with("limits.frames_per_second", "0", "limits.per_user", "0"))
}

// conn and its wire have the cases of RFC 6455; here is one of each code.
func TestFramingErrors(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	for name, test := range map[string]struct {
		code int
		send []byte
	}{
		"unmasked":               {1002, unmasked(ws.OpText, true, "{}")},
		"binary":                 {1003, frame(ws.OpBinary, true, "{}")},
		"not UTF-8":              {1007, slices.Concat(frame(ws.OpText, false, "{\"type\":\"ping\",\"id\":\"\xed"), frame(ws.OpContinuation, true, "\xa0\x80\"}"))},
		"conn.max_message + 1":   {1009, text(strings.Repeat("x", 64<<10+1))},
		"the same, in fragments": {1009, slices.Concat(frame(ws.OpText, false, strings.Repeat("x", 64<<10)), frame(ws.OpContinuation, true, "x"))},
	} {
		c := dial(t, p, "alice")
		_ = c.trySend(test.send)
		wantCode(t, c, name, test.code)
	}
	wantEntries(t, p.redisClient(), "alice", settle, nil)
	p.wantMetric("all are closed", 0, "pushpod_connections")
}

// wantCode waits for a close frame of that code, answers it, and waits for the end; it
// goes on with the test where it is wrong.
func wantCode(t *testing.T, c *client, name string, code int) {
	t.Helper()
	f, ok := c.take(settle, pings)
	if !ok || f.err != nil || f.opcode != ws.OpClose || f.code != code {
		t.Errorf("%s: got %v (%v), want close %d", name, f, ok, code)
	} else if end, ok := c.take(5*time.Second+slack, pings); !ok || end.err == nil {
		t.Errorf("%s: %v (%v) after the close frame, want the end", name, end, ok)
	} else if took := end.at.Sub(f.at); took > slack {
		t.Errorf("%s: TCP ended %v after the answered close frame, want at once", name, took.Round(time.Millisecond))
	}
	c.vanish()
}

// What is right is taken, however it is cut, up to conn.max_message.
func TestFramesArePutTogether(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	c := dial(t, p, "alice")
	message := `{"type":"ping","id":"κόσμε 😀"}`
	c.send(slices.Concat(frame(ws.OpText, false, message[:25]), frame(ws.OpPing, true, "amid"), frame(ws.OpContinuation, false, ""), frame(ws.OpContinuation, true, message[25:]), text(message)))
	c.wantPong("a ping between fragments", "amid")
	c.wantReceipt("in fragments, cut within a character", "κόσμε 😀", "accepted", "")
	c.wantReceipt("in the same packet", "κόσμε 😀", "accepted", "")
	envelope := `{"type":"request","id":"x","data":""}`
	large := strings.Replace(envelope, `""`, `"`+strings.Repeat("x", 64<<10-len(envelope))+`"`, 1)
	c.send(slices.Concat(frame(ws.OpText, false, large[:60000]), frame(ws.OpContinuation, true, large[60000:])))
	c.wantReceipt("conn.max_message", "x", "accepted", "")
	c.leave()
}

// A socket that is reset in any state leaves nothing behind.
func TestResetLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	p := framingPod(t)
	before := p.openFiles()
	for state, send := range map[string][]byte{
		"idle":             nil,
		"within a frame":   text(`{"type":"ping"}`)[:10],
		"behind a request": text(`{"type":"request","id":"x","data":1}`),
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
