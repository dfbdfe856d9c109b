package conn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestRequestsAreCheckedStrictly(t *testing.T) {
	good := request("?user=u")
	without := func(name string) string {
		var b strings.Builder
		for _, line := range strings.SplitAfter(good, "\r\n") {
			if !strings.HasPrefix(line, name+":") {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	with := func(line string) string { return strings.TrimSuffix(good, "\r\n") + line + "\r\n\r\n" }
	line := func(l string) string { _, rest, _ := strings.Cut(good, "\r\n"); return l + "\r\n" + rest }
	full := "user=u"
	for i := range maxParameters - 1 {
		full += fmt.Sprintf("&p%d=", i)
	}
	cases := map[string]struct {
		request string
		status  int // 0: it is taken
	}{
		"good":                    {good, 0},
		"names in another case":   {strings.ReplaceAll(good, "Sec-WebSocket-Key", "sec-websocket-KEY"), 0},
		"connection as a list":    {strings.Replace(good, "Connection: Upgrade", "Connection: keep-alive, upgrade", 1), 0},
		"connection in two lines": {with("Connection: keep-alive"), 0},
		"its subprotocol":         {with("Sec-WebSocket-Protocol: other, pushpod.v1"), 0},
		"length 0":                {with("Content-Length: 0"), 0},
		"unknown subprotocols":    {with("Sec-WebSocket-Protocol: other"), 400},
		"subprotocol, other case": {with("Sec-WebSocket-Protocol: PushPod.v1"), 400},
		"as many parameters":      {line("GET /ws?" + full + " HTTP/1.1"), 0},
		"too many parameters":     {line("GET /ws?" + full + "&more= HTTP/1.1"), 400},
		"no host":                 {without("Host"), 400},
		"host twice":              {with("Host: other"), 400},
		"no key":                  {without("Sec-WebSocket-Key"), 400},
		"key twice":               {with("Sec-WebSocket-Key: " + key), 400},
		"key of 15 bytes":         {strings.Replace(good, key, "AAAAAAAAAAAAAAAAAAAA", 1), 400},
		"key not base64":          {strings.Replace(good, key, "!!!!!!!!!!!!!!!!!!!!!!==", 1), 400},
		"no version":              {without("Sec-WebSocket-Version"), 400},
		"version 8":               {strings.Replace(good, "Version: 13", "Version: 8", 1), 426},
		"no connection":           {without("Connection"), 400},
		"a body":                  {with("Content-Length: 5"), 400},
		"chunked":                 {with("Transfer-Encoding: chunked"), 400},
		"length twice":            {with("Content-Length: 0\r\nContent-Length: 0"), 400},
		"folded line":             {with("X: a\r\n b"), 400},
		"space before the colon":  {with("X : a"), 400},
		"control character":       {with("X: a\x00b"), 400},
		"no colon":                {with("garbage"), 400},
		"HTTP/1.0":                {line("GET /ws?user=u HTTP/1.0"), 505},
		"HTTP/2.0":                {line("GET /ws?user=u HTTP/2.0"), 505},
		"no version of HTTP":      {line("GET /ws?user=u"), 400},
		"two spaces":              {line("GET  /ws?user=u HTTP/1.1"), 400},
		"POST":                    {line("POST /ws?user=u HTTP/1.1"), 405},
		"unknown method":          {line("BREW /ws?user=u HTTP/1.1"), 501},
		"another path":            {line("GET /other?user=u HTTP/1.1"), 404},
		"absolute target":         {line("GET http://x/ws?user=u HTTP/1.1"), 400},
		"parameter twice":         {line("GET /ws?user=a&user=b HTTP/1.1"), 400},
		"twice, once escaped":     {line("GET /ws?user=a&us%65r=b HTTP/1.1"), 400},
		"bad escape":              {line("GET /ws?user=%zz HTTP/1.1"), 400},
	}
	var reader requestReader // one for all: nothing of a request is in the next one
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, refusal := reader.read(strings.TrimSuffix(tc.request, "\r\n\r\n"))
			switch {
			case tc.status == 0 && refusal != nil:
				t.Fatalf("refused: %+v", refusal)
			case tc.status == 0 && (!r.upgrade || !slices.Contains(r.Query, Parameter{"user", "u"})):
				t.Fatalf("read as %+v", r)
			case tc.status != 0 && (refusal == nil || refusal.Status != tc.status || refusal.Reason == "" || refusal.Error == ""):
				t.Fatalf("got %+v, want status %d", refusal, tc.status)
			}
		})
	}
}

func TestWithoutUpgradeTheSameIsAnsweredAsHTTP(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		c := s.dial(t)
		c.send([]byte("GET /ws?user=u HTTP/1.1\r\nHost: x\r\nOrigin: http://good\r\n\r\n"))
		h := c.wantRefusal(426)
		if h["access-control-allow-origin"] != "http://good" || h["access-control-allow-credentials"] != "true" || h["vary"] != "Origin" || h["connection"] != "close" {
			t.Fatalf("header %v", h)
		}
		c = s.dial(t)
		c.send([]byte("GET /ws?user=u&user=v HTTP/1.1\r\nHost: x\r\nOrigin: http://bad\r\n\r\n"))
		if h := c.wantRefusal(400); h["access-control-allow-origin"] != "" {
			t.Fatalf("header %v", h)
		}
	})
}

func TestTooLargeAHeaderIsRefused(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.MaxHeader = 1000 })
		c := s.dial(t)
		c.send([]byte(request("?user=u", "X: "+strings.Repeat("x", 1000)+"\r\n")))
		c.wantRefusal(431)
		c = s.dial(t)
		c.send([]byte("GET /ws?user=u HTTP/1.1\r\nX: " + strings.Repeat("x", 1000)))
		c.wantRefusal(431)
	})
}

// Whatever a client sends as a request, at most a connection that registers
// comes of it, and the parts of a split request are understood as the whole is.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(request("?user=u")), 7)
	f.Add([]byte(request("?user=u&ping=app,30", "Origin: http://x\r\n")), 1)
	f.Add([]byte("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"), 3)
	f.Add([]byte("POST / HTTP/1.0\r\n\r\n"), 100)
	f.Add([]byte("\x16\x03\x01"), 1)
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		one, _ := fuzzConn()
		two, _ := fuzzConn()
		for _, c := range []*Conn{one, two} {
			c.state = stateHandshaking
			c.loop.open--
			c.loop.pending++
		}
		feed := func(c *Conn, b []byte) { // as a transport does: with the loop locked
			c.loop.mu.Lock()
			defer c.loop.mu.Unlock()
			c.input(append([]byte(nil), b...))
		}
		feed(one, b)
		for split = max(1, split%64); len(b) > 0; {
			n := min(split, len(b))
			feed(two, b[:n])
			b = b[n:]
		}
		one.loop.mu.Lock()
		defer one.loop.mu.Unlock()
		two.loop.mu.Lock()
		defer two.loop.mu.Unlock()
		settled := func(c *Conn) bool { return c.state == stateRefused }
		if settled(one) != settled(two) && len(one.loop.handshakes)+len(two.loop.handshakes) == 0 {
			t.Fatalf("state %d whole, %d split", one.state, two.state)
		}
	})
}
