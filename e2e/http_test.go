package e2e

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const handshakeKey = "dGhlIHNhbXBsZSBub25jZQ==" // RFC 6455 section 1.3

// acceptOf computes Sec-WebSocket-Accept (RFC 6455 section 4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// upgradeRequest returns a good handshake for the target, changed by lines:
// "Name: value" takes the place of the header of that name or is added,
// "-Name" removes it, "+Name: value" adds a second one.
func upgradeRequest(target string, lines ...string) string {
	return request("GET "+target+" HTTP/1.1", append([]string{
		"Host: 127.0.0.1",
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: " + handshakeKey,
	}, lines...)...)
}

// request returns an HTTP request of that first line and headers, put together
// as upgradeRequest says.
func request(first string, lines ...string) string {
	var headers []string
	for _, line := range lines {
		name, _, _ := strings.Cut(strings.TrimLeft(line, "-+"), ":")
		if !strings.HasPrefix(line, "+") {
			headers = without(headers, name)
		}
		if !strings.HasPrefix(line, "-") {
			headers = append(headers, strings.TrimPrefix(line, "+"))
		}
	}
	return first + "\r\n" + strings.Join(append(headers, "", ""), "\r\n")
}

func without(headers []string, name string) []string {
	var kept []string
	for _, h := range headers {
		if n, _, _ := strings.Cut(h, ":"); !strings.EqualFold(n, name) {
			kept = append(kept, h)
		}
	}
	return kept
}

// An answer is what an HTTP request got.
type answer struct {
	status int
	header http.Header
	body   string
	fault  string // members `error` and `reason` of a JSON body
	reason string
	err    error // why there is no whole answer
	closed bool  // the server closed the connection behind it
	took   time.Duration
}

// readAnswer reads the body and looks whether the connection ends behind it.
func readAnswer(response *http.Response, br *bufio.Reader) answer {
	a := answer{status: response.StatusCode, header: response.Header}
	body, err := io.ReadAll(response.Body)
	a.body, a.err = string(body), err
	var members struct{ Error, Reason string }
	if json.Unmarshal(body, &members) == nil {
		a.fault, a.reason = members.Error, members.Reason
	}
	if _, err := br.ReadByte(); err != nil && ended(err) {
		a.closed = true
	}
	return a
}

// exchange sends a request, byte for byte, and reads its answer.
func exchange(t testing.TB, addr, request string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatalf("connect to %s: %v", addr, err)
	}
	defer conn.Close()
	start := time.Now()
	_ = conn.SetDeadline(start.Add(settle))
	// The server may answer and close before it has read everything.
	_, _ = conn.Write([]byte(request))
	a := awaitAnswer(conn)
	a.took = time.Since(start)
	return a
}

// awaitAnswer reads an answer from a connection on which a request was sent.
func awaitAnswer(conn net.Conn) answer {
	br := bufio.NewReader(conn)
	response, err := http.ReadResponse(br, nil)
	if err != nil {
		return answer{err: err, closed: ended(err) || errors.Is(err, io.ErrUnexpectedEOF)}
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return answer{status: response.StatusCode, header: response.Header}
	}
	return readAnswer(response, br)
}

// wantRefusal checks the form of a refusal: one of the statuses, a JSON body
// with `error` and `reason`, and the end of the connection behind it.
func wantRefusal(t testing.TB, why string, a answer, statuses ...int) {
	t.Helper()
	if a.err != nil {
		t.Errorf("%s: no answer: %v, want %v", why, a.err, statuses)
		return
	}
	known := false
	for _, s := range statuses {
		known = known || a.status == s
	}
	if !known {
		t.Errorf("%s: %d %s, want %v", why, a.status, a.body, statuses)
		return
	}
	if kind := a.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		t.Errorf("%s: %d with Content-Type %q, want application/json", why, a.status, kind)
	}
	if a.fault == "" || a.reason == "" {
		t.Errorf("%s: %d with body %q, want JSON with error and reason", why, a.status, a.body)
	}
	if !a.closed {
		t.Errorf("%s: %d and the connection stays open, want it closed", why, a.status)
	}
}
