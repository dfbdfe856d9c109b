package hub

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"pushpod/auth"
	"pushpod/conn"
)

func trust(networks ...string) auth.Proxies {
	var all []netip.Prefix
	for _, n := range networks {
		all = append(all, netip.MustParsePrefix(n))
	}
	return auth.NewProxies(all)
}

// byHeader is a pod of auth.mode header, which believes these.
func byHeader(t *testing.T, networks []string, more ...func(*Options)) *pod {
	return startPod(t, set{
		hub: func(o *Options) {
			o.Header, o.Proxies = "X-User", trust(networks...)
			for _, set := range more {
				set(o)
			}
		},
		conn: func(o *conn.Options) { o.Headers = HeaderFields("X-User") },
	})
}

func TestATrustedProxySaysWhoConnects(t *testing.T) {
	t.Parallel()
	p := byHeader(t, []string{"127.0.0.0/8"})
	for name, c := range map[string]struct {
		lines  string
		status int
		user   string // for 101
	}{
		"a user":                        {"X-User: alice", 101, "alice"},
		"in another case":               {"x-uSER:alice", 101, "alice"},
		"with blanks around it":         {"X-User: \t alice smith \t", 101, "alice smith"},
		"in UTF-8":                      {"X-User: älice", 101, "älice"},
		"escaped, which it stays":       {"X-User: a%20b", 101, "a%20b"},
		"with semicolons and equals":    {"X-User: uid=1;x", 101, "uid=1;x"},
		"missing":                       {"X-Other: alice", 401, ""},
		"empty":                         {"X-User:", 401, ""},
		"blank":                         {"X-User:  \t", 401, ""},
		"twice":                         {"X-User: alice\r\nX-User: bob", 400, ""},
		"twice the same":                {"X-User: alice\r\nX-User: alice", 400, ""},
		"twice, in different cases":     {"X-User: alice\r\nx-user: bob", 400, ""},
		"twice, the first one empty":    {"X-User:\r\nX-User: bob", 400, ""},
		"twice, the last one empty":     {"X-User: alice\r\nX-User:", 400, ""},
		"twice, both empty":             {"X-User:\r\nX-User:", 400, ""},
		"a list":                        {"X-User: alice, bob", 400, ""},
		"a list with nothing in it":     {"X-User: ,", 400, ""},
		"an underscore":                 {"X_User: mallory", 401, ""},
		"an underscore beside it":       {"X_User: mallory\r\nX-User: alice\r\nX.User: mallory", 101, "alice"},
		"a blank before the colon":      {"X-User : mallory", 400, ""},
		"a folded line":                 {"X-User:\r\n mallory", 400, ""},
		"a control character":           {"X-User: a\x01b", 400, ""},
		"a brace":                       {"X-User: }x", 400, ""},
		"no UTF-8":                      {"X-User: \xff", 400, ""},
		"too long":                      {"X-User: " + strings.Repeat("x", 257), 400, ""},
		"as long as may be":             {"X-User: " + strings.Repeat("x", 256), 101, strings.Repeat("x", 256)},
		"a name that begins as it does": {"X-User-Id: alice\r\nX-Use: bob", 401, ""},
	} {
		// ?user= and a token are not looked at.
		answer := p.exchange(upgrade("/ws?user=mallory&token=x", c.lines, "Authorization: Bearer x"))
		if answer.status != c.status || c.user != "" && !strings.Contains(answer.rest, fmt.Sprintf(`"user":%q`, c.user)) {
			t.Errorf("%s: %d %s, want %d", name, answer.status, answer.rest, c.status)
		}
	}
}

func TestOnlyATrustedProxySaysWhoConnects(t *testing.T) {
	t.Parallel()
	p := byHeader(t, []string{"10.0.0.0/8", "::1/128"})
	for _, lines := range []string{"X-User: alice", "X-User: alice\r\nX-Forwarded-For: 10.0.0.1", "X-User: alice, bob", "X-Other: x"} {
		if got := p.exchange(upgrade("/ws", lines)); got.status != http.StatusUnauthorized {
			t.Errorf("%q of nobody that is trusted: %d %s", lines, got.status, got.rest)
		}
	}
}

