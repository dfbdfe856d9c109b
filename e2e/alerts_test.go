package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// Each alert of deploy/prometheus/rules.yaml is caused here at real pods, whose metrics
// promtool then puts through the rules as they are. Between two scrapes pass
// milliseconds; the rules are told that it was a step, of 15 s for most: what lasts ten
// scrapes lasts two and a half minutes to them.

// promtool returns Prometheus's tool; make tools fetches it.
func promtool(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("promtool"); err == nil {
		return path
	}
	path := filepath.Join(moduleRoot(), "bin", "promtool")
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is no promtool: make tools")
	}
	return path
}

func rulesFile() string { return filepath.Join(moduleRoot(), "deploy", "prometheus", "rules.yaml") }

// metricName is one of the pod's, or of its process's, in rules and dashboards. What stands
// behind a colon is a rule's.
var metricName = regexp.MustCompile(`\b(?:pushpod|process)_[a-z0-9_]+\b(?:[^:a-z0-9_]|$)`)

func metricNames(t *testing.T, path string) (names []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metricName.FindAllString(string(b), -1) {
		names = append(names, strings.TrimRight(name, "\"\\ )(}{[]=/\n,"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A history is what was scraped of some pods, step by step.
type history struct {
	t      *testing.T
	tool   string
	step   time.Duration
	names  []string
	series map[string][]string
	n      int // scrapes
}

func newHistory(t *testing.T, step time.Duration) *history {
	t.Helper()
	return &history{t: t, tool: promtool(t), step: step, names: metricNames(t, rulesFile()), series: map[string][]string{}}
}

// scrape scrapes the pods once. A pod without an answer has no values.
func (h *history) scrape(pods ...*pod) {
	h.t.Helper()
	for _, p := range pods {
		all, err := p.scrape()
		if err != nil {
			continue
		}
		for _, s := range all {
			if !slices.Contains(h.names, s.name) {
				continue
			}
			labels := fmt.Sprintf(`job="pushpod",instance=%q`, p.admin)
			if s.labels != "" {
				labels += "," + s.labels
			}
			key := s.name + "{" + labels + "}"
			h.fill(key, h.n)
			h.series[key] = append(h.series[key], fmt.Sprint(s.value))
		}
	}
	h.n++
}

// fill says that a series had no values before the n-th scrape, where it has none.
func (h *history) fill(key string, n int) {
	for len(h.series[key]) < n {
		h.series[key] = append(h.series[key], "_")
	}
}

// during scrapes so many steps, and before each does what it is given.
func (h *history) during(steps int, do func(), pods ...*pod) {
	h.t.Helper()
	for range steps {
		if do != nil {
			do()
		}
		h.scrape(pods...)
	}
}

// wantAlerts checks which alerts fire at the last scrape: these, and no others.
func (h *history) wantAlerts(why string, firing ...string) {
	h.t.Helper()
	var test strings.Builder
	fmt.Fprintf(&test, "rule_files: [%q]\nevaluation_interval: %v\ntests:\n  - interval: %v\n    input_series:\n", rulesFile(), h.step, h.step)
	for key := range h.series {
		h.fill(key, h.n)
		fmt.Fprintf(&test, "      - {series: '%s', values: '%s'}\n", key, strings.Join(h.series[key], " "))
	}
	if len(h.series) == 0 {
		fmt.Fprintf(&test, "      - {series: 'nothing', values: '0x%d'}\n", h.n)
	}
	fmt.Fprintf(&test, "    promql_expr_test:\n      - expr: max by (alertname) (ALERTS{alertstate=\"firing\"})\n        eval_time: %v\n        exp_samples:\n",
		time.Duration(h.n-1)*h.step)
	if len(firing) == 0 {
		test.WriteString("          []\n")
	}
	for _, name := range firing {
		fmt.Fprintf(&test, "          - {labels: '{alertname=%q}', value: 1}\n", name)
	}
	file := filepath.Join(h.t.TempDir(), "history.yaml")
	if err := os.WriteFile(file, []byte(test.String()), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if out, err := exec.Command(h.tool, "test", "rules", file).CombinedOutput(); err != nil {
		h.t.Errorf("%s: %v\n%s", why, err, out)
	}
}

// tries makes n handshakes, and goes away.
func tries(t *testing.T, p *pod, n int) {
	t.Helper()
	for range n {
		c, err := net.DialTimeout("tcp", p.listen, settle)
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(settle))
		_, _ = c.Write([]byte(upgradeRequest("/ws?user=passer-by")))
		_, _ = c.Read(make([]byte, 1<<10))
		_ = c.Close()
	}
}

// Every metric in the rules and in the dashboard is one of a pod's.
func TestMetricsInRulesAndDashboardExist(t *testing.T) {
	t.Parallel()
	p := startTLSPod(t, newAuthority(t))
	all, err := p.scrape()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for _, s := range all {
		labels[s.name] += "," + s.labels
	}
	selector := regexp.MustCompile(`((?:pushpod|process)_[a-z0-9_]+)\{([^}]*)\}`)
	for _, path := range []string{rulesFile(), filepath.Join(moduleRoot(), "deploy", "grafana", "pushpod.json")} {
		names := metricNames(t, path)
		if len(names) < 10 {
			t.Errorf("%s names %d metrics", path, len(names))
		}
		for _, name := range names {
			if _, is := labels[name]; !is {
				t.Errorf("%s: no pod has %s", path, name)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range selector.FindAllStringSubmatch(strings.ReplaceAll(string(b), `\"`, `"`), -1) {
			for _, matcher := range strings.Split(m[2], ",") {
				label := strings.TrimSpace(strings.TrimRight(strings.SplitN(matcher, "=", 2)[0], "!"))
				if label != "job" && label != "instance" && !strings.Contains(labels[m[1]], ","+label+`="`) {
					t.Errorf("%s: %s has no label %s", path, m[1], label)
				}
			}
		}
	}
}

func TestAlertsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("limits.frames_per_second", "0"))
	h := newHistory(t, 15*time.Second)
	c := dial(t, p, "alice")
	requests := 0
	busy := func() {
		tries(t, p, 20) // more than one a second, of the rules' time
		for range 3 {
			requests++
			id := fmt.Sprint("r", requests)
			c.say(`{"type":"request","id":%q,"data":1}`, id)
			c.wantReceipt("Redis is away", id, "rejected", "unavailable")
		}
	}
	h.during(20, nil, p)
	h.wantAlerts("all is well")

	// For some seconds, of the rules' time.
	r.Kill()
	eventually(t, "the pod has noticed", settle, func() (bool, any) { return p.metric("pushpod_ready") == 0, "ready" })
	h.during(2, busy, p)
	h.wantAlerts("Redis has just gone")
	r.Restart()
	p.waitReady()
	eventually(t, "presence is written again", settle, func() (bool, any) { return p.metric("pushpod_not_ready") == 0, "not ready" })
	for range 4 {
		h.during(5, nil, p)
		h.wantAlerts("Redis is back")
	}

	// For long.
	r.Kill()
	eventually(t, "the pod has noticed", settle, func() (bool, any) {
		all, err := p.scrape()
		return err == nil && sum(all, "pushpod_ready") == 0 && sum(all, "pushpod_not_ready", "reason", "heartbeat") == 1, "ready"
	})
	h.during(22, busy, p)
	h.wantAlerts("Redis is away for five minutes", "PushpodHandshakesRefused", "PushpodNoPodReady", "PushpodNotReady",
		"PushpodPresenceNotWritten", "PushpodUnsubscribed", "PushpodUplinkFails")
	r.Restart()
	p.waitReady()
	h.during(20, nil, p)
	h.wantAlerts("Redis is back for good")
}

func TestAlertsForSubscriptionsThatFlap(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	h := newHistory(t, 15*time.Second)
	lose := func() {
		gaps := p.metric("pushpod_subscription_gaps_total")
		r.CLI("CLIENT", "KILL", "TYPE", "pubsub")
		p.wantMetric("a gap", gaps+1, "pushpod_subscription_gaps_total")
		p.waitReady()
	}
	h.during(10, nil, p)
	for range 3 {
		lose()
		h.during(5, nil, p)
	}
	h.wantAlerts("three times is a failover")
	lose()
	h.during(5, nil, p)
	h.wantAlerts("four times in a quarter of an hour", "PushpodSubscriptionFlaps")
}

func TestAlertsForAConflict(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p, other := startPod(t, r, quick()), startPod(t, r, quick())
	h := newHistory(t, 15*time.Second)
	h.during(5, nil, p, other)
	h.during(6, func() {
		publish(t, asProducer(r), p.channel, `{"probe":"another instance"}`)
		p.wantMetric("a conflict", 1, "pushpod_conflict")
	}, p, other)
	h.wantAlerts("two pods with one address", "PushpodConflict")
}

func TestAlertsForSlowConsumers(t *testing.T) {
	t.Parallel()
	for policy, alert := range map[string]string{"disconnect": "PushpodSlowConsumers", "drop_newest": "PushpodMessagesDropped"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			p := startPod(t, r, patient().with("conn.queue_bytes", "16KiB", "conn.send_buffer", "16KiB", "conn.slow_consumer", policy))
			h := newHistory(t, 30*time.Second)
			for n := range 30 {
				dial(t, p, fmt.Sprint("slow", n), sleeper())
			}
			h.during(5, nil, p)
			db, message := asProducer(r), `{"all":true,"data":"`+strings.Repeat("x", 8<<10)+`"}`
			h.during(18, func() {
				for range 10 {
					publish(t, db, p.channel, message)
				}
			}, p)
			if policy == "disconnect" && p.metric("pushpod_slow_consumers_total") < 21 {
				t.Fatalf("%v slow consumers", p.metric("pushpod_slow_consumers_total"))
			}
			h.wantAlerts("thirty who do not read", alert)
		})
	}
}

func TestAlertsForCertificates(t *testing.T) {
	t.Parallel()
	p := startTLSPod(t, newAuthority(t)) // which ends in an hour or a day
	h := newHistory(t, 5*time.Minute)
	h.during(15, nil, p)
	// promtool's time begins at 0, when no certificate is near its end.
	end := p.metric("pushpod_tls_certificate_expires_seconds") - float64(time.Now().Unix())
	if end > 24*3600 {
		t.Fatalf("the certificate lasts %v s", end)
	}
	for key, values := range h.series {
		if strings.HasPrefix(key, "pushpod_tls_certificate_expires_seconds") {
			for i := range values {
				values[i] = fmt.Sprint(end)
			}
		}
	}
	h.wantAlerts("an hour is left", "PushpodCertificateExpired", "PushpodCertificateExpires")
}

func TestAlertsForARejectedConfiguration(t *testing.T) {
	t.Parallel()
	f := startFilePod(t, startRedis(t))
	h := newHistory(t, 15*time.Second)
	h.during(5, nil, f.pod)
	f.write("conn.ping", "never")
	eventually(t, "the file is rejected", slack, func() (bool, any) {
		n := f.metric("pushpod_config_reloads_total", "result", "rejected")
		return n == 1, n
	})
	h.during(8, nil, f.pod)
	h.wantAlerts("the file is wrong", "PushpodReloadRejected")
}

func TestAlertsWhenNothingIsScraped(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick())
	h := newHistory(t, 15*time.Second)
	h.during(5, nil, p)
	p.sigkill()
	h.during(40, nil)
	h.wantAlerts("no pod is left", "PushpodAbsent")
}

func TestAlertsForAHookThatIsDown(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("auth.hook_url", "http://"+freeAddr(t)+"/hook", "auth.hook_timeout", "1s"))
	h := newHistory(t, 15*time.Second)
	h.during(5, nil, p)
	h.during(12, func() { tries(t, p, 5) }, p)
	h.wantAlerts("the hook is down", "PushpodHookDown")
}

