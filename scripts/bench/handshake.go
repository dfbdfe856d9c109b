//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	// The key is RFC 6455's own example, and so is the answer to it.
	handshakeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	handshakeAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

	maxAnswer = 16 << 10 // bytes of an answer's header
)

// target is the WebSocket server to measure.
type target struct {
	addr netip.AddrPort
	host string // the Host header
	path string // with the query, and without the user
	from int    // the number of the first connection's user
}

// newTarget takes a URL such as ws://host:port/ws apart. The address is left
// to be resolved.
func newTarget(s string) (t target, hostPort string, err error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "ws" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return target{}, "", fmt.Errorf("bench: --url %q: want ws://host:port/path, such as ws://127.0.0.1:8080/ws", s)
	}
	if u.Query().Has("user") {
		return target{}, "", fmt.Errorf("bench: --url %q: leave out user: each connection is given its own", s)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/ws"
	}
	sep := "?"
	if u.RawQuery != "" {
		path, sep = path+"?"+u.RawQuery, "&"
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return target{host: u.Host, path: path + sep + "user="}, net.JoinHostPort(u.Hostname(), port), nil
}

// user is the name of the i-th user.
func user(i int) string { return "u" + strconv.Itoa(i) }

// appendRequest appends the handshake of the i-th connection to this target (RFC 6455, section 4.1).
func (t target) appendRequest(dst []byte, i int) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, t.path...)
	dst = append(dst, user(t.from+i)...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, t.host...)
	return append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "+handshakeKey+
		"\r\nSec-WebSocket-Version: 13\r\n\r\n"...)
}

// takeAnswer takes the server's answer off b, and returns what stands behind it; ok is
// false, and rest is all of b, while it is not complete.
func takeAnswer(b []byte) (rest []byte, ok bool, err error) {
	head, rest, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	switch {
	case !ok && len(b) > maxAnswer:
		return b, false, fmt.Errorf("bench: the answer to the handshake has no end within %d bytes", maxAnswer)
	case !ok:
		return b, false, nil
	case !bytes.HasPrefix(head, []byte("HTTP/1.1 101")):
		return b, false, fmt.Errorf("bench: handshake refused: %s", firstWords(b))
	case !bytes.Contains(head, []byte(handshakeAccept)):
		return b, false, fmt.Errorf("bench: the answer to the handshake has no proper Sec-WebSocket-Accept: %s", firstWords(b))
	}
	return rest, true, nil
}

// firstWords is the status line and the body of an HTTP answer, cut short.
func firstWords(b []byte) string {
	head, body, _ := strings.Cut(string(b), "\r\n\r\n")
	line, _, _ := strings.Cut(head, "\r\n")
	return fmt.Sprintf("%.60q %.200q", line, body)
}
