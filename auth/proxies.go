package auth

import (
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the peers that are believed when they say where a client is and who it
// is. The zero value is none.
type Proxies struct{ networks []netip.Prefix }

// NewProxies believes all peers within these networks, of which those of IPv4 are
// written as IPv4.
func NewProxies(networks []netip.Prefix) Proxies { return Proxies{networks} }

// Trust says whether a peer is one of them.
func (p Proxies) Trust(peer netip.Addr) bool {
	peer = peer.Unmap().WithZone("") // a network with a zone contains nothing
	return slices.ContainsFunc(p.networks, func(n netip.Prefix) bool { return n.Contains(peer) })
}

// maxHops bounds how many proxies a client can be behind. It also bounds how long
// Client takes where somebody sends a list of nothing but proxies.
const maxHops = 32

// Client returns where the client of a peer is, by what stands in X-Forwarded-For, of
// which each proxy adds its own peer at the end: the last address that is no proxy's. If
// all are proxies', it is the first one. What is left of something that is no address is
// not looked at, since whoever wrote that may have written all of it: then it is the last
// proxy that is known.
func (p Proxies) Client(peer netip.Addr, forwardedFor string) netip.Addr {
	client, rest := peer, forwardedFor
	for hops := 0; rest != "" && hops < maxHops && p.Trust(client); hops++ {
		at := strings.LastIndexByte(rest, ',')
		before, ok := forwarded(rest[at+1:])
		if !ok {
			return client
		}
		client, rest = before, rest[:max(at, 0)]
	}
	return client
}

// maxForwarded is longer than any address with a port: "[…]:65535", and IPv6 with IPv4
// in it and a zone.
const maxForwarded = 128

// forwarded reads an address: 192.0.2.1, 192.0.2.1:567, 2001:db8::1, [2001:db8::1] or
// [2001:db8::1]:567.
func forwarded(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if s == "" || len(s) > maxForwarded {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(s)
	if err != nil && s[0] == '[' && s[len(s)-1] == ']' {
		ip, err = netip.ParseAddr(s[1 : len(s)-1])
	} else if err != nil {
		var both netip.AddrPort
		both, err = netip.ParseAddrPort(s)
		ip = both.Addr()
	}
	return ip.Unmap().WithZone(""), err == nil
}