func TestCertificatesSayWhoConnects(t *testing.T) {
	t.Parallel()
	var missing atomic.Bool
	p := startPod(t, set{hub: func(o *Options) {
		o.Certificate = func(*x509.Certificate) (string, error) {
			if missing.Load() {
				return "", auth.ErrNoCertificate
			}
			return "alice", nil
		}
	}})
	if got := p.exchange(upgrade("/ws?user=bob")); got.status != http.StatusSwitchingProtocols || !strings.Contains(got.rest, `"alice"`) {
		t.Errorf("%+v", got)
	}
	missing.Store(true)
	if got := p.exchange(upgrade("/ws?user=bob")); got.status != http.StatusUnauthorized || !strings.Contains(got.rest, string(auth.ErrNoCertificate)) {
		t.Errorf("without one: %+v", got)
	}
}

func TestAddressesBehindProxiesAreTheClients(t *testing.T) {
	t.Parallel()
	var log logLines
	p := byHeader(t, []string{"127.0.0.0/8", "10.0.0.0/8"}, func(o *Options) { o.Limits.PerIP, o.Log = 2, zerolog.New(&log) })
	open := func(forwarded string) int {
		c, err := p.dial("", http.Header{"X-User": {"alice"}, "X-Forwarded-For": {forwarded}})
		if err != nil {
			return 429
		}
		p.clients = append(p.clients, &wsClient{Conn: c, t: t})
		return 101
	}
	// Two may come from an address, which has many names.
	for _, same := range [][]string{
		{"192.0.2.1", "192.0.2.1:80", "::ffff:192.0.2.1", "6.6.6.6, 192.0.2.1", "192.0.2.1, 10.0.0.7"},
		{"192.0.2.2", "192.0.2.2", "192.0.2.2"},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff::1", "[2001:db8:0:1::2]:443"},
		{"2001:db8:0:2::1", "2001:db8:0:2::1", "2001:db8:0:2::1"},
		{"unknown", "", "192.0.2.9, garbage"}, // the proxy's own
	} {
		for i, forwarded := range same {
			if got, want := open(forwarded), map[bool]int{true: 101, false: 429}[i < 2]; got != want {
				t.Errorf("%q, the %d. of its address: %d, want %d", forwarded, i+1, got, want)
			}
		}
	}
	p.eventually("an address in the log", func() bool {
		return strings.Contains(log.String(), `"address":"192.0.2.1","message":"handshake refused"`)
	})
	p.clients[0].close() // of 192.0.2.1
	p.eventually("its place is free", func() bool { return open("192.0.2.1") == 101 })
}

// From an address that is not trusted, X-Forwarded-For is nothing.
func TestAddressesThatAnyoneSaysAreNotBelieved(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{hub: func(o *Options) { o.Limits.PerIP, o.Proxies = 2, trust("10.0.0.0/8") }})
	for i, want := range []int{101, 101, 429} {
		c, err := p.dial("alice", http.Header{"X-Forwarded-For": {fmt.Sprint("192.0.2.", i)}})
		if (err == nil) != (want == 101) {
			t.Fatalf("connection %d: %v", i, err)
		}
		if err == nil {
			p.clients = append(p.clients, &wsClient{Conn: c, t: t})
		}
	}
}

// What a PROXY header tells is the peer: where that is a proxy too, it is believed.
func TestProxiesBehindTheProxyProtocol(t *testing.T) {
	t.Parallel()
	proxies := trust("127.0.0.0/8", "10.0.0.0/8")
	p := startPod(t, set{
		hub: func(o *Options) { o.Header, o.Proxies, o.Limits.PerIP = "X-User", proxies, 1 },
		conn: func(o *conn.Options) {
			o.Headers, o.ProxyProtocol, o.TrustProxy = HeaderFields("X-User"), true, proxies.Trust
		},
	})
	at := func(proxy, user, forwarded string) int {
		return p.exchange(proxy + "\r\n" + upgrade("/ws", "X-User: "+user, "X-Forwarded-For: "+forwarded)).status
	}
	const proxy, client = "PROXY TCP4 10.0.0.5 127.0.0.1 1 2", "PROXY TCP4 192.0.2.5 127.0.0.1 1 2"
	for _, c := range []struct {
		why, head, forwarded string
		want                 int
	}{
		{"a client comes right to the first proxy", client, "10.0.0.9", 401},
		{"a client comes by a second one", proxy, "192.0.2.1", 101},
		{"it counts by its own address", proxy, "192.0.2.1", 429},
		{"another one", proxy, "192.0.2.2", 101},
		{"the second one itself", proxy, "", 101},
		{"the second one itself, again", "PROXY TCP4 10.0.0.5 127.0.0.1 3 4", "", 429},
		{"the first one itself", "PROXY UNKNOWN", "", 101},
	} {
		if got := at(c.head, "alice", c.forwarded); got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
}
