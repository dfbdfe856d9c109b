package httphead

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// answer reads a response as an HTTP client does, and its JSON.
func answer(t *testing.T, b []byte) (*http.Response, map[string]string) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(string(b)))
	a, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	if a.StatusCode == http.StatusSwitchingProtocols {
		return a, nil
	}
	body, err := io.ReadAll(a.Body)
	members := map[string]string{}
	if err != nil || json.Unmarshal(body, &members) != nil || br.Buffered() != 0 {
		t.Fatalf("body %q, %v, with %d bytes behind it", body, err, br.Buffered())
	}
	if !a.Close || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Vary") != "Origin" {
		t.Errorf("header %v, close %v", a.Header, a.Close)
	}
	return a, members
}

func TestRefusalsSayWhy(t *testing.T) {
	r := Response{Status: 429, Error: "rate", Reason: `too "many" <é> & so on`, RetryAfter: 12}
	a, members := answer(t, r.Append([]byte("x"), "")[1:])
	if a.Status != "429 Too Many Requests" || a.Header.Get("Retry-After") != "12" || members["error"] != r.Error || members["reason"] != r.Reason {
		t.Errorf("%s %v %v", a.Status, a.Header, members)
	}
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s without an origin", name)
		}
	}
	r.RetryAfter = 1
	if a, _ := answer(t, r.Append(nil, "")); a.Header.Get("Retry-After") != "1" {
		t.Errorf("header %v", a.Header)
	}
	r.RetryAfter = 0
	if a, _ := answer(t, r.Append(nil, "")); a.Header.Values("Retry-After") != nil {
		t.Errorf("header %v", a.Header)
	}
}

func TestPagesOfTheOriginMayReadARefusal(t *testing.T) {
	a, _ := answer(t, BadRequest("why").Append(nil, "http://good"))
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "http://good",
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Expose-Headers":    "Retry-After",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRefusalsSayWhatHelps(t *testing.T) {
	b := (&Response{Status: 426, Error: "upgrade_required", Reason: "why"}).Append(nil, "")
	a, _ := answer(t, b)
	if a.Header.Get("Upgrade") != "websocket" || a.Header.Get("Sec-WebSocket-Version") != "13" || !strings.Contains(string(b), "\r\nConnection: close, Upgrade\r\n") {
		t.Errorf("426: %q", b)
	}
	a, _ = answer(t, (&Response{Status: 405, Error: "bad_method", Reason: "why"}).Append(nil, ""))
	if a.Header.Get("Allow") != "GET" || a.Header.Get("Upgrade") != "" {
		t.Errorf("405: %v", a.Header)
	}
}

func TestHealthSaysNothingAboutTheInside(t *testing.T) {
	a, members := answer(t, (&Response{Status: 200}).Append(nil, ""))
	if a.StatusCode != 200 || len(members) != 1 || members["status"] != "ok" {
		t.Errorf("%s %v", a.Status, members)
	}
}

func TestTheUpgradeProvesTheKey(t *testing.T) {
	const proof = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // RFC 6455 section 1.3
	for subprotocol, want := range map[bool]string{true: "pushpod.v1", false: ""} {
		a, _ := answer(t, AppendUpgrade([]byte("x"), key, subprotocol)[1:])
		if a.StatusCode != 101 || a.Header.Get("Sec-WebSocket-Accept") != proof || a.Header.Get("Sec-WebSocket-Protocol") != want ||
			a.Header.Get("Upgrade") != "websocket" || a.Header.Get("Connection") != "Upgrade" || a.Header.Values("Sec-WebSocket-Extensions") != nil {
			t.Errorf("%s %v", a.Status, a.Header)
		}
	}
}
