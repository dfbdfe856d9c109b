package auth

import (
	"net/netip"
	"net/url"
	"strings"
)

// Origins says which pages may connect (RFC 6454). The zero value allows those of the
// host that they connect to, on whatever port.
type Origins struct{ patterns []string }

// NewOrigins allows the pages of these origins, and no others; with none, those of the
// same host. An origin is scheme://host or scheme://host:port, where * within the host
// stands for one or more of its characters, dots too; or it is null.
func NewOrigins(patterns []string) Origins { return Origins{patterns} }

// Allow says whether the pages of an origin may connect to host, both as a browser
// sends them in Origin and Host.
func (o Origins) Allow(origin, host string) bool {
	for _, p := range o.patterns {
		if matchOrigin(p, origin) {
			return true
		}
	}
	return len(o.patterns) == 0 && sameHost(origin, host)
}

// matchOrigin holds an origin against a pattern. Letters' case does not matter, nor a
// port that is the scheme's own.
func matchOrigin(pattern, origin string) bool {
	pattern, origin = strings.ToLower(pattern), strings.ToLower(origin)
	if pattern == "null" || origin == "null" {
		return pattern == origin
	}
	p, ok1 := splitOrigin(pattern)
	o, ok2 := splitOrigin(origin)
	return ok1 && ok2 && p.scheme == o.scheme && p.port == o.port && !strings.Contains(o.host, "*") && matchHost(p.host, o.host)
}

type splitted struct{ scheme, host, port string }

func splitOrigin(s string) (o splitted, ok bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	host, port := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		host, port = rest[:i], rest[i+1:]
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		port = ""
	}
	return splitted{scheme, host, port}, ok && host != "" && isHostName(host)
}

// isHostName reports whether s consists of what hosts consist of.
func isHostName(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-._:[]*", c)
	})
}

// matchHost matches a host with a pattern in which each * stands for one or more
// characters. It takes the leftmost place for what is between two of them, so that its
// time does not grow with their number.
func matchHost(pattern, host string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(host, parts[0])
	last := len(parts) - 1
	if last == 0 || !ok {
		return pattern == host
	}
	for _, part := range parts[1:last] {
		at := -1
		if rest != "" {
			at = strings.Index(rest[1:], part)
		}
		if at < 0 {
			return false
		}
		rest = rest[1+at+len(part):]
	}
	return len(rest) > len(parts[last]) && strings.HasSuffix(rest, parts[last])
}

// sameHost reports whether a page's origin has the host that it connects to, on
// whatever port. All names of this machine's loopback are one host.
func sameHost(origin, host string) bool {
	o, err := url.Parse(origin)
	if err != nil || o.Scheme != "http" && o.Scheme != "https" {
		return false
	}
	h, err := url.Parse("//" + host)
	if err != nil || o.Hostname() == "" {
		return false
	}
	return strings.EqualFold(o.Hostname(), h.Hostname()) || isLoopback(o.Hostname()) && isLoopback(h.Hostname())
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
