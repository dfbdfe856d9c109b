package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxScrape bounds what is read of /metrics, in bytes.
const maxScrape = 4 << 20

// A scrape is what `pushpod top` reads of a pod's /metrics.
type scrape struct {
	at      time.Time
	written float64   // pushpod_deliveries_total{result="written"}
	buckets []latency // pushpod_publish_to_write_seconds
}

// A latency is a bucket of a histogram: how many values were at most that long.
type latency struct {
	seconds float64
	count   float64 // of this and all shorter ones
}

// scrape asks the pod on this machine for its metrics.
func (l *local) scrape(ctx context.Context) (scrape, error) {
	answer, err := l.ask(ctx, http.MethodGet, "/metrics")
	if err != nil {
		return scrape{}, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return scrape{}, fmt.Errorf("HTTP status %s", answer.Status)
	}
	return parseScrape(io.LimitReader(answer.Body, maxScrape), time.Now())
}

func parseScrape(text io.Reader, at time.Time) (scrape, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return scrape{}, fmt.Errorf("metrics: %w", err)
	}
	deliveries := families["pushpod_deliveries_total"]
	if deliveries == nil {
		return scrape{}, errors.New("who answers is no pod: it has no pushpod_deliveries_total")
	}
	s := scrape{at: at}
	for _, m := range deliveries.GetMetric() {
		if hasLabel(m, "result", "written") {
			s.written = m.GetCounter().GetValue()
		}
	}
	for _, m := range families["pushpod_publish_to_write_seconds"].GetMetric() {
		for _, b := range m.GetHistogram().GetBucket() {
			s.buckets = append(s.buckets, latency{b.GetUpperBound(), float64(b.GetCumulativeCount())})
		}
	}
	return s, nil
}

func hasLabel(m *dto.Metric, name, value string) bool {
	for _, l := range m.GetLabel() {
		if l.GetName() == name && l.GetValue() == value {
			return true
		}
	}
	return false
}

// since returns deliveries a second since an earlier scrape of the same pod; known is false
// where the pod has been started anew.
func (s scrape) since(before scrape) (perSecond float64, known bool) {
	seconds := s.at.Sub(before.at).Seconds()
	if before.at.IsZero() || seconds <= 0 || s.written < before.written {
		return 0, false
	}
	return (s.written - before.written) / seconds, true
}

// quantile returns within how many seconds a part of the messages since an earlier scrape
// was written, as exact as the buckets are; known is false where there were none. What is
// beyond the last bound counts as that.
func (s scrape) quantile(q float64, before scrape) (seconds float64, known bool) {
	if len(s.buckets) == 0 || len(before.buckets) != len(s.buckets) {
		return 0, false
	}
	counts := make([]float64, len(s.buckets))
	for i, b := range s.buckets {
		counts[i] = b.count - before.buckets[i].count
	}
	last := len(counts) - 1
	wanted := q * counts[last]
	if counts[last] <= 0 {
		return 0, false
	}
	i := sort.SearchFloat64s(counts, wanted)
	bound := func(i int) float64 { return min(s.buckets[i].seconds, s.buckets[max(last-1, 0)].seconds) } // the last is infinite
	if i == 0 {
		return bound(0) * wanted / counts[0], true
	}
	part := (wanted - counts[i-1]) / (counts[i] - counts[i-1])
	return bound(i-1) + part*(bound(i)-bound(i-1)), true
}
