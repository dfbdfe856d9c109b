package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestHandshakeIsAccepted(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick())
	origin := "http://" + p.listen
	for name, test := range map[string]struct {
		lines    []string
		protocol string // in the answer
	}{
		"no subprotocol":                {nil, ""},
		"pushpod.v1":                    {[]string{"Sec-WebSocket-Protocol: pushpod.v1"}, "pushpod.v1"},
		"pushpod.v1 among others":       {[]string{"Sec-WebSocket-Protocol: mqtt, pushpod.v1,graphql-ws"}, "pushpod.v1"},
		"pushpod.v1 in a second header": {[]string{"Sec-WebSocket-Protocol: mqtt", "+Sec-WebSocket-Protocol: pushpod.v1"}, "pushpod.v1"},
		"another case":                  {[]string{"upgrade: WebSocket", "CONNECTION: keep-alive, Upgrade"}, ""},
		"compression is offered":        {[]string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"}, ""},
		"same host":                     {[]string{"Host: " + p.listen, "Origin: " + origin}, ""},
		"a body of length zero":         {[]string{"Content-Length: 0"}, ""},
		"many headers":                  {manyHeaders(8 << 10), ""},
	} {
		a := exchange(t, p.listen, upgradeRequest("/ws?user=alice", test.lines...))
		if a.status != http.StatusSwitchingProtocols {
			t.Errorf("%s: %d %s, want 101", name, a.status, a.body)
			continue
		}
		if got := a.header.Get("Sec-WebSocket-Accept"); got != acceptOf(handshakeKey) {
			t.Errorf("%s: Sec-WebSocket-Accept %q, want %q", name, got, acceptOf(handshakeKey))
		}
		if !strings.EqualFold(a.header.Get("Upgrade"), "websocket") || !strings.EqualFold(a.header.Get("Connection"), "upgrade") {
			t.Errorf("%s: Upgrade %q, Connection %q", name, a.header.Get("Upgrade"), a.header.Get("Connection"))
		}
		if got := a.header.Values("Sec-WebSocket-Protocol"); strings.Join(got, ",") != test.protocol {
			t.Errorf("%s: subprotocol %q, want %q", name, got, test.protocol)
		}
		if got := a.header.Get("Sec-WebSocket-Extensions"); got != "" {
			t.Errorf("%s: extensions %q, want none", name, got)
		}
	}
	p.wantMetric("all of them", 9, "pushpod_handshakes_total", "result", "accepted")
}

// manyHeaders makes headers of that many bytes together.
func manyHeaders(bytes int) []string {
	var lines []string
	for n := 0; n < bytes; n += 128 {
		lines = append(lines, fmt.Sprintf("X-Padding-%06d: %s", n, strings.Repeat("x", 128-len("X-Padding-000000: \r\n"))))
	}
	return lines
}

