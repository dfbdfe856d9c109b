package hub

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"pushpod/hub/source"
	"pushpod/internal/backoff"
	"pushpod/internal/resp"
)

// role says what a channel means to the router.
type role uint8

const (
	roleOwn role = iota // the pod's own: its probe comes on it
	roleAll             // every pod's

	// With redis.control: what closes connections comes on these two only, of which the
	// first is the pod's own, and the second every pod's.
	roleControl
	roleControlAll

	roleShard // the pod's own, of the shard that has its slot
)

// own reports whether only this pod is subscribed: a user without a connection is a miss.
func (r role) own() bool { return r == roleOwn || r == roleControl || r == roleShard }

// all reports whether every pod is subscribed.
func (r role) all() bool { return r == roleAll || r == roleControlAll }

// controls reports whether closes are obeyed, where redis.control is on.
func (r role) controls() bool { return r == roleControl || r == roleControlAll }

// channel is one that the pod subscribes to.
type channel struct {
	name string
	role role
}

// channels are all that the pod subscribes to, over one connection: to lose it is
// one gap.
func (h *Hub) channels() []channel {
	k := h.opts.Keys
	all := []channel{{k.PodChannel(h.opts.Pod), roleOwn}, {k.AllChannel(), roleAll}}
	if h.opts.Control {
		all = append(all, channel{k.ControlChannel(h.opts.Pod), roleControl}, channel{k.ControlAllChannel(), roleControlAll})
	}
	return all
}

// closing returns the channel on which the pod with this channel obeys closes.
func (h *Hub) closing(pod string) string {
	address, ok := h.opts.Keys.PodAddress(pod)
	if !h.opts.Control || !ok {
		return pod
	}
	return h.opts.Keys.ControlChannel(address)
}

// keepSubscribed keeps the pod subscribed until ctx ends, and counts the gaps.
func (h *Hub) keepSubscribed(ctx context.Context) {
	const first, most = 50 * time.Millisecond, 500 * time.Millisecond
	for failures := 1; ; failures++ {
		was, at, err := h.subscription(ctx)
		if ctx.Err() != nil {
			return
		}
		var news bool
		if was.proved {
			failures = 1
		}
		h.rights.want()
		h.status.update(func(s *status) {
			s.lost, s.wasSubscribed, news = err, s.wasSubscribed || was.confirmed, s.away.Failed(err)
		})
		switch {
		case was.confirmed:
			h.gaps.Add(1)
			h.lines.lost.Event().Err(err).Send()
		case news:
			h.lines.unsubscribed.Event().Err(err).Send()
		}
		select {
		case <-ctx.Done():
		case <-at.left: // a failover, which is what it waits for
			failures = 1
		case <-time.After(backoff.After(failures+1, first, most)):
		}
	}
}

// confirmed notes that Redis has confirmed the subscription, and has it logged with for how
// long there was none.
func (h *Hub) confirmed() {
	var again bool
	var away time.Duration
	var failures int
	h.status.update(func(s *status) {
		s.subscribed, s.proved, s.lost, s.untaken = true, false, nil, nil
		again = s.wasSubscribed
		away, failures = s.away.Over()
	})
	if again {
		h.lines.subscribed.Event().Dur("away_ms", away).Int("failures", failures).Int("entries", h.registry.len()).Send()
		return
	}
	h.log.Info().Int("failures", failures).Msg("subscribed")
}

// reached says how far a subscription has come.
type reached struct {
	confirmed bool // Redis has confirmed all channels
	proved    bool // and a probe has come back
}

// subscription subscribes once, and reads until it ends.
func (h *Hub) subscription(ctx context.Context) (reached, place, error) {
	socket, at, err := h.subscribe(ctx)
	if err != nil {
		return reached{}, at, err
	}
	src := source.New(socket, &h.spare)
	defer src.Close()
	defer context.AfterFunc(ctx, src.End)()
	s := newSubscriber(src, h.router, h.channels(), h.opts.Redis.MaxEnvelope)

	// The prober ends the subscription where it can't be proved, and the follower where
	// it is at another server than the address leads to.
	proving, stop := context.WithCancel(ctx)
	var prober, follower sync.WaitGroup
	var unproved, astray error
	prober.Go(func() {
		if unproved = h.prove(proving, s); unproved != nil {
			src.End()
		}
	})
	follower.Go(func() {
		if astray = h.follow(proving, s, at); astray != nil {
			src.End()
		}
	})
	err = s.run()
	stop()
	prober.Wait()
	follower.Wait()
	if unproved != nil {
		err = unproved
	}
	if astray != nil {
		err = astray
	}
	was := reached{confirmed: s.open <= 0}
	h.status.update(func(st *status) {
		was.proved = st.proved
		st.subscribed, st.proved = false, false
	})
	return was, at, err
}

// subscribe dials Redis and asks for the channels.
func (h *Hub) subscribe(ctx context.Context) (net.Conn, place, error) {
	timeout := h.opts.Redis.Timeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, at, err := h.dialNode(ctx)
	if err != nil {
		return nil, at, err
	}
	args := []string{"SUBSCRIBE"}
	for _, ch := range h.channels() {
		args = append(args, ch.name)
	}
	if err = c.SetWriteDeadline(time.Now().Add(timeout)); err == nil {
		_, err = c.Write(resp.AppendCommand(nil, args...))
	}
	if err != nil {
		c.Close()
		return nil, at, fmt.Errorf("subscribe: %w", err)
	}
	return c, at, nil
}