func TestAlertsForLateMessages(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	h := newHistory(t, 30*time.Second)
	c, db := dial(t, p, "alice"), asProducer(r)
	h.during(32, func() {
		publish(t, db, p.channel, fmt.Sprintf(`{"to":%q,"at":%d,"data":1}`, c.uuid, time.Now().Add(-10*time.Second).UnixMilli()))
		c.wantMessage("late", `1`)
	}, p)
	h.wantAlerts("ten seconds late", "PushpodLate")
}

func TestAlertsForPresenceThatVanishes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("presence.renew", "500ms"))
	h := newHistory(t, time.Minute)
	dial(t, p, "alice")
	h.during(12, nil, p)
	for range 6 {
		before := p.metric("pushpod_presence_restored_total")
		r.CLI("DEL", userKey("alice"))
		eventually(t, "the entry is restored", settle, func() (bool, any) {
			n := p.metric("pushpod_presence_restored_total")
			return n > before, n
		})
		h.during(7, nil, p)
	}
	h.wantAlerts("entries vanish again and again", "PushpodPresenceLost")
}

func TestAlertsForPresenceOfSomeUsers(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("limits.per_user", "0"))
	h := newHistory(t, 15*time.Second)
	dial(t, p, "alice")
	r.CLI("SET", userKey("passer-by"), "of the wrong type")
	h.during(5, nil, p)
	h.during(30, func() { tries(t, p, 2) }, p)
	h.wantAlerts("one user's key has the wrong type")
	h.during(30, func() { tries(t, p, 25) }, p)
	h.wantAlerts("most are refused", "PushpodHandshakesRefused", "PushpodPresenceErrors")
}