func TestHandshakeIsRefused(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick())
	ws := func(lines ...string) string { return upgradeRequest("/ws?user=alice", lines...) }
	total := 0
	check := func(name, request string, statuses ...int) {
		t.Helper()
		total++
		wantRefusal(t, name, exchange(t, p.listen, request), statuses...)
	}

	// Who the user is.
	check("no user", upgradeRequest("/ws"), 401)
	check("no user among other parameters", upgradeRequest("/ws?name=alice&ping=app"), 401)
	check("empty user", upgradeRequest("/ws?user="), 400, 401)
	check("user of 257 bytes", upgradeRequest("/ws?user="+strings.Repeat("x", 257)), 400)
	check("user of 258 bytes in 129 characters", upgradeRequest("/ws?user="+strings.Repeat("%C3%A9", 129)), 400)
	check("user with a control character", upgradeRequest("/ws?user=a%07b"), 400)
	check("user with NUL", upgradeRequest("/ws?user=a%00"), 400)
	check("user with a line break", upgradeRequest("/ws?user=a%0d%0ab"), 400)
	check("user with DEL", upgradeRequest("/ws?user=a%7f"), 400)
	check("user with a C1 control", upgradeRequest("/ws?user=a%C2%85"), 400)
	check("user that is not UTF-8", upgradeRequest("/ws?user=%ff"), 400)
	check("user with half a surrogate pair", upgradeRequest("/ws?user=%ED%A0%80"), 400)
	check("user beginning with }", upgradeRequest("/ws?user=%7Dx"), 400)
	check("bad percent-encoding", upgradeRequest("/ws?user=%zz"), 400)
	check("half a percent-encoding", upgradeRequest("/ws?user=a%4"), 400)

	// Parameters.
	check("doubled user", upgradeRequest("/ws?user=alice&user=bob"), 400)
	check("the same user twice", upgradeRequest("/ws?user=alice&user=alice"), 400)
	check("doubled ping", upgradeRequest("/ws?user=alice&ping=app&ping=app"), 400)
	check("doubled by another spelling", upgradeRequest("/ws?user=alice&us%65r=bob"), 400)
	for _, ping := range []string{"", "ws", "App", "app,", "app,14", "app,301", "app,-15", "app,15.5", "app,1e2", "app,15,15", "app,%2015", ",15", "15", "app,99999999999999999999"} {
		check("ping="+ping, upgradeRequest("/ws?user=alice&ping="+ping), 400)
	}

	// What is asked for.
	check("another path", upgradeRequest("/nope?user=alice"), 404)
	check("the root", upgradeRequest("/"), 404)
	check("a path below", upgradeRequest("/ws/?user=alice"), 404)
	check("another case", upgradeRequest("/WS?user=alice"), 404)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		check(method, strings.Replace(ws(), "GET", method, 1), 405)
	}
	check("an unknown method", strings.Replace(ws(), "GET", "FLY", 1), 405, 501)
	check("a method in lower case", strings.Replace(ws(), "GET", "get", 1), 400, 405, 501)

	// The upgrade itself (RFC 6455 section 4.2.1).
	check("no Upgrade", ws("-Upgrade", "-Connection"), 426)
	check("no Upgrade, but Connection", ws("-Upgrade"), 426, 400)
	check("Upgrade to something else", ws("Upgrade: h2c"), 426, 400)
	check("Connection without upgrade", ws("Connection: keep-alive"), 426, 400)
	check("version 8", ws("Sec-WebSocket-Version: 8"), 426)
	check("version 14", ws("Sec-WebSocket-Version: 14"), 426)
	check("no version", ws("-Sec-WebSocket-Version"), 426, 400)
	check("no key", ws("-Sec-WebSocket-Key"), 400)
	check("empty key", ws("Sec-WebSocket-Key: "), 400)
	check("short key", ws("Sec-WebSocket-Key: c2hvcnQ="), 400)
	check("long key", ws("Sec-WebSocket-Key: "+handshakeKey+handshakeKey), 400)
	check("key that is not base64", ws("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), 400)
	check("doubled key", ws("+Sec-WebSocket-Key: "+handshakeKey), 400)
	check("only unknown subprotocols", ws("Sec-WebSocket-Protocol: mqtt, pushpod.v2"), 400)
	check("an unknown subprotocol by case", ws("Sec-WebSocket-Protocol: PUSHPOD.V1"), 400)

	// HTTP (RFC 9112).
	check("a body", ws("Content-Length: 5")+"hello", 400)
	check("a body that does not come", ws("Content-Length: 5"), 400)
	check("a huge body", ws("Content-Length: 9999999999999"), 400, 413)
	check("a chunked body", ws("Transfer-Encoding: chunked")+"5\r\nhello\r\n0\r\n\r\n", 400)
	check("both, as smugglers do", ws("Content-Length: 5", "Transfer-Encoding: chunked")+"0\r\n\r\n", 400)
	check("two lengths", ws("Content-Length: 0", "+Content-Length: 5")+"hello", 400)
	check("a length that is no number", ws("Content-Length: +0x5"), 400)
	check("an unknown transfer coding", ws("Transfer-Encoding: rot13"), 400, 501)
	check("no Host", ws("-Host"), 400)
	check("doubled Host", ws("+Host: example.com"), 400)
	check("a space before the colon", ws("Upgrade : websocket"), 400)
	check("a folded header", ws("X-Folded: a\r\n b"), 400)
	check("a header without a colon", ws("nonsense"), 400)
	check("a header without a name", ws(": x"), 400)
	check("NUL in a header", ws("X-Nul: a\x00b"), 400)
	check("a bare CR in a header", ws("X-Cr: a\rb"), 400)
	check("nonsense", "nonsense\r\n\r\n", 400)
	check("no target", "GET HTTP/1.1\r\nHost: x\r\n\r\n", 400)
	check("a space in the target", strings.Replace(ws(), "user=alice", "user=al ice", 1), 400, 505)
	check("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400)
	check("HTTP/1.0", strings.Replace(ws(), "HTTP/1.1", "HTTP/1.0", 1), 505)
	check("HTTP/2.0", strings.Replace(ws(), "HTTP/1.1", "HTTP/2.0", 1), 505)
	check("HTTP/0.9", "GET /ws?user=alice\r\n\r\n", 400, 505)
	check("headers above conn.max_header", ws(manyHeaders(17<<10)...), 431, 413)
	check("one header above conn.max_header", ws("X-Long: "+strings.Repeat("x", 20<<10)), 431, 413)
	check("a target above conn.max_header", upgradeRequest("/ws?user=alice&x="+strings.Repeat("x", 20<<10)), 431, 413, 414)
	check("headers four times conn.max_header", ws(manyHeaders(64<<10)...), 431, 413)

	eventually(t, "each refusal is counted under its status", settle, func() (bool, any) {
		all, err := p.scrape()
		if err != nil {
			return false, err
		}
		refused := int(sum(all, "pushpod_handshakes_total") - sum(all, "pushpod_handshakes_total", "result", "accepted"))
		return refused == total && sum(all, "pushpod_handshakes_total", "result", "401") >= 2, fmt.Sprint(refused, " of ", total)
	})
	dial(t, p, "alice").check("after all those")
	wantBooks(t, p, books{})
}

func TestRefusalsSayWhatHelps(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick())
	a := exchange(t, p.listen, upgradeRequest("/ws?user=alice", "Sec-WebSocket-Version: 8"))
	if got := a.header.Get("Sec-WebSocket-Version"); got != "13" {
		t.Errorf("another version: Sec-WebSocket-Version %q, want 13 (RFC 6455 section 4.4)", got)
	}
	a = exchange(t, p.listen, strings.Replace(upgradeRequest("/ws?user=alice"), "GET", "POST", 1))
	if got := a.header.Get("Allow"); !strings.Contains(got, "GET") {
		t.Errorf("POST: Allow %q, want GET (RFC 9110 section 15.5.6)", got)
	}
	a = exchange(t, p.listen, upgradeRequest("/ws?user=alice", "-Upgrade", "-Connection"))
	if got := a.header.Get("Upgrade"); !strings.EqualFold(got, "websocket") {
		t.Errorf("no Upgrade: Upgrade %q, want websocket (RFC 9110 section 15.5.22)", got)
	}
}

// Browsers hide a refused handshake, so a plain GET gets the same answer, and
// scripts of the same host may read it.
func TestPlainGetExplainsTheRefusal(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick())
	origin := "http://" + p.listen
	get := func(target string, lines ...string) answer {
		t.Helper()
		return exchange(t, p.listen, request("GET "+target+" HTTP/1.1", append([]string{"Host: " + p.listen}, lines...)...))
	}
	for _, test := range []struct {
		target string
		status int
	}{
		{"/ws?user=alice", 426}, {"/ws", 401}, {"/ws?user=%07", 400}, {"/ws?user=a&user=b", 400},
		{"/ws?user=alice&ping=x", 400}, {"/nope", 404},
	} {
		plain := get(test.target)
		wantRefusal(t, "GET "+test.target, plain, test.status)
		if test.status != 426 {
			upgrade := exchange(t, p.listen, upgradeRequest(test.target))
			if upgrade.status != plain.status || upgrade.body != plain.body {
				t.Errorf("GET %s: %d %s without Upgrade, %d %s with it; want the same",
					test.target, plain.status, plain.body, upgrade.status, upgrade.body)
			}
		}
		if test.status == 404 {
			continue
		}
		a := get(test.target, "Origin: "+origin)
		wantRefusal(t, "GET "+test.target+" by a script", a, test.status)
		if got := a.header.Get("Access-Control-Allow-Origin"); got != origin {
			t.Errorf("GET %s: Access-Control-Allow-Origin %q, want the origin, %q", test.target, got, origin)
		}
		if got := a.header.Get("Access-Control-Allow-Credentials"); got != "true" {
			t.Errorf("GET %s: Access-Control-Allow-Credentials %q, want true", test.target, got)
		}
		if got := strings.Join(a.header.Values("Vary"), ","); !strings.Contains(strings.ToLower(got), "origin") {
			t.Errorf("GET %s: Vary %q, want Origin", test.target, got)
		}
	}
	for _, foreign := range []string{"https://evil.example", "null", "http://127.0.0.1.evil.example", "http://" + p.listen + ".evil.example", "garbage"} {
		for name, a := range map[string]answer{
			"GET":     get("/ws?user=alice", "Origin: "+foreign),
			"upgrade": exchange(t, p.listen, upgradeRequest("/ws?user=alice", "Host: "+p.listen, "Origin: "+foreign)),
		} {
			wantRefusal(t, name+" from "+foreign, a, 403)
			if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("%s from %s: Access-Control-Allow-Origin %q, want none", name, foreign, got)
			}
		}
	}
	a := exchange(t, p.listen, upgradeRequest("/ws?user=alice", "Host: "+p.listen, "Origin: "+origin, "+Origin: "+origin))
	wantRefusal(t, "doubled Origin", a, 400, 403)
}

