package hub

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// eviction is whether Redis may remove presence entries for want of memory.
type eviction struct {
	mu     sync.Mutex // protects following
	policy string     // by which it does; "": it does not, or it is not known
	limit  string     // maxmemory, in bytes

	untold bool // Redis does not tell; used by the goroutine of keepRights
}

// warning says that Redis does; "": not, or not known.
func (e *eviction) warning() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.policy == "" {
		return ""
	}
	return evicts(e.policy, e.limit)
}

func evicts(policy, limit string) string {
	return "Redis removes keys where its memory ends (maxmemory-policy " + policy + ", maxmemory " + limit +
		"), presence entries too: their users are then not found until the next renewal. Use noeviction, or a Redis for pushpod alone"
}

// lookAtEviction asks Redis what it does where its memory ends, and says so loudly if it
// evicts. Where it does not tell, nothing is said.
func (h *Hub) lookAtEviction(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Redis.Timeout)
	defer cancel()
	e := &h.eviction
	if e.untold {
		return // an ACL logs what it refuses
	}
	policy, limit, known := e.ask(ctx, h.opts.Uplink)
	if !known {
		return
	}
	if limit == "0" || policy == "noeviction" {
		policy, limit = "", ""
	}
	e.mu.Lock()
	before := e.policy
	e.policy, e.limit = policy, limit
	e.mu.Unlock()
	switch {
	case policy != "" && policy != before:
		h.log.Warn().Str("maxmemory_policy", policy).Str("maxmemory", limit).Msg("EVICTION: " + evicts(policy, limit))
	case policy == "" && before != "":
		h.log.Info().Msg("Redis does not evict keys any more")
	}
}

// ask asks by INFO memory, which few refuse, else by CONFIG GET. Of a Cluster's masters
// it names one that evicts.
func (e *eviction) ask(ctx context.Context, r *redisconn.Redis) (policy, limit string, known bool) {
	for _, node := range r.Map().Masters { // one after the other: this is not urgent
		p, l, ok := e.askNode(ctx, node.Client())
		if !ok {
			continue
		}
		policy, limit, known = p, l, true
		if policy != "noeviction" && limit != "0" {
			break
		}
	}
	return policy, limit, known
}

func (e *eviction) askNode(ctx context.Context, c redis.Cmdable) (policy, limit string, known bool) {
	text, err := c.Info(ctx, "memory").Result()
	if err == nil {
		policy, limit = field(text, "maxmemory_policy"), field(text, "maxmemory")
	}
	if policy == "" || limit == "" {
		var all map[string]string
		if all, err = c.ConfigGet(ctx, "maxmemory*").Result(); err == nil {
			policy, limit = all["maxmemory-policy"], all["maxmemory"]
		}
		e.untold = redis.HasErrorPrefix(err, "NOPERM") || redisconn.IsReply(err) && isUnknown(err.Error())
	}
	return policy, limit, policy != "" && limit != ""
}

// field is the value of a field in an answer to INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, is := strings.CutPrefix(line, name+":"); is {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
