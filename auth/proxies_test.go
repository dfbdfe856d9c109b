package auth

import (
	"net/netip"
	"strings"
	"testing"
)

func proxiesOf(networks ...string) Proxies {
	var all []netip.Prefix
	for _, n := range networks {
		all = append(all, netip.MustParsePrefix(n))
	}
	return NewProxies(all)
}

func TestProxiesAreTrustedByAddress(t *testing.T) {
	p := proxiesOf("10.0.0.0/8", "192.0.2.7/32", "fd00::/8")
	for peer, want := range map[string]bool{
		"10.0.0.0": true, "10.255.255.255": true, "11.0.0.0": false, "9.255.255.255": false, "::ffff:10.1.1.1": true, "::ffff:11.1.1.1": false,
		"192.0.2.7": true, "192.0.2.6": false, "fd12::1": true, "fd12::1%eth0": true, "fe00::1": false, "::a00:1": false, "::1": false, "127.0.0.1": false,
	} {
		if got := p.Trust(netip.MustParseAddr(peer)); got != want {
			t.Errorf("%s is trusted: %v", peer, got)
		}
	}
	if (Proxies{}).Trust(netip.MustParseAddr("127.0.0.1")) || p.Trust(netip.Addr{}) {
		t.Error("trusted without being named")
	}
}

func TestClientsBehindProxies(t *testing.T) {
	p := proxiesOf("10.0.0.0/8", "fd00::/8")
	const proxy = "10.0.0.1"
	for _, c := range []struct{ why, peer, field, want string }{
		{"one proxy", proxy, "192.0.2.1", "192.0.2.1"},
		{"no field", proxy, "", proxy},
		{"the peer is no proxy", "192.0.2.9", "192.0.2.1", "192.0.2.9"},
		{"the peer is no proxy, and names one", "192.0.2.9", "10.0.0.2", "192.0.2.9"},
		{"what the client sent itself is left of its address", proxy, "1.1.1.1, 10.9.9.9, 192.0.2.1", "192.0.2.1"},
		{"two proxies", proxy, "1.1.1.1,192.0.2.1 ,\t10.0.0.2", "192.0.2.1"},
		{"all are proxies", proxy, "10.0.0.4, 10.0.0.3, fd00::2", "10.0.0.4"},
		{"a port", proxy, "192.0.2.1:567", "192.0.2.1"},
		{"IPv6", proxy, "2001:db8::1", "2001:db8::1"},
		{"IPv6 with a port", proxy, "[2001:db8::1]:5", "2001:db8::1"},
		{"IPv6 in brackets", proxy, "[2001:db8::1]", "2001:db8::1"},
		{"IPv6 of a link", proxy, "fe80::1%eth0", "fe80::1"},
		{"IPv4 as IPv6", proxy, "::ffff:192.0.2.1", "192.0.2.1"},
		{"a proxy as IPv6", "::ffff:10.0.0.1", "192.0.2.1, ::ffff:10.0.0.2", "192.0.2.1"},
		{"a proxy with a port", "fd00::1", "192.0.2.1, [fd00::2]:443", "192.0.2.1"},
		{"unknown", proxy, "unknown", proxy},
		{"unknown behind a proxy", proxy, "192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"},
		{"garbage", proxy, "192.0.2.1, <script>", proxy},
		{"garbage left of the client", proxy, "<script>,,, 192.0.2.1", "192.0.2.1"},
		{"an empty element", proxy, "192.0.2.1,", proxy},
		{"blanks", proxy, "  ", proxy},
		{"a host name", proxy, "localhost", proxy},
		{"a number", proxy, "3221225985", proxy},
		{"leading zeros", proxy, "192.000.002.001", proxy},
		{"port alone", proxy, ":80", proxy},
		{"brackets alone", proxy, "[]", proxy},
		{"half a bracket", proxy, "[", proxy},
		{"IPv4 in brackets", proxy, "[192.0.2.1]", "192.0.2.1"},
		{"too many ports", proxy, "192.0.2.1:5:6", proxy},
		{"in quotes", proxy, `"192.0.2.1"`, proxy},
		{"a long one", proxy, strings.Repeat("1", 1<<16), proxy},
		{"a zone without an end", proxy, "fe80::1%" + strings.Repeat("x", 1<<16), proxy},
	} {
		if got := p.Client(netip.MustParseAddr(c.peer), c.field); got.Unmap().String() != c.want {
			t.Errorf("%s: %s by %.60q is %s, want %s", c.why, c.peer, c.field, got, c.want)
		}
	}
}

func TestALongListOfProxiesIsReadInPart(t *testing.T) {
	p := proxiesOf("10.0.0.0/8")
	peer := netip.MustParseAddr("10.0.0.1")
	list := func(hops int) string { return "192.0.2.1" + strings.Repeat(", 10.0.0.2", hops) }
	if got := p.Client(peer, list(maxHops-1)); got.String() != "192.0.2.1" {
		t.Errorf("behind %d proxies: %s", maxHops, got)
	}
	if got := p.Client(peer, list(maxHops)); got.String() != "10.0.0.2" {
		t.Errorf("behind %d proxies: %s", maxHops+1, got)
	}
}

// FuzzClient: whatever stands in the field, the client is the peer, or an address that
// stands in the field, and everything between the two is a proxy.
func FuzzClient(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "10.0.0.3, [fd00::1]:5, 1.2.3.4:567", "unknown,10.0.0.1", "::ffff:10.0.0.1,,", "[::1", "fe80::1%z,10.1.1.1"} {
		f.Add("10.0.0.1", s)
		f.Add("192.0.2.9", s)
	}
	p := proxiesOf("10.0.0.0/8", "fd00::/8")
	f.Fuzz(func(t *testing.T, from, field string) {
		peer, err := netip.ParseAddr(from)
		if err != nil {
			return
		}
		got := p.Client(peer, field)
		if !p.Trust(peer) && got != peer {
			t.Fatalf("%s is no proxy, and its client is %s", peer, got)
		}
		if got == peer {
			return
		}
		parts := strings.Split(field, ",")
		for i := len(parts) - 1; i >= 0; i-- {
			ip, ok := forwarded(parts[i])
			if ok && ip == got {
				return
			}
			if !ok || !p.Trust(ip) {
				t.Fatalf("%q: client %s, left of %q", field, got, parts[i])
			}
		}
		t.Fatalf("%q: client %s, which is not in it", field, got)
	})
}
