package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"pushpod/conn"
	"pushpod/hub"
	"pushpod/presence"
)

func start(t *testing.T, problems func() []hub.Problem) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(Sources{
		Version:  "v1",
		Conn:     func() conn.Stats { return conn.Stats{Open: 3, Handshakes: map[int]uint64{101: 5, 503: 2}, Written: 7} },
		Hub:      func() hub.Stats { return hub.Stats{EnvelopesOK: 4, Misses: 1, RedisUp: true} },
		Presence: func() presence.Stats { return presence.Stats{Registered: 5} },
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
	problems = []hub.Problem{{Name: "unsubscribed", Reason: "the why"}}
	if status, body := get(t, url+"/readyz"); status != 503 || !strings.Contains(body, `"unsubscribed"`) || !strings.Contains(body, "the why") {
		t.Errorf("not ready: %d %s", status, body)
	}
	if status, body := get(t, url+"/healthz"); status != 200 {
		t.Errorf("healthy all the same: %d %s", status, body)
	}
	if status, _ := get(t, url+"/debug/pprof/"); status != 404 {
		t.Errorf("pprof is off: %d", status)
	}
}

func TestMetricsAreNamedAsPromised(t *testing.T) {
	_, body := get(t, start(t, func() []hub.Problem { return nil })+"/metrics")
	for _, line := range []string{
		"pushpod_connections 3",
		`pushpod_handshakes_total{result="accepted"} 5`,
		`pushpod_handshakes_total{result="503"} 2`,
		`pushpod_envelopes_total{result="ok"} 4`,
		`pushpod_envelopes_total{result="bad"} 0`,
		`pushpod_deliveries_total{result="written"} 7`,
		`pushpod_deliveries_total{result="expired"} 0`,
		`pushpod_deliveries_total{result="collapsed"} 0`,
		`pushpod_deliveries_total{result="dropped"} 0`,
		`pushpod_deliveries_total{result="closed"} 0`,
		"pushpod_misses_total 1",
		"pushpod_subscription_gaps_total 0",
		"pushpod_redis_up 1",
		"pushpod_publish_to_write_seconds_count 0",
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
