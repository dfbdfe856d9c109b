package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// The harness, tried on a small server of its own: where it is wrong, no other
// test means anything.

// fakeServer takes one WebSocket connection, says a welcome, and lets script
// write and read the rest.
func fakeServer(t *testing.T, script func(conn net.Conn, br *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(settle))
		br := bufio.NewReader(conn)
		request, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		accept := acceptOf(request.Header.Get("Sec-WebSocket-Key"))
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+accept+"\r\n\r\n")
		_, _ = conn.Write(serverText(`{"type":"welcome","uuid":"u-1","user":"` + request.URL.Query().Get("user") + `"}`))
		script(conn, br)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// unmasked is an unmasked frame.
func unmasked(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.NewFrame(op, fin, []byte(payload)))
}

func serverText(s string) []byte { return unmasked(ws.OpText, true, s) }

// readMasked reads the payload of one frame of a client's.
func readMasked(br *bufio.Reader) string {
	h, err := ws.ReadHeader(br)
	payload := make([]byte, h.Length)
	if _, cut := io.ReadFull(br, payload); err != nil || cut != nil {
		return fmt.Sprint(err, cut)
	}
	ws.Cipher(payload, h.Mask, 0)
	return string(payload)
}

func TestHarnessClient(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 3)
	addr := fakeServer(t, func(conn net.Conn, br *bufio.Reader) {
		_, _ = conn.Write(serverText(`{"type":"message","id":"m","data":{ "a" : 1 }}`))
		_, _ = conn.Write(unmasked(ws.OpPing, true, "beat"))
		heard <- readMasked(br) // the pong
		heard <- readMasked(br)
		_, _ = conn.Write(unmasked(ws.OpText, false, `{"type":"receipt","id":"x",`))
		_, _ = conn.Write(unmasked(ws.OpContinuation, true, `"status":"accepted"}`))
		time.Sleep(100 * time.Millisecond)
		_, _ = conn.Write(unmasked(ws.OpClose, true, string(binary.BigEndian.AppendUint16(nil, 1013))+"retry_ms=7"))
		heard <- readMasked(br) // the close frame again
	})
	c := dialAddr(t, addr, "a&b =c")
	if m := c.wantMessage("data byte for byte", `{ "a" : 1 }`); deref(m.ID) != "m" {
		t.Errorf("id %q, want m", deref(m.ID))
	}
	if got := <-heard; got != "beat" {
		t.Errorf("pong %q, want the ping's payload", got)
	}
	c.say(`{"n":%d}`, 5)
	if got := <-heard; got != `{"n":5}` {
		t.Errorf("said %q", got)
	}
	c.wantReceipt("in two fragments", "x", "accepted", "")
	c.wantNothing("for a moment", 20*time.Millisecond)
	if closed := c.wantClose("at last", 1013); retryMillis(t, closed.reason) != 7 {
		t.Errorf("reason %q", closed.reason)
	}
	if got := <-heard; got != "\x03\xf5retry_ms=7" {
		t.Errorf("answered the close frame by %q", got)
	}
	c.wantEnd("after the close frame", settle)
	c.wantEnd("asked again", 0)
}

func TestHarnessFrames(t *testing.T) {
	t.Parallel()
	if got := acceptOf(handshakeKey); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("Sec-WebSocket-Accept %s (RFC 6455 section 1.3)", got)
	}
	for name, bad := range map[string]string{
		"masked": "\x81\x80\x00\x00\x00\x00", "reserved": "\xc1\x00", "long ping": "\x89\x7e\x00\x7e" + strings.Repeat("x", 126), "cut": "\x81\x05He",
	} {
		if _, _, err := readFrame(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("a frame that is %s passes", name)
		}
	}
}
