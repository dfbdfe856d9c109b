package e2e

import (
	"encoding/json"
	"fmt"
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
	if status, _ := p.get("/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("/debug/pprof/ without admin.pprof: %d, want 404", status)
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

// admin has all names, their labels and the rules of promlint.
func TestMetrics(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick())
	c := dial(t, p, "alice-in-no-label")
	c.request("a request", "x", `1`)
	publish(t, db, p.channel, fmt.Sprintf(`{"to":[%q,%q],"data":1,"at":%d}`, c.uuid, newUUID(), redisNow(t, db)))
	publish(t, db, p.channel, `bad`)
	publish(t, db, p.channel, to(`"without at"`, c))
	c.wantMessage("a push", `1`)
	c.wantMessage("a push", `"without at"`)
	exchange(t, p.listen, upgradeRequest("/ws"))
	wantBooks(t, p, books{published: 3, bad: 1, written: 2, misses: 1})

	status, text := p.get("/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, text)
	}
	all, err := samples(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		name   string
		labels []string
		value  float64
	}{
		{"pushpod_connections", nil, 1},
		{"pushpod_handshakes_total", []string{"result", "accepted"}, 1},
		{"pushpod_handshakes_total", []string{"result", "401"}, 1},
		{"pushpod_envelopes_total", []string{"result", "ok"}, 2},
		{"pushpod_envelopes_total", []string{"result", "bad"}, 1},
		{"pushpod_deliveries_total", []string{"result", "written"}, 2},
		{"pushpod_deliveries_total", []string{"result", "expired"}, 0},
		{"pushpod_misses_total", nil, 1},
		{"pushpod_subscription_gaps_total", nil, 0},
		{"pushpod_redis_up", nil, 1},
		{"pushpod_publish_to_write_seconds_count", nil, 1},
		{"pushpod_publish_to_write_seconds_bucket", []string{"le", "+Inf"}, 1},
	} {
		present := false
		for _, s := range all {
			present = present || s.name == want.name && hasLabels(s, want.labels)
		}
		if !present {
			t.Errorf("/metrics has no %s%v", want.name, want.labels)
		} else if got := sum(all, want.name, want.labels...); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	if latency := sum(all, "pushpod_publish_to_write_seconds_sum"); latency < 0 || latency > 20 {
		t.Errorf("the latency is %v s", latency)
	}
}
