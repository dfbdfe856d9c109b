package auth

import "testing"

func TestOnlyPagesOfTheSameHostMayConnect(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"http://example.com", "example.com", true},
		{"https://example.com", "example.com:8080", true},
		{"https://example.com:444", "example.com:8080", true},
		{"https://EXAMPLE.com", "example.COM", true},
		{"http://127.0.0.1:3000", "127.0.0.1:8080", true},
		{"http://[::1]:3000", "[::1]:8080", true},
		{"http://[::1]", "[::2]", false},
		{"http://localhost:3000", "127.0.0.1:8080", true}, // names of one host
		{"http://127.0.0.1", "LOCALHOST:8080", true},
		{"http://[::1]:3000", "localhost", true},
		{"http://127.0.0.2", "[::ffff:127.0.0.1]:8080", true},
		{"http://localhost", "example.com", false},
		{"http://localhost.example.com", "localhost", false},
		{"http://10.0.0.1", "127.0.0.1", false},
		{"https://evil.com", "example.com", false},
		{"https://example.com.evil.com", "example.com", false},
		{"https://evil-example.com", "example.com", false},
		{"https://sub.example.com", "example.com", false},
		{"https://example.com@evil.com", "example.com", false},
		{"null", "example.com", false},
		{"null", "null", false},
		{"", "", false},
		{"file://", "", false},
		{"http://", "", false},
		{"chrome-extension://example.com", "example.com", false},
		{"example.com", "example.com", false},
		{"http://127.0.0.1:8080.evil.com", "127.0.0.1:8080", false},
		{"http://127.0.0.1.evil.com", "127.0.0.1:8080", false},
		{"http://%zz", "example.com", false},
		{"http://example.com", "exa mple.com", false},
	} {
		if got := (Origins{}).Allow(c.origin, c.host); got != c.want {
			t.Errorf("origin %q to host %q: %v", c.origin, c.host, got)
		}
	}
}

func TestListedOriginsMayConnect(t *testing.T) {
	for _, c := range []struct {
		pattern, origin string
		want            bool
	}{
		{"https://example.com", "https://example.com", true},
		{"https://example.com", "https://EXAMPLE.com", true},
		{"HTTPS://Example.com:443", "https://example.com", true},
		{"http://example.com:80", "http://example.com", true},
		{"https://example.com:8443", "https://example.com:8443", true},
		{"https://example.com", "https://example.com:8443", false},
		{"https://example.com:80", "https://example.com", false},
		{"https://example.com", "http://example.com", false},
		{"https://example.com", "https://sub.example.com", false},
		{"https://*.example.com", "https://sub.example.com", true},
		{"https://*.example.com", "https://a.b.example.com", true},
		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://.example.com", false},
		{"https://*.example.com", "https://evilexample.com", false},
		{"https://*.example.com", "https://a.example.com.evil.com", false},
		{"https://*.example.com", "https://evil.com/.example.com", false},
		{"https://*.example.com", "https://evil.com#.example.com", false},
		{"https://*.example.com", "https://evil.com?.example.com", false},
		{"https://*.example.com", "https://evil.com@a.example.com", false},
		{"https://*.example.com", "https://evil.com:1@a.example.com", false},
		{"https://*.example.com", "https://evil.com:.example.com", false},
		{"https://*.example.com", "https://*.example.com", false},
		{"https://*.example.com", "https://a b.example.com", false},
		{"https://*.example.com", "http://a.example.com", false},
		{"https://pr-*.app.example.com", "https://pr-17.app.example.com", true},
		{"https://pr-*.*.example.com", "https://pr-17.app.example.com", true},
		{"https://pr-*.*.example.com", "https://pr-.app.example.com", false},
		{"https://*a*b.example.com", "https://xaab.example.com", true},
		{"https://*a*b.example.com", "https://xab.example.com", false},
		{"https://*a*b.example.com", "https://x", false},
		{"https://**.example.com", "https://ab.example.com", true},
		{"https://**.example.com", "https://a.example.com", false},
		{"https://a*a", "https://a", false},
		{"https://a*a", "https://aa", false},
		{"https://a*a", "https://aba", true},
		{"http://localhost:*", "http://localhost:3000", false},
		{"http://[::1]:3000", "http://[::1]:3000", true},
		{"capacitor://localhost", "capacitor://localhost", true},
		{"null", "null", true},
		{"https://*", "null", false},
		{"null", "https://example.com", false},
		{"example.com", "example.com", false},
		{"", "", false},
		{"://", "://", false},
	} {
		if got := NewOrigins([]string{"https://other.example", c.pattern}).Allow(c.origin, "example.com"); got != c.want {
			t.Errorf("pattern %q, origin %q: %v", c.pattern, c.origin, got)
		}
	}
	if NewOrigins([]string{"https://other.example"}).Allow("https://example.com", "example.com") {
		t.Error("a page of the same host that is not listed may connect")
	}
}
