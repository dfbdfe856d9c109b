package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
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

func TestHarnessSleeper(t *testing.T) {
	t.Parallel()
	addr := fakeServer(t, func(conn net.Conn, _ *bufio.Reader) {
		for range 3 {
			_, _ = conn.Write(serverText(`{"type":"message","data":1}`))
		}
	})
	c := dialAddr(t, addr, "alice", sleeper())
	if f, ok := c.take(100*time.Millisecond, nothing); ok {
		t.Fatalf("asleep, it got %v", f)
	}
	c.read()
	for range 3 {
		c.wantMessage("awake", `1`)
	}
	c.wantEnd("the server has gone", settle)
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

func TestHarnessMetrics(t *testing.T) {
	t.Parallel()
	all, err := samples("# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"}, z\"} 2\na{x=\"2\"} 3e1 1700000000\nb 5\nc_bucket{le=\"+Inf\"} 4\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{32, "a", nil}, {2, "a", []string{"x", "1"}}, {2, "a", []string{"y", `q"}, z`}}, {30, "a", []string{"x", "2"}},
		{0, "a", []string{"x", "3"}}, {5, "b", nil}, {4, "c_bucket", []string{"le", "+Inf"}}, {0, "c", nil},
	} {
		if got := sum(all, test.name, test.labels...); got != test.want {
			t.Errorf("%s%v is %v, want %v", test.name, test.labels, got, test.want)
		}
	}
	got := readBooks([]sample{
		{"pushpod_envelopes_total", map[string]string{"result": "ok"}, 4},
		{"pushpod_envelopes_total", map[string]string{"result": "bad"}, 1},
		{"pushpod_deliveries_total", map[string]string{"result": "written"}, 2},
		{"pushpod_deliveries_total", map[string]string{"result": "closed"}, 1},
		{"pushpod_misses_total", nil, 3},
	})
	if want := (books{published: 5, bad: 1, written: 2, closed: 1, misses: 3}); got != want || got.targets() != 6 {
		t.Errorf("books %+v, want %+v", got, want)
	}
}

func TestHarnessRequests(t *testing.T) {
	t.Parallel()
	whole := upgradeRequest("/ws?user=a", "-Upgrade", "Sec-WebSocket-Version: 8", "+Host: b", "X-New: 1")
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.Replace(whole, "Host: b\r\n", "", 1))))
	if err != nil {
		t.Fatalf("%q: %v", whole, err)
	}
	if request.Header.Get("Upgrade") != "" || request.Header.Get("Sec-WebSocket-Version") != "8" || request.Header.Get("X-New") != "1" {
		t.Errorf("headers %v", request.Header)
	}
	if strings.Count(whole, "Host: ") != 2 || strings.Count(whole, "Version") != 1 || !strings.HasSuffix(whole, "\r\n\r\n") {
		t.Errorf("request %q", whole)
	}
}

func TestHarnessSettings(t *testing.T) {
	t.Parallel()
	s := settings{"listen": "127.0.0.1:1", "conn.ping": "1s", "conn.ping_timeout": "2s"}.with("conn.ping", "3s", "redis.addresses", "[a:1]")
	if got, want := s.yaml(), "listen: 127.0.0.1:1\nconn:\n  ping: 3s\n  ping_timeout: 2s\nredis:\n  addresses: [a:1]\n"; got != want {
		t.Errorf("YAML:\n%s\nwant:\n%s", got, want)
	}
	want := []string{"PUSHPOD_CONN_PING=3s", "PUSHPOD_CONN_PING_TIMEOUT=2s", "PUSHPOD_LISTEN=127.0.0.1:1", "PUSHPOD_REDIS_ADDRESSES=a:1"}
	if got := s.env(); !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
}

func TestHarnessUUID(t *testing.T) {
	t.Parallel()
	a, b := newUUID(), newUUID()
	if len(a) != 36 || a[14] != '7' || a == b || strings.ToLower(a) != a {
		t.Errorf("UUIDs %s and %s, want two of version 7", a, b)
	}
}
