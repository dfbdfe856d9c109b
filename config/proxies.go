package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Values of auth.header that take the user from the client's certificate.
const (
	HeaderClientCN  = "tls-client-cn"
	HeaderClientSAN = "tls-client-san"
)

// proxies reads a list of addresses and networks. An IPv4 one that is written as IPv6
// is the IPv4 one.
func proxies() kind[[]netip.Prefix] {
	const allowed = "a list of IP addresses, networks such as 10.0.0.0/8 or fd00::/8, and the word loopback (127.0.0.0/8 and ::1)"
	return kind[[]netip.Prefix]{name: "networks", allowed: allowed, parse: func(raw any) ([]netip.Prefix, error) {
		all, ok := words(raw)
		if !ok {
			return nil, errNotAllowed
		}
		var networks []netip.Prefix
		for _, one := range all {
			some, err := networksOf(one)
			if err != nil {
				return nil, err
			}
			networks = append(networks, some...)
		}
		return networks, nil
	}}.as(listSchema(patternSchema("^(loopback|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$")))
}

func networksOf(one string) ([]netip.Prefix, error) {
	if one == "loopback" {
		return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, nil
	}
	if ip, err := netip.ParseAddr(one); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return []netip.Prefix{netip.PrefixFrom(ip, ip.BitLen())}, nil
	}
	p, err := netip.ParsePrefix(one)
	if err != nil {
		return nil, errNotAllowed
	}
	const mapped = 96 // bits before the IPv4 address (RFC 4291 section 2.5.5.2)
	if p.Addr().Is4In6() {
		if p.Bits() < mapped {
			return nil, errNotAllowed
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	if p != p.Masked() {
		return nil, fmt.Errorf("the network of %s is %s, a single address has no /", one, p.Masked())
	}
	return []netip.Prefix{p}, nil
}

// everyone says whether a list holds all addresses of IPv4 or IPv6.
func everyone(networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Bits() == 0 })
}

// userHeader reads the name of the header field that says who the user is, a word that
// stands for the client's certificate, or nothing.
func userHeader() kind[string] {
	form := regexp.MustCompile("^" + tokenChar + "{1,256}$") // RFC 9110 section 5.1
	others := regexp.MustCompile(`(?i)^(host|origin|connection|upgrade|content-length|transfer-encoding|sec-.*|cookie|authorization|forwarded|x-forwarded-for|x-real-ip)$`)
	const allowed = "nothing, the name of a header field, such as X-User, or " + HeaderClientCN + " or " + HeaderClientSAN
	return kind[string]{name: "field", allowed: allowed, parse: func(raw any) (string, error) {
		s, ok := raw.(string)
		switch {
		case ok && (s == "" || s == HeaderClientCN || s == HeaderClientSAN):
			return s, nil
		case !ok || !form.MatchString(s) || strings.HasPrefix(strings.ToLower(s), "tls-client-"):
			return "", errNotAllowed
		case others.MatchString(s):
			return "", errors.New("is a header field with a meaning of its own")
		}
		return s, nil
	}}.as(patternSchema("^" + tokenChar + "{0,256}$"))
}

// checkProxies holds the keys about proxies against each other.
func (l *loader) checkProxies(c Config) {
	a := c.Auth
	if !l.sound("auth.mode", "auth.header", "auth.trusted_proxies", "auth.insecure", "proxy_protocol") {
		return
	}
	byCertificate := a.Header == HeaderClientCN || a.Header == HeaderClientSAN
	switch header := a.Mode == "header"; {
	case !header && a.Header != "":
		l.conflict("auth.header", "would not be looked at", "only together with auth.mode: header")
	case header && a.Header == "":
		l.conflict("auth.mode", "nothing says which header field names the user", "header together with auth.header")
	case header && byCertificate && !c.clientCertificates():
		l.conflict("auth.header", "clients need no certificate", a.Header+" together with tls.client_ca_file")
	case header && !byCertificate && len(a.TrustedProxies) == 0:
		l.conflict("auth.mode", "no proxy is trusted to say who the user is", "header together with auth.trusted_proxies")
	case header && !byCertificate && everyone(a.TrustedProxies) && !a.Insecure:
		l.conflict("auth.trusted_proxies", "with auth.mode header, anyone who can connect can be any user",
			"the addresses of the proxies alone, or with auth.insecure: true")
	}
	if c.ProxyProtocol && len(a.TrustedProxies) == 0 {
		l.conflict("proxy_protocol", "no proxy is trusted to send it, so everyone would be closed", "on together with auth.trusted_proxies")
	}
}

// clientCertificates says whether clients need a certificate.
func (c Config) clientCertificates() bool { return c.TLS.ClientCAFile != "" }
