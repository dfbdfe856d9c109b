package hub

import (
	"context"
	"slices"
	"sync"
	"time"

	"pushpod/internal/backoff"
	"pushpod/presence"
	"pushpod/redisconn"
)

// rewrites is which entries are to be rewritten.
type rewrites struct {
	wanted chan struct{} // capacity 1

	mu    sync.Mutex // protects what follows
	all   bool
	slots *[redisconn.Slots]bool // of a Cluster, whose users' entries are; nil: none
}

// want asks for the entries of slots to be rewritten; nil: for all.
func (r *rewrites) want(slots *[redisconn.Slots]bool) {
	r.mu.Lock()
	switch {
	case slots == nil:
		r.all = true
	case r.slots == nil:
		r.slots = slots
	default:
		for i, moved := range slots {
			r.slots[i] = r.slots[i] || moved
		}
	}
	r.mu.Unlock()
	select {
	case r.wanted <- struct{}{}:
	default: // it is asked for already
	}
}

// take returns what is wanted; nil: all.
func (r *rewrites) take() (slots *[redisconn.Slots]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.all {
		slots = r.slots
	}
	r.all, r.slots = false, nil
	return slots
}

// Rewrite has all presence entries rewritten, soon and paced: Redis may have
// lost them, or others may have removed them. It may be called from anywhere, and
// never blocks.
func (h *Hub) Rewrite() { h.rewrites.want(nil) }

// RewriteMoved has the entries rewritten whose slot is at another node than before: what was
// written last at the old one may not have come along. It is called as Rewrite.
func (h *Hub) RewriteMoved(before, now *redisconn.Map) {
	if before.Kind != redisconn.Cluster || now.Kind != redisconn.Cluster {
		if before.Kind != redisconn.Unknown {
			h.Rewrite()
		}
		return
	}
	moved, any := new([redisconn.Slots]bool), false
	for slot := range moved {
		moved[slot] = before.Slot(slot) != now.Slot(slot)
		any = any || moved[slot]
	}
	if any {
		h.rewrites.want(moved)
	}
}

// rewriter rewrites whenever it is asked to, until ctx ends.
func (h *Hub) rewriter(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.rewrites.wanted:
		}
		slots := h.rewrites.take()
		for !h.rewrite(ctx, slots) && ctx.Err() == nil {
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

// rewrite renews all entries, or those of users in some slots, paced, the pod's score first.
// Those of connections that end meanwhile are passed over: nobody would remove them again.
func (h *Hub) rewrite(ctx context.Context, slots *[redisconn.Slots]bool) (done bool) {
	const atOnce, between = 500, 10 * time.Millisecond
	sessions := h.registry.all()
	if slots != nil {
		sessions = slices.DeleteFunc(sessions, func(s *session) bool { return !slots[presence.UserSlot(s.user)] })
	}
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
	h.lines.rewritten.Event().Int("entries", len(sessions)).Dur("took_ms", time.Since(begun).Round(time.Millisecond)).Send()
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