func TestSlowHandshake(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	p := startPod(t, startRedis(t), quick().with("conn.handshake_timeout", timeout.String()))
	whole := upgradeRequest("/ws?user=alice")
	connect := func(t *testing.T) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", p.listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(settle))
		return conn
	}
	t.Run("half of it", func(t *testing.T) {
		t.Parallel()
		conn, start := connect(t), time.Now()
		_, _ = conn.Write([]byte(whole[:len(whole)/2]))
		wantRefusal(t, "half a handshake", awaitAnswer(conn), 408)
		if took := time.Since(start); took < timeout/2 || took > timeout+slack {
			t.Errorf("408 after %v, want after conn.handshake_timeout, %v", took, timeout)
		}
	})
	t.Run("byte by byte", func(t *testing.T) {
		t.Parallel()
		conn, start := connect(t), time.Now()
		done := make(chan struct{})
		go func() { // ends with the connection
			defer close(done)
			for i := range len(whole) {
				if _, err := conn.Write([]byte{whole[i]}); err != nil {
					return
				}
				time.Sleep(30 * time.Millisecond)
			}
		}()
		wantRefusal(t, "a handshake of 6 s", awaitAnswer(conn), 408)
		if took := time.Since(start); took > timeout+slack {
			t.Errorf("408 after %v, want after conn.handshake_timeout, %v", took, timeout)
		}
		_ = conn.Close()
		<-done
	})
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		conn, start := connect(t), time.Now()
		if a := awaitAnswer(conn); a.err == nil {
			wantRefusal(t, "not a byte", a, 408)
		} else if !a.closed {
			t.Errorf("not a byte: %v, want the end", a.err)
		}
		if took := time.Since(start); took > timeout+slack {
			t.Errorf("the end after %v, want after conn.handshake_timeout, %v", took, timeout)
		}
	})
	t.Run("in small parts, but in time", func(t *testing.T) {
		t.Parallel()
		conn := connect(t)
		for line := range strings.Lines(whole) {
			_, _ = conn.Write([]byte(line))
			time.Sleep(20 * time.Millisecond)
		}
		if a := awaitAnswer(conn); a.status != http.StatusSwitchingProtocols {
			t.Errorf("a handshake in parts: %d %s %v, want 101", a.status, a.body, a.err)
		}
	})
}

