package hub

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pushpod/conn"
)

// A browser names no origin where a page has it fetch an image, a script or a frame.
func TestForeignPagesOpenNoStream(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{conn: func(o *conn.Options) { o.Headers = HeaderFields("") }})
	for _, c := range []struct {
		site, mode, dest string
		origin           string // "": none
		status           int
	}{
		{site: "cross-site", mode: "no-cors", dest: "image", status: 403},
		{site: "same-site", mode: "no-cors", dest: "script", status: 403},
		{site: "cross-site", mode: "navigate", dest: "iframe", status: 403},
		{site: "cross-site", mode: "cors", dest: "document", status: 403},
		{site: "cross-site", mode: "navigate", dest: "document", status: 200}, // a link was followed
		{site: "none", mode: "navigate", dest: "document", status: 200},
		{site: "same-origin", mode: "no-cors", dest: "image", status: 200},
		{site: "cross-site", mode: "cors", dest: "empty", origin: "http://localhost:3000", status: 200},
		{site: "cross-site", mode: "cors", dest: "empty", origin: "http://example.com", status: 403},
	} {
		lines := []string{"Sec-Fetch-Site: " + c.site, "Sec-Fetch-Mode: " + c.mode, "Sec-Fetch-Dest: " + c.dest}
		if c.origin != "" {
			lines = append(lines, "Origin: "+c.origin)
		}
		if c.status == http.StatusOK {
			p.events("user=alice", "alice", lines...).sock.Close()
			continue
		}
		a := p.exchange(fmt.Sprintf("GET /sse?user=alice HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", strings.Join(lines, "\r\n")))
		if a.status != c.status || !strings.Contains(a.rest, `"forbidden"`) {
			t.Fatalf("%+v: %d %s", c, a.status, a.rest) // a stream would be read until it ends
		}
	}
	// A plain GET of the other path opens nothing.
	if a := p.exchange("GET /ws?user=alice HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n\r\n"); a.status != http.StatusUpgradeRequired {
		t.Errorf("a plain GET: %d %s", a.status, a.rest)
	}
}
