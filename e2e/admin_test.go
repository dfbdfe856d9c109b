package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAdminPages(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	if status, body := p.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
	status, body := p.readyz()
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil || status != http.StatusOK {
		t.Errorf("/readyz: %d %q (%v), want 200 and a JSON object", status, body, err)
	}
	if status, body := p.get("/"); status != http.StatusOK || !strings.Contains(strings.ToLower(body), "<html") {
		t.Errorf("/: %d %s", status, short(body))
	}
	if status, _ := p.get("/nope"); status != http.StatusNotFound {
		t.Errorf("/nope: %d, want 404", status)
	}
	with := startPod(t, r, quick().with("admin.pprof", "true"))
	if status, _ := with.get("/debug/pprof/"); status != http.StatusOK {
		t.Errorf("/debug/pprof/ with admin.pprof: %d, want 200", status)
	}
	// The clients' listener serves none of these, but says to balancers whether the pod is ready.
	if a := exchange(t, p.listen, "GET /healthz HTTP/1.0\r\n\r\n"); a.status != http.StatusOK {
		t.Errorf("/healthz where clients connect: %d %s", a.status, a.body)
	}
	for _, path := range []string{"/readyz", "/metrics", "/debug/pprof/"} {
		a := exchange(t, p.listen, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		wantRefusal(t, path+" where clients connect", a, http.StatusNotFound)
	}

	r.Kill()
	p.wantNotReady("Redis is killed", 1500*time.Millisecond+slack)
	if a := exchange(t, p.listen, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); a.status != http.StatusServiceUnavailable || strings.Contains(a.body, "edis") {
		t.Errorf("/healthz where clients connect, without Redis: %d %s", a.status, a.body)
	}
	_, body = p.readyz()
	object = nil
	if err := json.Unmarshal([]byte(body), &object); err != nil || len(object) == 0 {
		t.Errorf("/readyz without Redis: %q (%v), want a JSON object that says why", body, err)
	}
	if status, body := p.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz without Redis: %d %s, want 200: a restart would not help", status, body)
	}
}
