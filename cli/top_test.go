package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pushpod/internal/redistest"
	"pushpod/presence"
)

func TestTopPrintsOneFrame(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	podsInEachState(t, s)
	args := []string{"top", "--once", "--interval", "100ms", "--presence.lease", "10m"}
	r := run(t, at(s), args...)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != 0 || r.stderr != "" || len(lines) != 7 || !strings.HasSuffix(lines[0], "Z: 15 connections, 3 pods, 1 draining, 1 in conflict, 1 dead") {
		t.Fatalf("%+v", r)
	}
	got := cells(strings.Join(lines[2:], "\n"))
	for i, want := range []string{
		"[POD CONNECTIONS A SECOND HEARTBEAT VERSION STARTED STATE]",
		"[alive:1 12 - AGE v1 2023-11-14T22:13:20.000Z alive]",
		"[dead:1 7 - AGE v1 - dead]",
		"[draining:1 3 - AGE v2 - draining]",
		`[twice:1 0 - AGE "\x1b[2J" - conflict]`,
	} {
		if i > 0 {
			got[i][3] = "AGE"
		}
		if fmt.Sprint(got[i]) != want {
			t.Errorf("%q, want %q", got[i], want)
		}
	}

	if r := run(t, at(s), append(args, "draining:1")...); strings.Contains(r.stdout, "alive:1") || !strings.Contains(r.stdout, "3 connections, 1 pod, 1 draining") {
		t.Errorf("one pod: %+v", r)
	}
	if r := run(t, at(s), append(args, "--sort", "connections")...); strings.Index(r.stdout, "alive:1") > strings.Index(r.stdout, "dead:1") ||
		strings.Index(r.stdout, "dead:1") > strings.Index(r.stdout, "draining:1") {
		t.Errorf("by connections: %s", r.stdout)
	}
	if r := run(t, at(s), append(args, "--sort", "state")...); strings.Index(r.stdout, "twice:1") > strings.Index(r.stdout, "dead:1") ||
		strings.Index(r.stdout, "draining:1") > strings.Index(r.stdout, "alive:1") {
		t.Errorf("by state: %s", r.stdout)
	}

	r = run(t, at(s), append(args, "--json")...)
	var said struct {
		Pods []struct {
			Address string   `json:"address"`
			State   string   `json:"state"`
			Rate    *float64 `json:"connections_per_second"`
		} `json:"pods"`
		Local []any `json:"local"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &said); err != nil || len(said.Pods) != 4 || said.Pods[1].State != "dead" || said.Local == nil {
		t.Errorf("as JSON: %+v: %v", r, err)
	}
}

func TestTopRefusesWhatItCannotDo(t *testing.T) {
	environ := []string{"PUSHPOD_REDIS_ADDRESSES=127.0.0.1:1"}
	for args, stderr := range map[string]string{
		"top":                           "top: this is no terminal; --once prints one frame",
		"top --once --interval 1ms":     "top: --interval is 1ms; it must be 100ms or more",
		"top --once --sort size":        `top: --sort is "size"; allowed: pod, connections, heartbeat, state`,
		"top --json":                    "top: --json needs --once",
		"top --once --admin nowhere":    "config: admin.listen",
		"top --once --redis.db minus":   "config: redis.db",
		"top --once --presence.lease x": "config: presence.lease",
	} {
		run(t, environ, strings.Split(args, " ")...).want(t, args, 2, "", stderr)
	}
	run(t, environ, "top", "--once").want(t, "Redis is away", 1, "", "dial tcp 127.0.0.1:1")
}

// A pod's admin.listen, as far as top knows it.
func admin(t *testing.T, deliveries *atomic.Int64) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := deliveries.Add(100)
		if r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprintf(w, "# TYPE pushpod_deliveries_total counter\npushpod_deliveries_total{result=\"written\"} %d\npushpod_deliveries_total{result=\"expired\"} 7\n", n)
		fmt.Fprintf(w, "# TYPE pushpod_publish_to_write_seconds histogram\npushpod_publish_to_write_seconds_bucket{le=\"0.001\"} %d\n", n/2)
		fmt.Fprintf(w, "pushpod_publish_to_write_seconds_bucket{le=\"0.002\"} %d\npushpod_publish_to_write_seconds_bucket{le=\"+Inf\"} %d\n", n, n)
		fmt.Fprintf(w, "pushpod_publish_to_write_seconds_sum 1\npushpod_publish_to_write_seconds_count %d\n", n)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestTopReadsMetricsOfPodsOnThisMachine(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var deliveries atomic.Int64
	address := admin(t, &deliveries)
	args := []string{"top", "--once", "--interval", "100ms"}
	r := run(t, at(s), append(args, "--admin", address+",127.0.0.1:1")...)
	if r.code != 0 || !strings.Contains(r.stdout, "admin "+address+": ") || !strings.Contains(r.stdout, "p50 1.00 ms, p99 1.98 ms") {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.stdout, "admin 127.0.0.1:1: no pod listens") {
		t.Errorf("one that was asked for and does not answer is not shown: %s", r.stdout)
	}
	r = run(t, append(at(s), "PUSHPOD_ADMIN_LISTEN="+address), append(args, "--json")...)
	var said struct{ Local []topLocal }
	if err := json.Unmarshal([]byte(r.stdout), &said); err != nil || len(said.Local) != 1 || said.Local[0].Deliveries == nil || *said.Local[0].Deliveries <= 0 {
		t.Errorf("as JSON: %+v: %v", r, err)
	}
	if r := run(t, append(at(s), "PUSHPOD_ADMIN_LISTEN=127.0.0.1:2"), args...); r.code != 0 || strings.Contains(r.stdout, "admin") {
		t.Errorf("one that nobody asked for: %+v", r)
	}
}

func TestQuantilesAreOfWhatCameSince(t *testing.T) {
	at := time.Now()
	before := scrape{at: at, written: 1000, buckets: []latency{{0.001, 1000}, {0.01, 1000}, {0.1, 1000}}}
	now := scrape{at: at.Add(2 * time.Second), written: 1100, buckets: []latency{{0.001, 1000}, {0.01, 1050}, {0.1, 1100}}}
	if rate, known := now.since(before); !known || rate != 50 {
		t.Errorf("%v deliveries a second, %v", rate, known)
	}
	if p50, known := now.quantile(0.5, before); !known || p50 < 0.00999 || p50 > 0.01001 {
		t.Errorf("p50 %v, %v", p50, known)
	}
	if _, known := now.since(scrape{}); known {
		t.Error("the first scrape has a rate")
	}
	if _, known := now.quantile(0.5, scrape{}); known {
		t.Error("the first scrape has quantiles")
	}
	if _, known := before.quantile(0.5, before); known {
		t.Error("no messages have quantiles")
	}
	if _, known := before.since(now); known {
		t.Error("a pod that began anew has a rate")
	}
}

func TestScrapesThatAreNoPods(t *testing.T) {
	for _, text := range []string{"", "{}", "\x00\xff", "go_goroutines 1\n", strings.Repeat("a", 1000)} {
		if _, err := parseScrape(strings.NewReader(text), time.Now()); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func aPod(connections int, beat, started int64) presence.Pod {
	return presence.Pod{Channel: "push:pod:a:1", Address: "a:1", Beat: beat, Info: presence.Info{Connections: connections, Started: started}}
}

func TestRatesAreBetweenHeartbeats(t *testing.T) {
	v := &topView{keys: presence.NewKeys("push:"), lease: time.Minute, order: "pod"}
	rate := func(p presence.Pod) string {
		v.take(look{pods: []presence.Pod{p}})
		return number(v.pods[0].Rate, "%+.1f")
	}
	for i, step := range []struct {
		pod  presence.Pod
		want string
	}{
		{aPod(100, 10_000, 1), "-"},
		{aPod(100, 10_000, 1), "-"}, // no heartbeat between
		{aPod(130, 13_000, 1), "+10.0"},
		{aPod(130, 13_000, 1), "+10.0"}, // still what is known
		{aPod(124, 16_000, 1), "-2.0"},
		{aPod(0, 19_000, 18_000), "-"}, // another process
		{aPod(0, 0, 0), "-"},           // no score
		{aPod(9, 5_000, 18_000), "-"},
	} {
		if got := rate(step.pod); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}

func TestAFrameFitsTheTerminal(t *testing.T) {
	v := &topView{keys: presence.NewKeys("push:"), lease: time.Minute, order: "pod", colours: true}
	var pods []presence.Pod
	for i := range 50 {
		pods = append(pods, presence.Pod{Channel: fmt.Sprintf("push:pod:%02d:1", i), Address: fmt.Sprintf("%02d:1", i)})
	}
	v.take(look{pods: pods})
	for _, size := range [][2]int{{80, 24}, {20, 10}, {200, 60}, {1, 1}, {40, 3}} {
		lines := v.lines(time.Now(), size[0], size[1])
		if len(lines) > size[1] {
			t.Errorf("%d lines in %v", len(lines), size)
		}
		for _, line := range lines {
			text := strings.TrimSuffix(line, "\x1b[0m")
			if i := strings.IndexByte(text, 'm'); strings.HasPrefix(text, "\x1b[") {
				text = text[i+1:]
			}
			if len([]rune(text)) > size[0] {
				t.Errorf("%q does not fit into %d columns", text, size[0])
			}
		}
	}
	if foot := v.lines(time.Now(), 80, 24); !strings.Contains(foot[23], "31 more pods do not fit") {
		t.Errorf("%q", foot)
	}
}

// Which pods are dead shows on any terminal that pods' addresses fit on.
func TestANarrowTerminalShowsStates(t *testing.T) {
	v := &topView{keys: presence.NewKeys("push:"), lease: time.Minute, order: "pod"}
	p := aPod(5, 1, 1700000000000)
	p.Address, p.Info.Version, p.Age = "10.0.100.100:8080", "v1.10.12", time.Hour
	v.take(look{pods: []presence.Pod{p}})
	for width, want := range map[int]string{
		200: "[POD CONNECTIONS A SECOND HEARTBEAT VERSION STARTED STATE]",
		80:  "[POD CONNECTIONS A SECOND HEARTBEAT VERSION STATE]",
		60:  "[POD CONNECTIONS A SECOND HEARTBEAT STATE]",
		30:  "[POD STATE]",
		10:  "[POD STATE]",
	} {
		table, _ := v.table(width)
		if got := cells(strings.Join(table, "\n")); fmt.Sprint(got[0]) != want || len(got[1]) != len(got[0]) {
			t.Errorf("%d columns: %q, want %s", width, got, want)
		}
	}
}

func TestTopNamesPodsThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	podsInEachState(t, s)
	args := []string{"top", "--once", "--interval", "100ms", "alive:1", "alive:2"}
	r := run(t, at(s), args...)
	if r.code != 0 || !strings.Contains(r.stdout, "\nthere is no pod alive:2\n") || strings.Contains(r.stdout, "no pod alive:1") {
		t.Errorf("%+v", r)
	}
	if r := run(t, at(s), append(args, "--json")...); !strings.Contains(r.stdout, `"missing":["alive:2"]`) {
		t.Errorf("%+v", r)
	}
}

func TestTopBeforeAnythingWasRead(t *testing.T) {
	v := &topView{keys: presence.NewKeys("push:"), lease: time.Minute, order: "pod"}
	v.take(look{err: fmt.Errorf("redis is away")})
	if text := strings.Join(v.lines(time.Now(), 80, 24), "\n"); !strings.Contains(text, "\nredis is away\n") {
		t.Errorf("%q", text)
	}
}

func TestAFailedLookKeepsTheFrame(t *testing.T) {
	v := &topView{keys: presence.NewKeys("push:"), lease: time.Minute, order: "pod"}
	v.take(look{pods: []presence.Pod{aPod(5, 1, 1)}})
	v.take(look{err: fmt.Errorf("redis is away\n\x1b[2J")})
	text := strings.Join(v.lines(time.Now(), 0, 0), "\n")
	if !strings.Contains(text, "what follows is old") || !strings.Contains(text, "a:1") || strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
	v.take(look{pods: []presence.Pod{aPod(5, 2, 1)}})
	if text := strings.Join(v.lines(time.Now(), 0, 0), "\n"); strings.Contains(text, "old") {
		t.Errorf("%q", text)
	}
}
