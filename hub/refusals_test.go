package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"pushpod/conn"
	"pushpod/presence"
)

// way is how somebody is refused.
type way int

const (
	byAnswer way = iota // an HTTP answer to an upgrade, which browsers hide
	byGet               // the same to a plain GET, which a page can read
	byClose             // a close frame (?refuse=close), which a page can read too
	byEvents            // the answer to a request for server-sent events
)

func (w way) String() string {
	return [...]string{"upgrade", "plain GET", "?refuse=close", "events"}[w]
}

// TestEveryRefusalByEveryWay walks each kind of refusal through all of these ways.
func TestEveryRefusalByEveryWay(t *testing.T) {
	t.Parallel()
	const page, other = "http://localhost:3000", "http://example.com"
	none := set{}
	expired := hsToken(t, map[string]any{"sub": "u", "exp": 1})
	issuer, down := newIssuer(t), newIssuer(t)
	down.down.Store(true)
	limits := func(l Limits) set { return set{hub: func(o *Options) { o.Limits = l }} }
	connected := func(p *pod) { p.connect("first") }
	// edited is a request of which something is changed, or which ends there.
	edited := func(from, to string) func(string) string {
		return func(r string) string {
			before, after, found := strings.Cut(r, from)
			if !found {
				t.Fatalf("%q is not in %q", from, r)
			}
			if to == "END" {
				return before + from
			}
			return before + to + after
		}
	}
	for name, c := range map[string]struct {
		set    set
		start  func(*testing.T) *pod // in place of set
		before func(*pod)
		query  string
		origin string              // "": the page's
		edit   func(string) string // of the request; nil: none
		status int
		fault  string
		code   ws.StatusCode // by a close frame; 0: by the answer too
		retry  bool
		except string // ways that can't be refused so
	}{
		"nobody":                {set: none, status: 401, fault: "unauthorized", code: 4001},
		"another page":          {set: none, query: "user=u", origin: other, status: 403, fault: "forbidden", code: 4003},
		"no user id":            {set: none, query: "user=%7D", status: 400, fault: "bad_request"},
		"two users":             {set: none, query: "user=u&user=v", status: 400, fault: "bad_request"},
		"a bad ping":            {set: none, query: "user=u&ping=1", status: 400, fault: "bad_request"},
		"a body":                {set: none, query: "user=u", edit: edited("Host:", "Content-Length: 1\r\nHost:"), status: 400, fault: "bad_request"},
		"a malformed head":      {set: none, query: "user=u", edit: edited("\r\n\r\n", "\r\nbad\n\r\n"), status: 400, fault: "bad_request"},
		"another version":       {set: none, query: "user=u", edit: edited("Version: 13", "Version: 12"), status: 426, fault: "bad_version", except: "plain GET, events"},
		"another path":          {set: none, query: "user=u", edit: edited("?", "/other?"), status: 404, fault: "not_found"},
		"another method":        {set: none, query: "user=u", edit: edited("GET", "POST"), status: 405, fault: "bad_method"},
		"a preflight":           {set: none, query: "user=u", edit: edited("GET", "OPTIONS"), status: 405, fault: "bad_method", except: "events"},
		"an unknown method":     {set: none, query: "user=u", edit: edited("GET", "BREW"), status: 501, fault: "bad_method"},
		"another HTTP":          {set: none, query: "user=u", edit: edited("HTTP/1.1", "HTTP/1.0"), status: 505, fault: "bad_version", except: "events"},
		"too large a head":      {set: none, query: "user=u", edit: edited("\r\n\r\n", "\r\nX: "+strings.Repeat("x", 16<<10)+"\r\n\r\n"), status: 431, fault: "too_large"},
		"a head without end":    {set: set{conn: func(o *conn.Options) { o.HandshakeTimeout = 300 * time.Millisecond }}, query: "user=u", edit: edited("\r\n\r\n", "\r\nX: "), status: 408, fault: "timeout"},
		"a full pod":            {set: limits(Limits{Connections: 1}), before: connected, query: "user=u", status: 503, fault: "unavailable", code: 4053, retry: true},
		"a full address":        {set: limits(Limits{PerIP: 1}), before: connected, query: "user=u", status: 429, fault: "too_many", code: 4029, retry: true},
		"too many handshakes":   {set: limits(Limits{HandshakesPerSecond: 1}), before: func(p *pod) { p.gate.handshakes.SetBurst(0) }, query: "user=u", status: 429, fault: "rate", code: 4029, retry: true},
		"a user who has enough": {set: set{presence: func(o *presence.Options) { o.PerUser = 1 }}, before: connected, query: "user=first", status: 429, fault: "too_many", code: 4029, retry: true},
		"no descriptors":        {set: set{conn: func(o *conn.Options) { o.MaxConns = 1 }}, before: connected, query: "user=u", status: 503, fault: "unavailable", code: 4053, retry: true},
		"a leaving pod":         {set: none, before: func(p *pod) { p.Refuse() }, query: "user=u", status: 503, fault: "unavailable", code: 4053, retry: true},
		"no Redis":              {set: none, before: withoutRedis, query: "user=u", status: 503, fault: "unavailable", code: 4053, retry: true},
		"no token":              {start: func(t *testing.T) *pod { return startTokenPod(t, nil, nil) }, query: "user=u", status: 401, fault: "unauthorized", code: 4001},
		"a bad token":           {start: func(t *testing.T) *pod { return startTokenPod(t, nil, nil) }, query: "token=" + expired, status: 401, fault: "unauthorized", code: 4001},
		"a bad token that takes long": {start: func(t *testing.T) *pod { return startTokenPod(t, issuer, nil) },
			query: "token=" + issuer.token(t, "u", -time.Hour), status: 401, fault: "unauthorized", code: 4001},
		"a token without a key": {start: func(t *testing.T) *pod { return startTokenPod(t, down, nil) },
			query: "token=" + down.token(t, "u", time.Hour), status: 503, fault: "unavailable", code: 4053, retry: true},
		"no proxy": {start: func(t *testing.T) *pod { return byHeader(t, []string{"10.0.0.0/8"}) },
			query: "user=u", edit: edited("Host:", "X-User: u\r\nHost:"), status: 401, fault: "unauthorized", code: 4001},
		"a proxy that adds to a header": {start: func(t *testing.T) *pod { return byHeader(t, []string{"127.0.0.0/8"}) },
			query: "user=u", edit: edited("Host:", "X-User: u\r\nX-User: v\r\nHost:"), status: 400, fault: "bad_request"},
		"no Redis writes": {set: none, before: withoutWrites, query: "user=u", status: 503, fault: "unavailable", code: 4053, retry: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.start == nil {
				c.start = func(t *testing.T) *pod { return startPod(t, c.set) }
			}
			p := c.start(t)
			if c.before != nil {
				c.before(p)
			}
			if c.origin == "" {
				c.origin = page
			}
			for _, w := range []way{byAnswer, byGet, byClose, byEvents} {
				if strings.Contains(c.except, w.String()) {
					continue
				}
				counted := p.server.Stats().Handshakes
				a := p.exchange(refusable(w, c.query, c.origin, c.edit))
				if w == byClose && c.code != 0 {
					wantCode(t, w, a, c.code, c.retry)
				} else {
					wantAnswer(t, w, a, c.status, c.fault, c.retry)
					wantReadable(t, w, a, c.origin, c.origin == page)
				}
				for status, n := range p.server.Stats().Handshakes {
					if want := counted[status] + map[bool]uint64{true: 1}[status == c.status]; n != want {
						t.Errorf("%v: %d are counted as %d, want %d", w, n, status, want)
					}
				}
			}
		})
	}
}

