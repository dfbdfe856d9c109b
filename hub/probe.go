package hub

import (
	"context"
	"errors"
	"time"

	"pushpod/internal/backoff"
)

var (
	errNotConfirmed = errors.New("Redis does not confirm the subscription")
	errNoEcho       = errors.New("the pod's own probe does not come back")
)

// prove waits until the subscription is confirmed, and then proves it again and
// again: a probe that the pod publishes on its own channel must come back. After
// the first one presence is rewritten. An error means that the subscription is dead.
func (h *Hub) prove(ctx context.Context, confirmed <-chan struct{}) error {
	select {
	case <-confirmed:
	case <-ctx.Done():
		return nil
	case <-time.After(h.opts.Redis.Timeout):
		return errNotConfirmed
	}
	h.status.update(func(s *status) { s.subscribed, s.proved = true, false })
	for first := true; ctx.Err() == nil; first = false {
		if !h.probe(ctx) {
			if ctx.Err() != nil {
				return nil
			}
			h.probeFailures.Add(1)
			return errNoEcho
		}
		if first {
			h.Rewrite()
		}
		backoff.Sleep(ctx, h.opts.Redis.Probe)
	}
	return nil
}

// probe publishes a probe, and reports whether it came back in time. Publishing is
// tried until then: a client's connection that was cut does not mean that the
// subscription is.
func (h *Hub) probe(ctx context.Context) (back bool) {
	asked, timeout := time.Now(), h.opts.Redis.Timeout
	publishing, cancel := context.WithDeadline(ctx, asked.Add(timeout))
	defer cancel()
	own := h.opts.Keys.PodChannel(h.opts.Pod)
	for {
		err := h.publishProbe(publishing, own, `{"probe":"`+h.instance+`"}`)
		if err == nil || publishing.Err() != nil {
			return h.echoed(ctx, asked, timeout)
		}
		h.log.Warn().Err(err).Str("channel", own).Msg("can't publish a probe, will try again")
		h.rights.want()
		backoff.Sleep(publishing, timeout/8)
	}
}

// echoed waits until a probe that was sent at asked has come back.
func (h *Hub) echoed(ctx context.Context, asked time.Time, timeout time.Duration) (back bool) {
	for wait := time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 50*time.Millisecond) {
		h.status.update(func(s *status) { back = s.proved && !s.echo.Before(asked) })
		if back || time.Since(asked) > timeout {
			return back
		}
		backoff.Sleep(ctx, wait)
	}
	return false
}

// probed is called for each probe that comes on the pod's channel.
func (h *Hub) probed(instance string) {
	if instance == h.instance {
		h.status.update(func(s *status) {
			s.echo = time.Now()
			s.proved = s.subscribed
		})
		return
	}
	h.status.update(func(s *status) { s.conflict = time.Now() })
	h.conflictLog.Error().Str("pod", h.opts.Pod).Str("reason", "a foreign instance's probe").Msg("CONFLICT: another instance uses this pod's address; pod.address must be unique")
}
