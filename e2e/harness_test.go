package e2e

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
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

// serverText is an unmasked text frame.
func serverText(s string) []byte {
	f := text(s)
	f.unmasked = true
	return f.bytes()
}

func serverControl(opcode byte, payload string) []byte {
	f := control(opcode, payload)
	f.unmasked = true
	return f.bytes()
}

// readMasked reads one frame of a client's.
func readMasked(br *bufio.Reader) (first byte, payload string) {
	var header [2]byte
	if _, err := io.ReadFull(br, header[:]); err != nil {
		return 0, err.Error()
	}
	rest := make([]byte, 4+int(header[1]&0x7f)) // small frames only
	if _, err := io.ReadFull(br, rest); err != nil {
		return 0, err.Error()
	}
	for i := range rest[4:] {
		rest[4+i] ^= rest[i%4]
	}
	return header[0], string(rest[4:])
}

func TestHarnessClient(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 3)
	addr := fakeServer(t, func(conn net.Conn, br *bufio.Reader) {
		_, _ = conn.Write(serverText(`{"type":"message","id":"m","data":{ "a" : 1 }}`))
		_, _ = conn.Write(serverControl(opPing, "beat"))
		_, said := readMasked(br)
		heard <- said // the pong
		_, said = readMasked(br)
		heard <- said
		half := part(opText, false, `{"type":"receipt","id":"x",`)
		half.unmasked = true
		_, _ = conn.Write(half.bytes())
		rest := part(opContinuation, true, `"status":"accepted"}`)
		rest.unmasked = true
		_, _ = conn.Write(rest.bytes())
		time.Sleep(100 * time.Millisecond)
		_, _ = conn.Write(serverControl(opClose, string(binary.BigEndian.AppendUint16(nil, 1013))+"retry_ms=7"))
		_, said = readMasked(br)
		heard <- said // the close frame again
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
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 100_000} {
		payload := strings.Repeat("x", n)
		f := text(payload)
		f.unmasked = true
		first, got, err := readFrame(bufio.NewReader(strings.NewReader(string(f.bytes()))))
		if err != nil || first != finBit|opText || string(got) != payload {
			t.Errorf("a frame of %d bytes: %#x, %d bytes, %v", n, first, len(got), err)
		}
	}
	if got, want := text("Hello").bytes(), "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"; string(got) != want {
		t.Errorf("masked Hello is %x, want %x (RFC 6455 section 5.7)", got, want)
	}
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
