package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// conn, its httphead, hub and presence have the cases; here are one or two of each kind.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("conn.max_header", "8KiB"))
	ws := func(lines ...string) string { return upgradeRequest("/ws?user=alice", lines...) }
	origin := "Origin: http://" + p.listen
	a := exchange(t, p.listen, ws("Sec-WebSocket-Protocol: mqtt, pushpod.v1", "Sec-WebSocket-Extensions: permessage-deflate", origin, "X: "+strings.Repeat("x", 7<<10)))
	if a.status != http.StatusSwitchingProtocols || a.header.Get("Sec-WebSocket-Accept") != acceptOf(handshakeKey) ||
		a.header.Get("Sec-WebSocket-Protocol") != "pushpod.v1" || a.header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("a good handshake: %d %v", a.status, a.header)
	}
	p.wantMetric("it is counted", 1, "pushpod_handshakes_total", "result", "accepted")

	refused := make(map[int]int)
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"no user", upgradeRequest("/ws"), 401},
		{"user of 257 bytes", upgradeRequest("/ws?user=" + strings.Repeat("x", 257)), 400},
		{"user with a line break", upgradeRequest("/ws?user=a%0d%0ab"), 400},
		{"doubled user", upgradeRequest("/ws?user=alice&us%65r=bob"), 400},
		{"ping too often", upgradeRequest("/ws?user=alice&ping=app,14"), 400},
		{"another path", upgradeRequest("/nope?user=alice"), 404},
		{"POST", strings.Replace(ws(), "GET", "POST", 1), 405},
		{"another version", ws("Sec-WebSocket-Version: 8"), 426},
		{"no key", ws("-Sec-WebSocket-Key"), 400},
		{"a chunked body", ws("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", 400},
		{"nonsense", "nonsense\r\n\r\n", 400},
		{"HTTP/1.0", strings.Replace(ws(), "HTTP/1.1", "HTTP/1.0", 1), 505},
		{"a header above conn.max_header", ws("X: " + strings.Repeat("x", 9<<10)), 431},
		{"another's page", ws("Origin: https://evil.example"), 403},
	} {
		wantRefusal(t, test.name, exchange(t, p.listen, test.request), test.status)
		refused[test.status]++
	}
	for status, n := range refused {
		p.wantMetric("refusals are counted", float64(n), "pushpod_handshakes_total", "result", fmt.Sprint(status))
	}
	dial(t, p, "alice").check("after all those")
	wantBooks(t, p, books{})
}

// Browsers hide a refused handshake, so a plain GET gets the same answer, and
// scripts of the same host may read it.
func TestPlainGetExplainsTheRefusal(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick())
	origin := "http://" + p.listen
	for target, status := range map[string]int{"/ws?user=alice": 426, "/ws": 401, "/ws?user=%07": 400} {
		plain := exchange(t, p.listen, request("GET "+target+" HTTP/1.1", "Host: "+p.listen, "Origin: "+origin))
		wantRefusal(t, "GET "+target, plain, status)
		if plain.header.Get("Access-Control-Allow-Origin") != origin || plain.header.Get("Access-Control-Allow-Credentials") != "true" || plain.header.Get("Vary") != "Origin" {
			t.Errorf("GET %s: header %v, want it readable for the origin, %q", target, plain.header, origin)
		}
		if upgrade := exchange(t, p.listen, upgradeRequest(target)); status != 426 && (upgrade.status != plain.status || upgrade.body != plain.body) {
			t.Errorf("GET %s: %s without Upgrade, %d %s with it; want the same", target, plain.body, upgrade.status, upgrade.body)
		}
	}
	for _, foreign := range []string{"https://evil.example", "null"} {
		a := exchange(t, p.listen, request("GET /ws?user=alice HTTP/1.1", "Host: "+p.listen, "Origin: "+foreign))
		wantRefusal(t, "GET from "+foreign, a, 403)
		if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("GET from %s: Access-Control-Allow-Origin %q, want none", foreign, got)
		}
	}
}

func TestSlowHandshake(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	p := startPod(t, startRedis(t), quick().with("conn.handshake_timeout", timeout.String()))
	a := exchange(t, p.listen, upgradeRequest("/ws?user=alice")[:50])
	wantRefusal(t, "half a handshake", a, 408)
	if a.took < timeout/2 || a.took > timeout+slack {
		t.Errorf("408 after %v, want after conn.handshake_timeout, %v", a.took, timeout)
	}
}
