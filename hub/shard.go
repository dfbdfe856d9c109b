package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/hub/source"
	"pushpod/internal/backoff"
	"pushpod/internal/resp"
	"pushpod/redisconn"
)

// shardStatus is what is known of the subscription to the shard that has the pod's own
// channel (redis.pubsub: sharded). Guarded by status.mu.
type shardStatus struct {
	subscribed bool
	proved     bool      // a probe has come back on this subscription
	echo       time.Time // when the last one did
	err        error     // why it is not so; nil: it has not been tried
}

func (s *shardStatus) problem() string {
	switch {
	case s.err != nil:
		return "the pod is not subscribed to its channel's shard (redis.pubsub: sharded): " + s.err.Error()
	case !s.subscribed:
		return "the pod is not subscribed to its channel's shard (redis.pubsub: sharded)"
	}
	return "the pod's own probe does not come back over its channel's shard (redis.pubsub: sharded)"
}

var errSlotMoved = errors.New("the slot of the pod's channel has moved to another node")

// keepShard keeps the pod subscribed to its own channel at the node that has the channel's
// slot, until ctx ends, and counts the gaps.
func (h *Hub) keepShard(ctx context.Context) {
	const first, most = 50 * time.Millisecond, 2 * time.Second
	own := h.opts.Keys.PodChannel(h.opts.Pod)
	for failures := 1; ; failures++ {
		var was reached
		node := h.opts.Redis.Nodes.Map().Of(own)
		// A node that has the slot no more says where it is.
		for range 4 {
			var moved *redisconn.Node
			if was, moved, _ = h.shardAt(ctx, node, own); moved == nil {
				break
			}
			node = moved
		}
		if ctx.Err() != nil {
			return
		}
		h.opts.Redis.Nodes.Refresh()
		if was.proved {
			failures = 1
		}
		var why error
		h.status.update(func(s *status) { why = s.shard.err })
		var news bool
		h.status.update(func(s *status) { news = s.shardAway.Failed(why) })
		switch {
		case was.confirmed:
			h.gaps.Add(1)
			h.lines.shardLost.Event().Err(why).Stringer("redis", node).Send()
		case news:
			h.lines.shardUnsubscribed.Event().Err(why).Stringer("redis", node).Send()
		}
		backoff.Sleep(ctx, backoff.After(failures, first, most))
	}
}

// shardAt subscribes at a node and reads until that ends. moved is the node to which Redis
// refers instead.
func (h *Hub) shardAt(ctx context.Context, node *redisconn.Node, own string) (was reached, moved *redisconn.Node, err error) {
	defer func() {
		h.status.update(func(s *status) {
			was.proved = s.shard.proved
			s.shard = shardStatus{err: err}
		})
	}()
	socket, err := h.subscribeShard(ctx, node, own)
	if err != nil {
		return was, nil, err
	}
	src := source.New(socket, &h.spare)
	defer src.Close()
	defer context.AfterFunc(ctx, src.End)()
	s := newSubscriber(src, h.router, []channel{{own, roleShard}}, h.opts.Redis.MaxEnvelope)
	proving, stop := context.WithCancel(ctx)
	var prober sync.WaitGroup
	var unproved error
	prober.Go(func() {
		if unproved = h.proveShard(proving, s, node, own); unproved != nil {
			src.End()
		}
	})
	err = s.run()
	stop()
	prober.Wait()
	if unproved != nil {
		err = unproved
	}
	was.confirmed = s.open <= 0
	if to := h.opts.Redis.Nodes.Redirected(node, err); to != nil {
		return was, to, err
	}
	return was, nil, err
}

// subscribeShard dials a node and asks for the channel.
func (h *Hub) subscribeShard(ctx context.Context, node *redisconn.Node, own string) (net.Conn, error) {
	timeout := h.opts.Redis.Timeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, _, err := node.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if err = c.SetWriteDeadline(time.Now().Add(timeout)); err == nil {
		_, err = c.Write(resp.AppendCommand(nil, "SSUBSCRIBE", own))
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return c, nil
}

// proveShard waits until the subscription is confirmed, and then proves it until ctx ends: a
// probe that is published to the node that has the slot must come back. An error means
// that the subscription is dead, or at the wrong node. Where Redis takes no probe the
// subscription stays.
func (h *Hub) proveShard(ctx context.Context, s *subscriber, node *redisconn.Node, own string) error {
	r, timeout := h.opts.Redis.Nodes, h.opts.Redis.Timeout
	select {
	case <-s.confirmed:
	case <-ctx.Done():
		return nil
	case <-time.After(timeout):
		return errNotConfirmed
	}
	var away time.Duration
	var failures int
	h.status.update(func(s *status) {
		s.shard = shardStatus{subscribed: true}
		away, failures = s.shardAway.Over()
	})
	if failures > 0 {
		h.lines.shardSubscribed.Event().Stringer("redis", node).Dur("away_ms", away).Int("failures", failures).Send()
	}
	known := r.Map().Replaced() // a map from before may not know yet what the node has said
	for ctx.Err() == nil {
		m, asked := r.Map(), time.Now()
		if m.Replaced() != known && m.Of(own) != node {
			return errSlotMoved
		}
		err := h.publishToShard(ctx, own, `{"probe":"`+h.instance+`"}`)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			h.status.update(func(s *status) { s.shard.proved, s.shard.err = false, err })
		case !h.shardEchoed(ctx, asked):
			if ctx.Err() != nil {
				return nil
			}
			h.probeFailures.Add(1)
			return errNoEcho
		}
		due := time.NewTimer(h.opts.Redis.Probe)
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-m.Replaced():
		}
		due.Stop()
	}
	return nil
}

// publishToShard publishes to the node that has the channel's slot.
func (h *Hub) publishToShard(ctx context.Context, channel, text string) error {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Redis.Timeout)
	defer cancel()
	return h.opts.Uplink.Process(ctx, channel, redis.NewIntCmd(ctx, "spublish", channel, text))
}

// shardEchoed waits until a probe that was sent at asked has come back, within redis.timeout.
func (h *Hub) shardEchoed(ctx context.Context, asked time.Time) (back bool) {
	for wait := time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 50*time.Millisecond) {
		h.status.update(func(s *status) { back = s.shard.proved && !s.shard.echo.Before(asked) })
		if back || time.Since(asked) > h.opts.Redis.Timeout {
			return back
		}
		backoff.Sleep(ctx, wait)
	}
	return false
}

// shardProbed is called for each probe that comes over the shard.
func (h *Hub) shardProbed(instance string) {
	if instance != h.instance {
		h.probed(instance) // a conflict
		return
	}
	h.status.update(func(s *status) {
		s.shard.echo = time.Now()
		if s.shard.proved = s.shard.subscribed; s.shard.proved {
			s.shard.err = nil
		}
	})
}
