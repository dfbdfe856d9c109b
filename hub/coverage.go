package hub

import (
	"context"
	"sync/atomic"

	"pushpod/redisconn"
)

// coverage is whether a Cluster ends service for everyone where a slot has no master.
type coverage struct {
	full   atomic.Bool // cluster-require-full-coverage is on
	untold bool        // Redis does not tell; used by the goroutine of keepRights
}

const wantsCoverage = "the Cluster serves nobody while one of its masters is away (cluster-require-full-coverage yes). Set it to no on every node: " +
	"then only that master's users are without presence"

// lookAtCoverage asks a Cluster's nodes whether they need all slots to be served, and
// says so loudly if one does.
func (h *Hub) lookAtCoverage(ctx context.Context) {
	c, r := &h.coverage, h.opts.Uplink
	if c.untold || r.Map().Kind != redisconn.Cluster {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Redis.Timeout)
	defer cancel()
	full := false
	for _, node := range r.Map().Masters {
		said, err := node.Client().ConfigGet(ctx, "cluster-require-full-coverage").Result()
		if redisconn.IsReply(err) {
			c.untold = true // an ACL logs what it refuses
			return
		}
		full = full || said["cluster-require-full-coverage"] == "yes"
	}
	if before := c.full.Swap(full); full && !before {
		h.log.Warn().Msg("COVERAGE: " + wantsCoverage)
	}
}
