package config

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const maxHost = 253 // RFC 1035 section 2.3.4, without the root

// listenAddress reads where to listen: a host and a port. No host means all
// interfaces; port 0 takes any free one.
func listenAddress() kind[string] {
	return kind[string]{
		name:    "host:port",
		allowed: "host:port with a port from 0 to 65535, such as 127.0.0.1:8080, [::1]:8080 or :8080 (all interfaces)",
		parse: func(raw any) (string, error) {
			text, ok := raw.(string)
			if _, _, valid := splitAddress(text); !ok || !valid {
				return "", errNotAllowed
			}
			return text, nil
		},
	}.as(patternSchema("^" + hostPattern + "?:" + portPattern + "$"))
}

// podAddress reads the name by which other processes tell this pod from others.
func podAddress() kind[string] {
	return kind[string]{
		name:    "host:port",
		allowed: "host:port of this pod alone, with a port from 1 to 65535, such as 10.0.3.7:8080",
		parse: func(raw any) (string, error) {
			text, ok := raw.(string)
			host, port, valid := splitAddress(text)
			if !ok || !valid || host == "" || port == 0 {
				return "", errNotAllowed
			}
			if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
				return "", errors.New("is the same address on every machine")
			}
			return text, nil
		},
	}.as(patternSchema("^" + hostPattern + ":" + portPattern + "$"))
}

// words reads a list of words. Nothing, and only blanks, is an empty list: nil.
func words(raw any) ([]string, bool) {
	switch v := raw.(type) {
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, true
		}
		return trimmed(strings.Split(v, ","))
	case []string:
		return trimmed(v)
	case []any:
		texts := make([]string, len(v))
		for i, e := range v {
			text, ok := e.(string)
			if !ok {
				return nil, false
			}
			texts[i] = text
		}
		return trimmed(texts)
	}
	return nil, false
}

func trimmed(texts []string) ([]string, bool) {
	var words []string
	for _, t := range texts {
		t = strings.TrimSpace(t)
		if t == "" {
			return nil, false
		}
		words = append(words, t)
	}
	return words, true
}

// splitAddress splits host:port where it is written as net.JoinHostPort writes
// it, and the host is an IP address, a host name or empty.
func splitAddress(address string) (host string, port int, ok bool) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil || net.JoinHostPort(host, digits) != address {
		return "", 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || strconv.FormatUint(number, 10) != digits {
		return "", 0, false
	}
	return host, int(number), host == "" || isHost(host)
}

func isHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" || isLabel(ip.Zone())
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, label := range labels {
		if !isLabel(label) {
			return false
		}
	}
	// A number at the end makes it a badly written IPv4 address: 300.1.1.1.
	_, err := strconv.Atoi(labels[len(labels)-1])
	return err != nil && len(host) <= maxHost
}

// isLabel takes what stands between the dots of a host name. Names of
// containers have underscores too.
func isLabel(label string) bool {
	if label == "" || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
		return false
	}
	for _, r := range label {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}

// loopback returns the address under which this machine alone reaches host, and
// whether host is such an address at all.
func loopback(host string) (string, bool) {
	if strings.EqualFold(host, "localhost") {
		return "127.0.0.1", true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Unmap().IsLoopback() {
		return "", false
	}
	return host, true
}
