package hub

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"pushpod/conn"
)

// Behind a proxy that is not named, limits.per_ip would count all its clients as one: that
// is said once, in the log and at /readyz.
func TestAProxyThatNobodyHasNamedIsNoticed(t *testing.T) {
	t.Parallel()
	const forwards = "X-Forwarded-For: 192.0.2.1"
	for name, c := range map[string]struct {
		from  string
		lines []string
		times int // connections; one may come from an address
		perIP int
		warns bool
	}{
		"a private address that forwards":          {"10.0.0.5", []string{forwards}, 1, 1, true},
		"one of a private address":                 {"10.0.0.5", nil, 1, 1, false},
		"all of a private address":                 {"10.0.0.5", nil, 2, 1, true},
		"all of a carrier's network":               {"100.64.0.5", nil, 2, 1, true},
		"all of this machine":                      {"127.0.0.9", nil, 2, 1, true},
		"a public address that says it forwards":   {"203.0.113.5", []string{forwards}, 1, 1, false},
		"all of a public address":                  {"203.0.113.5", nil, 2, 1, false},
		"all of a public address, and it forwards": {"203.0.113.5", []string{forwards}, 2, 1, true},
		"a proxy that is named":                    {"172.16.0.5", []string{forwards}, 2, 1, false},
		"nothing is limited":                       {"10.0.0.5", []string{forwards}, 2, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logLines
			proxies := trust("172.16.0.0/12")
			p := startPod(t, set{
				hub: func(o *Options) {
					o.Limits.PerIP, o.Proxies, o.Log = c.perIP, proxies, zerolog.New(&log)
				},
				conn: func(o *conn.Options) {
					o.Headers, o.ProxyProtocol, o.TrustProxy = HeaderFields(""), true, trust("127.0.0.0/8").Trust
				},
			})
			// The PROXY protocol lends the test an address.
			for range c.times {
				p.exchange("PROXY TCP4 " + c.from + " 127.0.0.1 1 2\r\n" + upgrade("/ws?user=alice", c.lines...))
			}
			count := func() int { return strings.Count(log.String(), "limits.per_ip counts all connections from "+c.from) }
			if c.warns {
				p.eventually("it is logged", func() bool { return count() > 0 })
			}
			said, warnings := count(), 0
			for _, w := range p.Warnings() {
				if w.Name == "proxy" && strings.Contains(w.Reason, c.from) {
					warnings++
				}
			}
			if want := map[bool]int{true: 1}[c.warns]; said != want || warnings != want {
				t.Errorf("said %d times, and %d warnings, want %d; log:\n%s", said, warnings, want, log.String())
			}
		})
	}
}
