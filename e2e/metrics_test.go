package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A sample is one line of /metrics.
type sample struct {
	name   string
	labels string // as they stand: result="ok",le="1"
	value  float64
}

// samples parses the Prometheus text format, where no label's value holds a brace.
func samples(text string) ([]sample, error) {
	var all []sample
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSpace(line)
		series, value := line[:strings.LastIndexByte(line, ' ')+1], line[strings.LastIndexByte(line, ' ')+1:]
		name, labels, _ := strings.Cut(strings.TrimSpace(series), "{")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metrics line %q: %w", line, err)
		}
		all = append(all, sample{name, strings.TrimSuffix(labels, "}"), n})
	}
	return all, nil
}

// scrape returns the samples of /metrics, or an error where there is no answer.
func (p *pod) scrape() ([]sample, error) {
	status, body := p.get("/metrics")
	if status != 200 {
		return nil, fmt.Errorf("%s: /metrics: %d %s", p.name, status, body)
	}
	return samples(body)
}

// sum adds the samples of that name whose labels include the pairs given.
func sum(all []sample, name string, labels ...string) float64 {
	var total float64
next:
	for _, s := range all {
		for i := 0; i+1 < len(labels); i += 2 {
			if !strings.Contains(s.labels, fmt.Sprintf("%s=%q", labels[i], labels[i+1])) {
				continue next
			}
		}
		if s.name == name {
			total += s.value
		}
	}
	return total
}

// metric scrapes the pod and adds the samples of that name whose labels
// include the pairs given: p.metric("pushpod_envelopes_total", "result", "bad").
func (p *pod) metric(name string, labels ...string) float64 {
	p.t.Helper()
	all, err := p.scrape()
	if err != nil {
		p.t.Fatal(err)
	}
	return sum(all, name, labels...)
}

// wantMetric waits until a metric has the value.
func (p *pod) wantMetric(why string, want float64, name string, labels ...string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s: %s: %s%v = %v", why, p.name, name, labels, want), 5*time.Second, func() (bool, any) {
		got := p.metric(name, labels...)
		return got == want, got
	})
}