func TestAlertsForDescriptors(t *testing.T) {
	t.Parallel()
	const limit = 250 // 58 of them for connections
	r := startRedis(t)
	p := startPodOf(t, r, r.Addr(), limit, patient())
	h := newHistory(t, 30*time.Second)
	h.during(5, nil, p)
	for p.metric("pushpod_connections") < p.metric("pushpod_connections_max") {
		dial(t, p, "crowd")
	}
	h.during(25, func() { tries(t, p, 1) }, p)
	h.wantAlerts("no descriptors are left", "PushpodDescriptorsShort", "PushpodNoDescriptors")
}

func TestFaultsAlertsForRestarts(t *testing.T) {
	redistest.Faults(t)
	t.Parallel()
	r := startRedis(t)
	p, other := startPod(t, r, quick()), startPod(t, r, quick())
	h := newHistory(t, time.Minute)
	h.during(3, nil, p, other)
	for range 4 {
		time.Sleep(time.Second) // process_start_time_seconds is rounded
		p.sigkill()
		p = p.restart()
		p.waitReady()
		h.during(4, nil, p, other)
	}
	h.wantAlerts("four restarts in half an hour", "PushpodRestarts")
}

// What is no reason to wake anybody.
func TestNoAlertsForWhatIsUsual(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p, other := startPod(t, r, quick()), startPod(t, r, quick())
	h := newHistory(t, 15*time.Second)
	dial(t, p, "alice")
	db := asProducer(r)
	h.during(30, func() {
		for range 5 {
			exchange(t, p.listen, request("GET /.env HTTP/1.1", "Host: x"))
			publish(t, db, p.channel, `{"to":"alice","daat":1}`)
		}
	}, p, other)
	h.wantAlerts("a scanner, and a producer's typo")

	// A roll: this pod leaves, and comes again.
	p.sigterm()
	for !p.hasEnded() {
		h.scrape(p, other)
		time.Sleep(200 * time.Millisecond)
	}
	h.wantAlerts("a pod drains")
	p = p.restart()
	h.during(2, nil, p, other)
	p.waitReady()
	for range 3 {
		h.during(10, nil, p, other)
		h.wantAlerts("a pod was rolled")
	}
}
