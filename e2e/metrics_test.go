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
	labels map[string]string
	value  float64
}

// samples parses the Prometheus text format.
func samples(text string) ([]sample, error) {
	var all []sample
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := parseSample(line)
		if err != nil {
			return nil, fmt.Errorf("metrics line %q: %w", line, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func parseSample(line string) (sample, error) {
	end := strings.IndexAny(line, "{ ")
	if end < 0 {
		return sample{}, fmt.Errorf("no value")
	}
	s := sample{name: line[:end], labels: make(map[string]string)}
	rest := line[end:]
	if rest[0] == '{' {
		rest = rest[1:]
		for !strings.HasPrefix(rest, "}") {
			name, after, ok := strings.Cut(rest, "=")
			if !ok {
				return sample{}, fmt.Errorf("label without value")
			}
			quoted, err := strconv.QuotedPrefix(after)
			if err != nil {
				return sample{}, fmt.Errorf("label %s: %w", name, err)
			}
			if s.labels[name], err = strconv.Unquote(quoted); err != nil {
				return sample{}, fmt.Errorf("label %s: %w", name, err)
			}
			rest = strings.TrimPrefix(after[len(quoted):], ",")
		}
		rest = rest[1:]
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return sample{}, fmt.Errorf("no value")
	}
	var err error
	s.value, err = strconv.ParseFloat(fields[0], 64)
	return s, err
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
	for _, s := range all {
		if s.name == name && hasLabels(s, labels) {
			total += s.value
		}
	}
	return total
}

func hasLabels(s sample, pairs []string) bool {
	for i := 0; i+1 < len(pairs); i += 2 {
		if s.labels[pairs[i]] != pairs[i+1] {
			return false
		}
	}
	return true
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
