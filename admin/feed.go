package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"pushpod/hub"
	"pushpod/presence"
)

const (
	maxViewers   = 32              // of /console/events at once
	feedEvery    = time.Second     // of this pod
	podsEvery    = 3 * time.Second // of all pods, however many look
	feedDeadline = 10 * time.Second
	feedLasts    = 10 * time.Minute // then a browser asks anew, and is held against the token
)

// feed tells viewers how this pod is, and the others, as Redis says: these are read once for
// all viewers.
type feed struct {
	c        *Console
	problems func() []hub.Problem
	warnings func() []hub.Problem
	viewers  chan struct{}   // a place for each
	over     <-chan struct{} // closed where nobody may look any more

	mu   sync.Mutex // protects following; held while Redis is asked
	read time.Time
	pods podsView
}

func newFeed(c *Console, o Options, over <-chan struct{}) *feed {
	f := &feed{c: c, problems: o.Problems, warnings: o.Warnings, viewers: make(chan struct{}, maxViewers), over: over}
	if f.warnings == nil {
		f.warnings = func() []hub.Problem { return nil }
	}
	return f
}

// podView is what the console shows of this pod: counters, which only grow, and what is now.
type podView struct {
	Time        int64         `json:"time"` // Unix ms
	Ready       bool          `json:"ready"`
	Problems    []hub.Problem `json:"problems"`
	Warnings    []hub.Problem `json:"warnings"`
	RedisUp     bool          `json:"redis_up"`
	RTT         float64       `json:"redis_rtt_ms"`
	Connections int           `json:"connections"`
	Pending     int           `json:"pending"`
	QueuedBytes int64         `json:"queued_bytes"`
	QueuedConns int           `json:"queued_connections"`

	Accepted      uint64   `json:"accepted"`
	Refused       uint64   `json:"refused"`
	Written       uint64   `json:"written"`
	Lost          uint64   `json:"lost"` // expired, dropped or closed before they were written
	SlowConsumers uint64   `json:"slow_consumers"`
	Envelopes     uint64   `json:"envelopes"`
	Bad           uint64   `json:"bad"`
	Misses        uint64   `json:"misses"`
	Gaps          uint64   `json:"gaps"`
	Requests      uint64   `json:"requests"`
	Latency       []uint64 `json:"latency"` // by bucket, not cumulative
}

func (f *feed) pod() podView {
	s := f.c.Sources
	c, h, p := s.Conn(), s.Hub(), s.Pods()
	v := podView{
		Time: time.Now().UnixMilli(), Problems: append([]hub.Problem{}, f.problems()...), Warnings: append([]hub.Problem{}, f.warnings()...),
		RedisUp: h.RedisUp, RTT: float64(p.RTT.Microseconds()) / 1000,
		Connections: c.Open, Pending: c.Pending, QueuedBytes: c.QueuedBytes, QueuedConns: c.QueuedConns,
		Written: c.Written, Lost: c.Expired + c.Dropped + c.Closed, SlowConsumers: c.SlowConsumers,
		Envelopes: h.EnvelopesOK, Bad: h.EnvelopesBad, Misses: h.Misses, Gaps: h.Gaps, Requests: h.UplinkAccepted,
		Latency: c.Latency[:],
	}
	v.Ready = len(v.Problems) == 0
	for status, n := range c.Handshakes {
		if status == http.StatusSwitchingProtocols {
			v.Accepted += n
		} else {
			v.Refused += n
		}
	}
	return v
}

// podsView is what the console shows of all pods.
type podsView struct {
	Pods  []podRow `json:"pods"`
	Error string   `json:"error,omitempty"` // why they are not known
}

type podRow struct {
	Address     string `json:"address"` // empty where the channel is not a pod's
	Channel     string `json:"channel"`
	Connections int    `json:"connections"`
	Version     string `json:"version"`
	Started     int64  `json:"started"` // Unix ms
	Age         int64  `json:"age_ms"`  // of the last heartbeat
	State       string `json:"state"`
	Self        bool   `json:"self"`
}

// all reads the pods from Redis, unless somebody has just done so.
func (f *feed) all(ctx context.Context) podsView {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.read) < podsEvery-feedEvery/2 {
		return f.pods
	}
	ctx, cancel := context.WithTimeout(ctx, feedDeadline)
	defer cancel()
	found, err := f.c.Producer.Pods(ctx)
	v := podsView{Pods: make([]podRow, 0, len(found))}
	if err != nil {
		v.Error = err.Error()
	}
	for _, p := range found {
		v.Pods = append(v.Pods, f.row(p))
	}
	f.pods, f.read = v, time.Now()
	return v
}

func (f *feed) row(p presence.Pod) podRow {
	return podRow{
		Address: p.Address, Channel: p.Channel, Connections: p.Info.Connections, Version: p.Info.Version, Started: p.Info.Started,
		Age: p.Age.Milliseconds(), State: p.State(f.c.Lease), Self: p.Channel == f.c.Keys.PodChannel(f.c.Pod),
	}
}

// events tells a viewer, as server-sent events, until it goes, the server ends or others
// may look than before.
func (f *feed) events(w http.ResponseWriter, r *http.Request) {
	select {
	case f.viewers <- struct{}{}:
		defer func() { <-f.viewers }()
	default:
		w.Header().Set("Retry-After", "10")
		failed(w, http.StatusServiceUnavailable, fmt.Errorf("%d look already", maxViewers))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	send := func(event string, value any) bool {
		data, _ := json.Marshal(value) // plain structs
		_ = control.SetWriteDeadline(time.Now().Add(feedDeadline))
		_, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data)
		return err == nil && control.Flush() == nil
	}
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(r.Context(), feedLasts)
	defer cancel()
	for last := (time.Time{}); ; {
		if !send("pod", f.pod()) {
			return
		}
		if time.Since(last) > podsEvery-feedEvery/2 {
			last = time.Now()
			if !send("pods", f.all(ctx)) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-f.over:
			return
		case <-tick.C:
		}
	}
}
