package hub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"pushpod/redisconn"
)

const (
	// lookProbes is how often a pod looks where the address of Redis leads now, in probes,
	// within bounds: it costs a connection.
	lookProbes = 4
	lookFirst  = time.Second
	lookLast   = 8 * time.Second
	lookAgain  = time.Second // after a look that failed

	// lookMost is how many subscriptions in a row are given up for what PUBLISH replies:
	// where it is 0 for each of them, it tells nothing.
	lookMost = 3
)

var (
	errElsewhere = errors.New("the address of Redis leads to another server now")
	errMoved     = errors.New("the Sentinels name another master now")
)

// A place is the server that a subscription is at.
type place struct {
	endpoint *redisconn.Endpoint
	server   redisconn.Server
	left     <-chan struct{} // closed: Sentinels name another one, or it was left by Leave
}

// dialAt dials a node, and says where it is. Clients' connections that were made before are
// not used again: they may lead elsewhere.
func dialAt(ctx context.Context, node *redisconn.Node) (net.Conn, place, error) {
	at := place{endpoint: node.Endpoint()}
	var c net.Conn
	var err error
	if c, at.server, at.left, err = at.endpoint.DialWatched(ctx); err != nil {
		return nil, at, err
	}
	at.endpoint.Retire()
	return c, at, nil
}

// lead is where the address of Redis leads. While the old server lives nothing tells that
// it leads elsewhere: old connections go on, and a probe that is published over one of
// them comes back. So the pod looks, every few seconds, over a connection that it makes
// for it. In a Cluster the nodes themselves say who has what.
type lead struct {
	atomic.Pointer[error] // why new connections to Redis fail; nil: they do not

	// Owned by the follower of the subscription.
	inVain    int  // subscriptions in a row that were given up for what PUBLISH replied
	uncounted bool // its reply does not count this pod's subscription: a proxy's
}

// follow returns an error when the subscription is at another server than the one where
// the address leads now.
func (h *Hub) follow(ctx context.Context, s *subscriber, at place) error {
	defer h.lead.Store(nil)
	select {
	case <-s.confirmed:
	case <-at.left:
		return errMoved
	case <-ctx.Done():
		return nil
	}
	wait := h.lookWait()
	if h.lead.inVain > 0 {
		wait = h.opts.Redis.Probe // it may be in vain again: then PUBLISH tells nothing
	}
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-at.left:
			return errMoved
		case <-time.After(wait):
		}
		wait = h.lookWait()
		if h.opts.Redis.Nodes.Map().Single() == nil {
			continue
		}
		elsewhere, err := h.look(ctx, at)
		switch {
		case ctx.Err() != nil:
			return nil
		case elsewhere:
			h.opts.Redis.Nodes.Refresh() // it may be a Cluster
			at.endpoint.Leave()
			return errElsewhere
		case err != nil:
			failures++
			wait = lookAgain
			h.cannotLook(failures, err)
		default:
			if h.lead.Swap(nil) != nil {
				h.log.Info().Msg("new connections to Redis succeed again")
			}
			failures = 0
		}
	}
}

// lookWait is how long to wait until the next look: as pods do not look all at once, up
// to a quarter less.
func (h *Hub) lookWait() time.Duration {
	wait := max(lookFirst, min(lookProbes*h.opts.Redis.Probe, lookLast))
	return wait - rand.N(wait/4)
}

// cannotLook makes the pod not ready once it has failed twice to connect anew: who lost
// its connections now would get no others, and where the address leads is not known.
func (h *Hub) cannotLook(failures int, err error) {
	if failures < 2 {
		return
	}
	if h.lead.Swap(&err) == nil {
		h.log.Warn().Err(err).Msg("new connections to Redis fail, old ones go on; the pod is not ready until they succeed")
	}
}

// look makes a connection, and reports whether it is to another server than that of the
// subscription.
func (h *Hub) look(ctx context.Context, at place) (elsewhere bool, err error) {
	timeout := h.opts.Redis.Timeout
	ctx, cancel := context.WithTimeout(ctx, max(timeout/2, min(timeout, time.Second)))
	defer cancel()
	fresh, err := at.endpoint.Fresh(ctx)
	if err != nil {
		if errors.Is(err, redisconn.ErrFull) {
			return false, nil // it says itself what is wrong; nothing of the subscription is
		}
		return false, fmt.Errorf("connect to Redis anew: %w", err)
	}
	defer fresh.Close()
	if at.server.ID != "" && at.server.ID == fresh.Server.ID {
		h.lead.inVain = 0
		return false, nil
	}
	heard, err := fresh.Publish(ctx, h.opts.Keys.PodChannel(h.opts.Pod), `{"probe":"`+h.instance+`"}`)
	counted := !h.lead.uncounted
	elsewhere, err = h.lead.judge(at.server, fresh.Server, heard, err)
	if counted && h.lead.uncounted {
		h.log.Warn().Msg("Redis's replies to PUBLISH do not count this pod's subscription; an address that is led elsewhere is noticed only once the old server fails")
	}
	return elsewhere, err
}

// judge reports whether a new connection is to another server than that of the
// subscription, where they are not known to be the same. heard is how many subscribers
// of the pod's own channel the new one knows, or err why that is not known.
//
// The pod's subscription is at the new server only if somebody has heard. That holds also
// where the servers' names differ, as behind a proxy that has several of itself.
func (l *lead) judge(old, now redisconn.Server, heard int64, err error) (elsewhere bool, _ error) {
	others := old.ID != "" && now.ID != ""
	switch {
	case err == nil && heard > 0:
		l.inVain, l.uncounted = 0, false
		return false, nil
	case err == nil && l.uncounted:
		return false, nil
	case err == nil:
		l.inVain++
		l.uncounted = l.inVain >= lookMost
		return !l.uncounted, nil
	case others:
		return true, nil
	case redisconn.IsReply(err): // the pod's own probe is refused too
		return false, nil
	}
	return false, fmt.Errorf("publish over a new connection: %w", err)
}

// unreached lists what is wrong with how Redis is reached, if the pod can't work by it.
func (h *Hub) unreached() (list []Problem) {
	if hinders, err := h.notFound(); err != nil && hinders {
		list = append(list, Problem{"redis", err.Error()})
	}
	if err := h.lead.Load(); err != nil {
		list = append(list, Problem{"endpoint", "new connections to Redis fail: " + (*err).Error()})
	}
	return list
}

// foreseen lists what is wrong with how Redis is reached, while the pod works: Sentinels
// that do not answer.
func (h *Hub) foreseen() (list []Problem) {
	if hinders, err := h.notFound(); err != nil && !hinders {
		list = append(list, Problem{"redis", err.Error()})
	}
	return list
}

// notFound says why it is not known what Redis is, or where; nil: it is. It does not hinder
// a pod that has found it before.
func (h *Hub) notFound() (hinders bool, err error) {
	nodes := h.opts.Redis.Nodes
	if nodes == nil {
		return false, nil
	}
	err = nodes.Err()
	return redisconn.IsSetting(err) || nodes.Map().Kind == redisconn.Unknown, err
}
