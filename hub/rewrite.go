package hub

import (
	"context"
	"time"

	"pushpod/internal/backoff"
)

// Rewrite has all presence entries rewritten, soon and paced: Redis may have
// lost them, or others may have removed them. It may be called from anywhere, and
// never blocks.
func (h *Hub) Rewrite() {
	select {
	case h.rewrites <- struct{}{}:
	default: // it is asked for already
	}
}

// rewriter rewrites whenever it is asked to, until ctx ends.
func (h *Hub) rewriter(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.rewrites:
		}
		for !h.rewrite(ctx) && ctx.Err() == nil {
			backoff.Sleep(ctx, h.opts.Redis.Probe)
		}
	}
}

// rewritesPerSecond bounds how many entries all pods together rewrite. Whatever made one of
// them do so, a failover or an emptied Redis, mostly made all. An entry is 9 µs of Redis's
// processor (7.0), some 15 where each field expires, so that the others' commands find room
// between them.
const rewritesPerSecond = 25_000

// pace is at how many entries a second n of them are rewritten: the pod's share of
// rewritesPerSecond, but at least so many that half a renewal is enough.
func (h *Hub) pace(n int) float64 {
	renew := h.opts.Renew
	if renew <= 0 {
		renew = 30 * time.Second
	}
	return max(rewritesPerSecond/float64(h.pods.Fleet()), float64(n)/(renew/2).Seconds())
}

// rewrite renews all entries, paced, the pod's score first. Those of connections that
// end meanwhile are passed over: nobody would remove them again.
func (h *Hub) rewrite(ctx context.Context) (done bool) {
	const atOnce, between = 500, 10 * time.Millisecond
	sessions := h.registry.all()
	if len(sessions) == 0 {
		return true
	}
	beat, cancel := context.WithTimeout(ctx, h.opts.Redis.Timeout)
	defer cancel()
	if h.pods.Beat(beat) != nil {
		return false // the heartbeat says so in the log
	}
	begun, perSecond := time.Now(), h.pace(len(sessions))
	for i := 0; i < len(sessions) && ctx.Err() == nil; backoff.Sleep(ctx, between) {
		due := min(len(sessions), i+atOnce, 1+int(perSecond*time.Since(begun).Seconds()))
		for ; i < due; i++ {
			sessions[i].conn.Renew()
		}
	}
	h.log.Info().Int("connections", len(sessions)).Msg("presence entries rewritten")
	return ctx.Err() == nil
}

// heal has those presence entries of a user removed that name this pod and are
// not held by it.
func (h *Hub) heal(user string) {
	if h.status.inConflict() {
		return // they may be the other instance's
	}
	h.heals.Add(1)
	h.presence.Heal(user, h.registry.holds)
}