// refusable is a request that is refused in a way.
func refusable(w way, query, origin string, edit func(string) string) string {
	target := "/ws?" + query
	switch w {
	case byClose:
		target += "&refuse=close"
	case byEvents:
		target = "/sse?refuse=close&" + query // which has no say in it
	}
	r := upgrade(target, "Origin: "+origin)
	if w == byGet || w == byEvents {
		r = fmt.Sprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nOrigin: %s\r\n\r\n", target, origin)
	}
	if edit != nil {
		r = edit(r)
	}
	return r
}

func wantCode(t *testing.T, w way, a exchanged, code ws.StatusCode, retry bool) {
	t.Helper()
	ms := 0
	_, err := fmt.Sscanf(a.rest, "retry_ms=%d", &ms)
	if a.status != http.StatusSwitchingProtocols || a.code != code || (err == nil) != retry || retry && ms < 1000 || !retry && a.rest == "" {
		t.Errorf("%v: %d, close %d %q, want %d", w, a.status, a.code, a.rest, code)
	}
}

func wantAnswer(t *testing.T, w way, a exchanged, status int, fault string, retry bool) {
	t.Helper()
	var body struct{ Error, Reason string }
	if err := json.Unmarshal([]byte(a.rest), &body); err != nil || a.status != status || body.Error != fault || body.Reason == "" {
		t.Errorf("%v: %d %q, want %d %s", w, a.status, a.rest, status, fault)
	}
	if got := a.header.Get("Retry-After"); (got != "") != retry {
		t.Errorf("%v: Retry-After %q", w, got)
	}
	if !a.closed {
		t.Errorf("%v: the connection is not closed behind it", w)
	}
}

// wantReadable holds that pages of the origin can read an answer, or can't.
func wantReadable(t *testing.T, w way, a exchanged, origin string, can bool) {
	t.Helper()
	h := a.header
	if h.Get("Vary") != "Origin" {
		t.Errorf("%v: Vary %q", w, h.Get("Vary"))
	}
	if !can {
		origin = ""
	}
	if got := h.Get("Access-Control-Allow-Origin"); got != origin || (h.Get("Access-Control-Allow-Credentials") == "true") != can {
		t.Errorf("%v: Access-Control-Allow-Origin %q, want %q", w, got, origin)
	}
}

func withoutRedis(p *pod) {
	p.feed.Refuse(true)
	p.eventually("the loss is noticed", func() bool { return p.has("unsubscribed") })
}

func withoutWrites(p *pod) {
	p.untidy = true
	p.connect("first")
	if err := p.admin.ConfigSet(context.Background(), "min-replicas-to-write", "1").Err(); err != nil {
		p.t.Fatal(err)
	}
	p.eventually("a refused write is noticed", func() bool {
		_, _ = p.dial("u", nil)
		return p.has("presence")
	})
}
