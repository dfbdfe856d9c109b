package hub

import (
	"sync"
	"time"

	"pushpod/presence"
	"pushpod/redisconn"
)

// Problem is one reason why the pod is not ready.
type Problem struct {
	Name   string `json:"name"`   // one word
	Reason string `json:"reason"` // for people
}

// ProblemNames are the names that a Problem may have.
func ProblemNames() []string {
	return []string{"claim", "conflict", "draining", "endpoint", "heartbeat", "presence", "redis", "rights", "shard", "unproved", "unsubscribed"}
}

// status is what the hub knows of its own state.
type status struct {
	mu sync.Mutex // protects following; taken inside a loop's lock

	claimed       bool
	subscribed    bool
	proved        bool             // a probe has come back on this subscription
	echo          time.Time        // when the last one did
	lost          error            // why the pod is not subscribed; nil: it is, or has not tried
	untaken       error            // why Redis took no probe the last time; nil: it did
	asked         bool             // it is known which rights are missing, or it is not asked for
	unasked       error            // why that can't be asked for
	conflict      time.Time        // when a foreign probe was last seen; zero: never
	away          redisconn.Outage // of the subscription
	wasSubscribed bool             // before it was lost
	draining      bool
	leaving       bool // no new connections

	sharded   bool // a shard's subscription is asked for
	shard     shardStatus
	shardAway redisconn.Outage

	conflictFor time.Duration // how long one foreign probe counts
}

func (s *status) update(f func(*status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *status) inConflict() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conflicting()
}

func (s *status) conflicting() bool {
	return !s.conflict.IsZero() && time.Since(s.conflict) < s.conflictFor
}

// refusing says why no new connection is taken; "": they are.
func (s *status) refusing() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.leaving:
		return "this pod is leaving"
	case s.conflicting():
		return "another pod uses this pod's address"
	case !s.claimed, !s.asked:
		return "this pod is starting"
	case !s.subscribed, !s.proved, s.sharded && !s.shard.proved:
		return "this pod has lost Redis"
	}
	return ""
}

// Problems lists why the pod is not ready; none: it is.
func (h *Hub) Problems() []Problem {
	beating := h.pods.Err()
	list, claimed := h.status.problems(beating)
	if err := h.presence.Err(); err != nil {
		list = append(list, Problem{"presence", err.Error()})
	}
	if beating != nil && claimed {
		list = append(list, Problem{"heartbeat", beating.Error()})
	}
	list = append(list, h.unreached()...)
	for _, m := range h.rights.missing() {
		list = append(list, Problem{"rights", h.lacking(m) + m.String()})
	}
	return list
}

// problems lists those that the status tells of. unclaimed is what keeps the pod from its
// address, where that is known.
func (s *status) problems(unclaimed error) (list []Problem, claimed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(name, reason string) { list = append(list, Problem{name, reason}) }
	if s.draining {
		add("draining", "the pod is leaving")
	}
	if s.conflicting() {
		add("conflict", "another instance uses this pod's address: its probes come on this pod's channel")
	}
	switch {
	case s.asked:
	case s.unasked != nil:
		add("rights", "it is not known yet whether Redis refuses a command that the pod needs: "+s.unasked.Error())
	default:
		add("rights", "it is not known yet whether Redis refuses a command that the pod needs")
	}
	switch {
	case !s.claimed && unclaimed != nil && unclaimed != presence.ErrNotClaimed: // which says nothing more
		add("claim", "the pod's address is not claimed yet: "+unclaimed.Error())
	case !s.claimed:
		add("claim", "the pod's address is not claimed yet")
	case !s.subscribed && s.lost != nil:
		add("unsubscribed", "the pod is not subscribed to its channel: "+s.lost.Error())
	case !s.subscribed:
		add("unsubscribed", "the pod is not subscribed to its channel")
	case !s.proved && s.untaken != nil:
		add("unproved", "Redis does not take the pod's own probe (PUBLISH on its channel): "+s.untaken.Error())
	case !s.proved:
		add("unproved", "the pod's own probe does not come back over its channel")
	}
	if s.sharded && s.claimed && !s.shard.proved {
		add("shard", s.shard.problem())
	}
	return list, s.claimed
}
