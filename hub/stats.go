package hub

import (
	"pushpod/auth"
	"pushpod/presence"
)

// Stats is what the hub has done, and what it holds. All but Connections,
// UplinkWaiting and the truth values only grow.
type Stats struct {
	EnvelopesOK, EnvelopesBad, Misses, Heals   uint64
	UnknownMembers                             uint64
	ClosesIgnored                              uint64 // with redis.control
	Gaps, ProbeFailures                        uint64
	UplinkAccepted, UplinkFailed, UplinkWrites uint64
	FramesRejected                             uint64
	UplinkWaiting, Connections                 int
	RedisUp, Ready, Draining, Conflict         bool
	Problems                                   []string // why the pod is not ready, by name; none: it is

	Revoked [presence.GroundCount]uint64 // connections that were closed, by ground

	Hook auth.HookStats
}

// Stats may be called at any time, from anywhere.
func (h *Hub) Stats() Stats {
	problems := problemNames(h.Problems())
	s := Stats{
		EnvelopesOK:    h.router.ok.Load(),
		EnvelopesBad:   h.router.bad.Load(),
		UnknownMembers: h.router.unknown.Load(),
		ClosesIgnored:  h.router.uncontrolled.Load(),
		Misses:         h.router.misses.Load(),
		Heals:          h.heals.Load(),
		Gaps:           h.gaps.Load(),
		ProbeFailures:  h.probeFailures.Load(),
		UplinkAccepted: h.uplink.accepted.Load(),
		UplinkFailed:   h.uplink.failed.Load(),
		UplinkWrites:   h.uplink.writes.Load(),
		UplinkWaiting:  h.uplink.len(),
		FramesRejected: h.rejected.Load(),
		Connections:    h.registry.len(),
		Conflict:       h.status.inConflict(),
		Draining:       h.Draining(),
		Problems:       problems,
		Ready:          len(problems) == 0,
	}
	if h.opts.Hook != nil {
		s.Hook = h.opts.Hook.Stats()
	}
	for g := range s.Revoked {
		s.Revoked[g] = h.revoked[g].Load()
	}
	h.status.update(func(st *status) { s.RedisUp = st.subscribed && st.proved })
	return s
}