// Frames may come in the packet of the handshake: none is lost.
func TestFramesInTheHandshakesPacket(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("limits.frames_per_second", "0"))
	c := dial(t, p, "alice", trailing(join(
		text(`{"type":"request","id":"r1","data":1}`),
		control(opPing, "early"),
		text(`{"type":"ping","id":"p1"}`),
	)))
	got := map[string]bool{}
	for range 3 { // the request waits for Redis, the others need not
		f, ok := c.take(settle, nothing)
		if !ok || f.err != nil {
			t.Fatalf("got %v (%v), want three answers", f, ok)
		}
		got[f.text] = true
	}
	for _, want := range []string{`"r1"`, `"p1"`, "early"} {
		found := false
		for s := range got {
			found = found || strings.Contains(s, want)
		}
		if !found {
			t.Errorf("no answer to %s in %v", want, got)
		}
	}

	// Many, more than one read buffer holds.
	var frames []rawFrame
	for i := range 300 {
		frames = append(frames, text(fmt.Sprintf(`{"type":"ping","id":"p%d","padding":%q}`, i, strings.Repeat("x", i))))
	}
	c = dial(t, p, "bob", trailing(join(frames...)))
	for i := range frames {
		c.wantReceipt("many early frames", fmt.Sprint("p", i), "accepted", "")
	}

	// The welcome comes first whatever came early.
	conn, err := net.Dial("tcp", p.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(settle))
	early := append([]byte(upgradeRequest("/ws?"+url.Values{"user": {"carol"}}.Encode())), closing(1000, "").bytes()...)
	if _, err := conn.Write(early); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	response, err := http.ReadResponse(br, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake with a close frame behind it: %v %v", response, err)
	}
	for {
		first, payload, err := readFrame(br)
		if err != nil {
			t.Fatalf("an early close frame: %v, want a close frame", err)
		}
		if first&0x0f == opClose {
			if code, _ := parseClose(payload); code != 1000 {
				t.Errorf("an early close frame: %d, want 1000", code)
			}
			break
		}
	}
	wantEntries(t, r.Client(), "carol", settle, nil)
}
