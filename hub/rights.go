package hub

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"pushpod/internal/backoff"
	"pushpod/presence"
)

// rights is what Redis refuses the pod's account for want of a right, or does not know.
type rights struct {
	wanted chan struct{} // capacity 1: it is to be asked for

	mu   sync.Mutex // protects following
	list []lack
}

// lack is a command that the pod needs and can't have, and on what.
type lack struct {
	command string // in capitals
	on      []string
	reply   string // of Redis
	unknown bool   // the server does not know it; else the account has no right to it
}

func (m lack) String() string {
	if len(m.on) == 0 {
		return m.command + ": " + m.reply
	}
	return m.command + " on " + strings.Join(m.on, ", ") + ": " + m.reply
}

// want asks for the rights to be asked for soon: Redis seems to refuse something.
func (r *rights) want() {
	select {
	case r.wanted <- struct{}{}:
	default: // they are to be asked for already
	}
}

func (r *rights) missing() []lack {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

func (r *rights) set(list []lack) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	same := slices.EqualFunc(r.list, list, func(a, b lack) bool { return a.String() == b.String() })
	r.list = list
	return !same
}

// keepRights asks for missing rights, at once and again, until ctx ends. Some are of
// use only later, when a client sends something: they are named before. Until there has
// been an answer, the pod is not ready, and takes no connection.
func (h *Hub) keepRights(ctx context.Context) {
	every := h.opts.Redis.Rights
	if every <= 0 {
		h.status.update(func(s *status) { s.asked = true })
		return
	}
	known := false
	for failures := 0; ctx.Err() == nil; {
		asked := time.Now()
		rest := every
		list, err := h.askRights(ctx)
		switch {
		case err != nil: // Redis is away, which others say too
			failures++
			rest = min(every, h.opts.Redis.Probe)
			if !known {
				rest = min(rest, backoff.After(failures+1, 50*time.Millisecond, time.Second))
			}
			h.status.update(func(s *status) { s.unasked = err })
		default:
			failures, known = 0, true
			if h.rights.set(list) {
				h.tellRights(list)
			}
			h.status.update(func(s *status) { s.asked, s.unasked = true, nil })
			h.lookAtEviction(ctx)
			h.lookAtCoverage(ctx)
		}
		due := time.NewTimer(rest)
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-h.rights.wanted:
			backoff.Sleep(ctx, h.opts.Redis.Probe-time.Since(asked)) // many may want them
		}
		due.Stop()
	}
}

func (h *Hub) tellRights(list []lack) {
	for _, m := range list {
		h.log.Error().Str("command", m.command).Strs("on", m.on).Str("reply", m.reply).Msg(h.lacking(m) + m.command)
	}
	if len(list) == 0 {
		h.log.Info().Msg("the pod's account in Redis has all rights that it needs, and Redis knows all commands")
	}
}

// lacking is how what the pod lacks is named, before the command.
func (h *Hub) lacking(m lack) string {
	if m.unknown {
		return "Redis does not know the command "
	}
	user := h.opts.Redis.Nodes.Username()
	if user == "" {
		user = "default"
	}
	return "the Redis user " + user + " has no right to "
}

// commands are all that a pod sends to Redis but those of transactions.
func (h *Hub) commands() []presence.Command {
	k := h.opts.Keys
	own, others := k.PodChannel(h.opts.Pod), k.PodChannel("*")
	list := append(presence.Commands(k, own),
		presence.Command{Args: []string{"XADD", k.Uplink(), "*", "-", "-"}, On: k.Uplink()},
		presence.Command{Args: []string{"PUBLISH", own, "-"}, On: own},
		presence.Command{Args: []string{"PUBLISH", k.PodChannel("another:1"), "-"}, On: others},
	)
	if h.opts.Control {
		list = append(list, presence.Command{Args: []string{"PUBLISH", k.ControlChannel("another:1"), "-"}, On: k.ControlChannel("*")})
	}
	if h.opts.Sharded {
		list = append(list,
			presence.Command{Args: []string{"SSUBSCRIBE", own}, On: own},
			presence.Command{Args: []string{"SPUBLISH", own, "-"}, On: own})
	}
	for _, c := range h.channels() {
		list = append(list, presence.Command{Args: []string{"SUBSCRIBE", c.name}, On: c.name})
	}
	return list
}
