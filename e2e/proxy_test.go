package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// hub and conn have the cases. Here it is seen that the settings set what they say, with
// a client on loopback as the proxy.
func TestHeaderMode(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := patient().with("auth.mode", "header", "auth.header", "X-User", "limits.per_ip", "2", "log.level", "debug")
	p := startPod(t, r, s.with("auth.trusted_proxies", "loopback,10.0.0.0/8"))
	from := func(user, address string, more ...string) answer {
		return held(t, p.listen, upgradeRequest("/ws?user=mallory", append(more, "X-User: "+user, "X-Forwarded-For: 6.6.6.6, "+address)...))
	}
	for i, address := range []string{"192.0.2.1", "192.0.2.1:555", "2001:db8::1", "2001:db8::2", "10.0.0.9", "unknown"} {
		if a := from("alice", address); a.status != http.StatusSwitchingProtocols {
			t.Errorf("%s, %d.: %d %s", address, i, a.status, a.body)
		}
	}
	if n := len(strings.Fields(p.redis.CLI("HKEYS", "push:user:{alice}"))); n != 6 {
		t.Errorf("alice has %d entries, want 6", n)
	}
	if n := p.redis.CLI("EXISTS", "push:user:{mallory}"); n != "0" {
		t.Error("?user= is believed")
	}
	for address, logged := range map[string]string{"::ffff:192.0.2.1, 10.0.0.2": "192.0.2.1", "[2001:db8::3]:80": "2001:db8::3", "x": "127.0.0.1"} {
		if address == "x" {
			from("alice", address)
		}
		wantRefusal(t, address, from("alice", address), http.StatusTooManyRequests)
		eventually(t, "its address is logged", settle, func() (bool, any) {
			return strings.Contains(p.stderr.String(), fmt.Sprintf(`"address":%q,`, logged)), tail(p.stderr.String())
		})
	}
	for name, c := range map[string]struct {
		lines  string
		status int
	}{"twice": {"X-User: bob\r\nx-user: alice", 400}, "a list": {"X-User: bob, alice", 400}, "empty": {"X-User:", 401}, "missing": {"X_User: bob", 401}} {
		wantRefusal(t, name, exchange(t, p.listen, upgradeRequest("/ws?user=bob", c.lines)), c.status)
		a := exchange(t, p.listen, request("GET /ws?user=bob HTTP/1.1", "Host: "+p.listen, "Origin: http://"+p.listen, c.lines))
		wantRefusal(t, name+", a plain GET", a, c.status)
		if a.header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%s: no CORS", name)
		}
	}
	if strings.Contains(p.stderr.String(), `"user":""`) {
		t.Error("a connection without a user is logged")
	}

	stranger := startPod(t, r, s.with("auth.trusted_proxies", "10.0.0.0/8"))
	wantRefusal(t, "a peer that is no proxy", exchange(t, stranger.listen, upgradeRequest("/ws", "X-User: alice")), http.StatusUnauthorized)
	stranger.wantMetric("it is counted", 1, "pushpod_handshakes_total", "result", "401")
}

// held is exchange where a connection that is accepted stays open.
func held(t *testing.T, addr, request string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(settle))
	_, _ = io.WriteString(conn, request)
	return awaitAnswer(conn)
}

func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := patient().with("proxy_protocol", "on", "limits.per_ip", "1", "conn.handshake_timeout", "1s")
	p := startPod(t, r, s.with("auth.trusted_proxies", "127.0.0.1"))
	const v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x08\x7f\x00\x00\x01\x12\x67\x00\x50" // 203.0.113.8
	for _, c := range []struct {
		head, forwarded string
		status          int
	}{
		{"PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\n", "6.6.6.6", 101},
		{"PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\n", "7.7.7.7", 429},
		{v2, "", 101},
		{v2, "", 429},
		{"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "", 101},
		{"PROXY TCP6 2001:db8::2 ::1 1 2\r\n", "", 429},
		{"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", "203.0.113.9", 101},
		{"PROXY TCP4 127.0.0.1 127.0.0.1 3 4\r\n", "203.0.113.9", 429},
		{"PROXY UNKNOWN\r\n", "", 101},
	} {
		if a := held(t, p.listen, c.head+upgradeRequest("/ws?user=alice", "X-Forwarded-For: "+c.forwarded)); a.status != c.status {
			t.Errorf("%q, forwarded for %q: %d %s, want %d", c.head, c.forwarded, a.status, a.body, c.status)
		}
	}
	if a := held(t, p.listen, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00GET /healthz HTTP/1.0\r\n\r\n"); a.status != http.StatusOK {
		t.Errorf("a balancer's health check: %d", a.status)
	}
	refused := p.metric("pushpod_handshakes_total")
	stranger := startPod(t, r, s.with("auth.trusted_proxies", "10.0.0.0/8"))
	for _, c := range []struct {
		addr, first string
		within      time.Duration // 0: at once
	}{
		{p.listen, upgradeRequest("/ws?user=alice"), 0},
		{p.listen, "GET /healthz HTTP/1.1\r\n\r\n", 0},
		{p.listen, "PROXY TCP4 x y\r\n", 0},
		{p.listen, "PROXY UNKNOWN" + strings.Repeat(" ", 100), 0},
		{p.listen, v2[:20], settle},
		{p.listen, "PROXY ", settle},
		{stranger.listen, v2 + upgradeRequest("/ws?user=alice"), 0},
		{stranger.listen, "", 0},
	} {
		start := time.Now()
		a := held(t, c.addr, c.first)
		if a.status != 0 || !a.closed {
			t.Errorf("%q is answered %d, %v", c.first, a.status, a.err)
		}
		if took := time.Since(start); c.within > 0 && took < time.Second/2 {
			t.Errorf("%q: closed after %v, before the rest could come", c.first, took)
		}
	}
	if n := p.metric("pushpod_handshakes_total"); n != refused || stranger.metric("pushpod_handshakes_total") != 0 {
		t.Errorf("%v of them are counted as handshakes", n-refused)
	}
	for log, reason := range map[*output]string{&p.stderr: "does not begin with a PROXY header", &stranger.stderr: "only trusted proxies"} {
		eventually(t, "a line that says why", settle, func() (bool, any) {
			return strings.Contains(log.String(), reason) && strings.Contains(log.String(), "connection closed without an answer"), tail(log.String())
		})
	}
}

func TestProxiesThatFitNothingStopTheStart(t *testing.T) {
	t.Parallel()
	for env, words := range map[string]string{
		"AUTH_MODE=header":                                                   "auth.header",
		"AUTH_MODE=header AUTH_HEADER=X-User":                                "auth.trusted_proxies",
		"AUTH_MODE=header AUTH_TRUSTED_PROXIES=10.0.0.1":                     "auth.header",
		"AUTH_MODE=header AUTH_HEADER=X-User AUTH_TRUSTED_PROXIES=0.0.0.0/0": "anyone who can connect",
		"AUTH_MODE=header AUTH_HEADER=tls-client-cn":                         "tls.client_ca_file",
		"AUTH_HEADER=X-User":                                                 "auth.mode",
		"PROXY_PROTOCOL=on":                                                  "auth.trusted_proxies",
		"AUTH_TRUSTED_PROXIES=10.0.0.1/8":                                    "10.0.0.0/8",
	} {
		r := run(t, strings.Fields("PUSHPOD_"+strings.ReplaceAll(env, " ", " PUSHPOD_")), "serve")
		if r.status != 2 || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: exit %d, %s", env, r.status, r.stderr)
		}
		wantLine(t, env, r.stderr, words)
	}
}
