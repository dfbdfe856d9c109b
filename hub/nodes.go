package hub

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// dialNode dials the node of the next subscription. In a Cluster any will do, since what
// is published reaches all of them: one other than the last, which may have gone.
func (h *Hub) dialNode(ctx context.Context) (net.Conn, place, error) {
	r := h.opts.Redis.Nodes
	node := another(r.Map(), h.subscribedAt.Load())
	h.subscribedAt.Store(node)
	c, at, err := dialAt(ctx, node)
	if err != nil {
		r.Refresh()
	}
	return c, at, err
}

// another returns any master but that one, where there is another.
func another(m *redisconn.Map, than *redisconn.Node) *redisconn.Node {
	at := rand.IntN(len(m.Masters))
	if m.Masters[at] == than {
		at = (at + 1) % len(m.Masters)
	}
	return m.Masters[at]
}

// publishProbe publishes a probe. In a Cluster it does so through another node than that of
// the subscription, so that a node which the others have lost or forgotten is noticed.
func (h *Hub) publishProbe(ctx context.Context, channel, probe string) error {
	r := h.opts.Uplink
	m := r.Map()
	node := another(m, h.subscribedAt.Load())
	if len(m.Masters) > 1 { // one that hangs is not all of them
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.opts.Redis.Timeout/4)
		defer cancel()
	}
	err := node.Client().Publish(ctx, channel, probe).Err()
	var reply redis.Error
	if err != nil && !errors.As(err, &reply) {
		r.Refresh()
	}
	return err
}
