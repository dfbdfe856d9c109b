package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"pushpod/auth"
	"pushpod/conn"
	"pushpod/hub"
	"pushpod/presence"
)

func start(t *testing.T, problems func() []hub.Problem) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(Sources{
		Version: "v1",
		Cert:    func() time.Time { return time.Unix(1_800_000_000, 0) },
		Reloads: func() (applied, rejected uint64) { return 2, 1 },
		Conn: func() conn.Stats {
			return conn.Stats{Open: 3, OpenEvents: 2, Handshakes: map[int]uint64{101: 5, 503: 2}, Written: 7, TLSHandshakes: conn.TLSHandshakes{OK: 8, NotTLS: 3}}
		},
		Hub: func() hub.Stats {
			return hub.Stats{EnvelopesOK: 4, UnknownMembers: 6, Misses: 1, RedisUp: true, Hook: auth.HookStats{Allowed: 8, Open: 2, CircuitOpen: true, LatencySum: 0.5}}
		},
		Presence: func() presence.Stats { return presence.Stats{Registered: 5} },
		Pods: func() presence.PodsStats {
			return presence.PodsStats{Beats: 9, Failures: 1, Removed: 2, Alive: 3, Dead: 4, RTT: 1500 * time.Microsecond}
		},
	}))
	s := New(Options{Listen: "127.0.0.1:0", Problems: problems, Registry: registry})
	if err := s.Listen(context.Background()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestReadinessSaysWhatIsWrong(t *testing.T) {
	var problems []hub.Problem
	url := start(t, func() []hub.Problem { return problems })
	if status, body := get(t, url+"/readyz"); status != 200 || !json.Valid([]byte(body)) {
		t.Errorf("ready: %d %s", status, body)
	}
	problems = []hub.Problem{{Name: "unsubscribed", Reason: "used memory > 'maxmemory'"}}
	if status, body := get(t, url+"/readyz"); status != 503 || !strings.Contains(body, `"unsubscribed"`) || !strings.Contains(body, "used memory > 'maxmemory'") {
		t.Errorf("not ready: %d %s", status, body)
	}
	if status, body := get(t, url+"/healthz"); status != 200 {
		t.Errorf("healthy all the same: %d %s", status, body)
	}
	if status, _ := get(t, url+"/debug/pprof/"); status != 404 {
		t.Errorf("pprof is off: %d", status)
	}
}

func TestReadinessWarnsAndStaysReady(t *testing.T) {
	var problems, warnings []hub.Problem
	o := Options{Problems: func() []hub.Problem { return problems }, Warnings: func() []hub.Problem { return warnings }}
	ask := func() (int, string) {
		w := httptest.NewRecorder()
		o.ready(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	if status, body := ask(); status != 200 || body != `{"status":"ready"}` {
		t.Errorf("%d %s", status, body)
	}
	warnings = []hub.Problem{{Name: "eviction", Reason: "the why"}}
	if status, body := ask(); status != 200 || body != `{"status":"ready","warnings":[{"name":"eviction","reason":"the why"}]}` {
		t.Errorf("%d %s", status, body)
	}
	problems = []hub.Problem{{Name: "claim", Reason: "x"}}
	if status, body := ask(); status != 503 || !strings.Contains(body, `"warnings":[{"name":"eviction"`) {
		t.Errorf("%d %s", status, body)
	}
}

func TestMetricsAreNamedAsPromised(t *testing.T) {
	_, body := get(t, start(t, func() []hub.Problem { return nil })+"/metrics")
	for _, line := range []string{
		"pushpod_connections 3",
		"pushpod_sse_connections 2",
		`pushpod_handshakes_total{result="accepted"} 5`,
		`pushpod_handshakes_total{result="503"} 2`,
		`pushpod_tls_handshakes_total{result="ok"} 8`,
		`pushpod_tls_handshakes_total{result="not_tls"} 3`,
		`pushpod_tls_certificate_expires_seconds 1.8e+09`,
		`pushpod_envelopes_total{result="ok"} 4`,
		`pushpod_envelopes_total{result="bad"} 0`,
		`pushpod_deliveries_total{result="written"} 7`,
		`pushpod_deliveries_total{result="expired"} 0`,
		`pushpod_deliveries_total{result="collapsed"} 0`,
		`pushpod_deliveries_total{result="dropped"} 0`,
		`pushpod_deliveries_total{result="closed"} 0`,
		"pushpod_envelopes_unknown_members_total 6",
		"pushpod_misses_total 1",
		"pushpod_subscription_gaps_total 0",
		"pushpod_redis_up 1",
		"pushpod_publish_to_write_seconds_count 0",
		`pushpod_heartbeats_total{result="ok"} 9`,
		`pushpod_heartbeats_total{result="failed"} 1`,
		`pushpod_pods{state="alive"} 3`,
		`pushpod_pods{state="dead"} 4`,
		"pushpod_dead_pods_removed_total 2",
		`pushpod_config_reloads_total{result="applied"} 2`,
		`pushpod_config_reloads_total{result="rejected"} 1`,
		"pushpod_redis_round_trip_seconds 0.0015",
		`pushpod_auth_hook_requests_total{result="allowed"} 8`,
		`pushpod_auth_hook_requests_total{result="open"} 2`,
		"pushpod_auth_hook_circuit_open 1",
		"pushpod_auth_hook_seconds_sum 0.5",
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("lint: %s: %s", p.Metric, p.Text)
	}
}

func TestEveryMetricHasItsHelpAndNoLabelNamesAnyone(t *testing.T) {
	_, body := get(t, start(t, func() []hub.Problem { return nil })+"/metrics")
	help, seen := map[string]bool{}, map[string]bool{}
	labels := map[string]bool{"result": true, "reason": true, "operation": true, "state": true, "version": true, "le": true}
	for _, line := range strings.Split(body, "\n") {
		if rest, is := strings.CutPrefix(line, "# HELP "); is {
			name, text, _ := strings.Cut(rest, " ")
			help[name] = strings.HasSuffix(text, ".")
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); help[base] {
				name = base
			}
		}
		seen[name] = true
		if !help[name] || !strings.HasPrefix(name, "pushpod_") {
			t.Errorf("%s has no help, or not our prefix", name)
		}
		if open, shut := strings.Index(line, "{"), strings.LastIndex(line, "}"); open >= 0 {
			for _, pair := range strings.Split(line[open+1:shut], ",") {
				if label, _, _ := strings.Cut(pair, "="); !labels[label] {
					t.Errorf("%s: a label %s", line, label)
				}
			}
		}
	}
	for _, m := range descriptions() {
		if !seen[m[0]] {
			t.Errorf("%s is described, and not there", m[0])
		}
	}
}

func TestHistogramsAddUp(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := conn.Stats{LatencySum: 12.5}
	for i := range s.Latency {
		s.Latency[i] = uint64(i + 1)
	}
	bounds := len(conn.LatencyBounds())
	registry.MustRegister(NewCollector(Sources{
		Conn:     func() conn.Stats { return s },
		Hub:      func() hub.Stats { return hub.Stats{} },
		Presence: func() presence.Stats { return presence.Stats{} },
		Pods:     func() presence.PodsStats { return presence.PodsStats{} },
	}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "pushpod_publish_to_write_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		total := uint64((bounds + 1) * (bounds + 2) / 2)
		if h.GetSampleCount() != total || h.GetSampleSum() != 12.5 || len(h.GetBucket()) != bounds {
			t.Fatalf("%v", h)
		}
		for i, b := range h.GetBucket() {
			if b.GetCumulativeCount() != uint64((i+1)*(i+2)/2) || b.GetUpperBound() != conn.LatencyBounds()[i] {
				t.Errorf("bucket %d: %v", i, b)
			}
		}
		return
	}
	t.Error("no such metric")
}

func TestProfilesWhereTheyAreSwitchedOn(t *testing.T) {
	s := New(Options{Listen: "127.0.0.1:0", Pprof: true, Registry: prometheus.NewRegistry(), Problems: func() []hub.Problem { return nil }})
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	url := "http://" + s.Addr().String()
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/": 200, "/nothing": 404} {
		if status, _ := get(t, url+path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	taken := New(Options{Listen: s.Addr().String(), Registry: prometheus.NewRegistry()})
	if err := taken.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "admin: listen") {
		t.Errorf("a taken port: %v", err)
	}
	s.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
