package e2e

import (
	"fmt"
	"testing"
	"time"
)

// books are what a pod must have counted since its start: every message is ok
// or bad, and every message and target is in exactly one of the others.
type books struct {
	published int // messages on the pod's channels while it was subscribed
	bad       int // of these

	written, expired, collapsed, dropped, closed int
	misses                                       int
}

func (b books) targets() int {
	return b.written + b.expired + b.collapsed + b.dropped + b.closed + b.misses
}

// readBooks takes a pod's books from one scrape.
func readBooks(all []sample) books {
	count := func(name string, labels ...string) int { return int(sum(all, name, labels...)) }
	delivery := func(result string) int { return count("pushpod_deliveries_total", "result", result) }
	b := books{
		bad:       count("pushpod_envelopes_total", "result", "bad"),
		written:   delivery("written"),
		expired:   delivery("expired"),
		collapsed: delivery("collapsed"),
		dropped:   delivery("dropped"),
		closed:    delivery("closed"),
		misses:    count("pushpod_misses_total"),
	}
	b.published = b.bad + count("pushpod_envelopes_total", "result", "ok")
	return b
}

// wantBooks waits until the pod has counted exactly that, and then looks that
// nothing is counted twice: no further label, no later change.
func wantBooks(t testing.TB, p *pod, want books) {
	t.Helper()
	var got books
	var all []sample
	eventually(t, fmt.Sprintf("the books of %s: want %+v", p.name, want), 5*time.Second, func() (bool, any) {
		var err error
		if all, err = p.scrape(); err != nil {
			return false, err
		}
		got = readBooks(all)
		return got == want, fmt.Sprintf("%+v", got)
	})
	if n := int(sum(all, "pushpod_deliveries_total")) + got.misses; n != got.targets() {
		t.Errorf("%s: pushpod_deliveries_total has further results: %d in all, %d in those documented", p.name, n, got.targets())
	}
	time.Sleep(50 * time.Millisecond)
	if all, err := p.scrape(); err == nil && readBooks(all) != want {
		t.Errorf("the books of %s moved on: %+v, want %+v", p.name, readBooks(all), want)
	}
}
