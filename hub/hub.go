package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/internal/backoff"
	"pushpod/presence"
	"pushpod/redisconn"
)

// Presence records connections in Redis. Its methods never block. done is
// called once, from a goroutine of the store, and never during the call; where
// an error is returned, it is not called.
type Presence interface {
	Register(e presence.Entry, done func(presence.Registered)) error
	Renew(e presence.Entry)
	Unregister(e presence.Entry, done func(error)) error
	Heal(user string, held func(presence.UUID) bool)
	Err() error
}

// Pods is this pod among the others.
type Pods interface {
	Claim(ctx context.Context) error
	Beat(ctx context.Context) error
	Run(ctx context.Context) error
	Leave(ctx context.Context) error
	NowMs() int64
	NewUUID() presence.UUID
	Err() error
}

var (
	_ Presence      = (*presence.Store)(nil)
	_ Pods          = (*presence.Pods)(nil)
	_ conn.Admitter = (*Hub)(nil)
	_ conn.Owner    = (*session)(nil)
)

// Options configures a [Hub]. All but Limits are required.
type Options struct {
	Pod      string // the pod's address
	Keys     presence.Keys
	Presence Presence
	Pods     Pods
	Redis    Redis
	// Uplink adds to the stream: a client that does not retry.
	Uplink          redis.UniversalClient
	UplinkMaxLength int64
	MaxMessage      int // of a client, for the welcome
	Limits          Limits
	Log             zerolog.Logger
}

// Hub is the inside of a pod. Make it with New, give it the server whose
// Admitter it is with Attach, then Run it.
type Hub struct {
	opts     Options
	instance string // who probes: unlike any other process
	presence Presence
	pods     Pods
	registry *registry
	gate     *gate
	answers  answers
	uplink   *uplink
	router   *router
	status   status
	log      zerolog.Logger

	badLog, unknownLog, registerLog, refusedLog, conflictLog zerolog.Logger // at most a few lines a second

	server    *conn.Server
	deliverer *conn.Deliverer

	spare atomic.Bool // the subscriber may keep a processor while it waits

	rewrites chan struct{} // capacity 1: all entries are to be written again

	gaps, rejected, heals atomic.Uint64
	probeFailures         atomic.Uint64
}

// New makes a hub.
func New(o Options) *Hub {
	h := &Hub{
		opts:     o,
		instance: uuid.NewString(),
		presence: o.Presence,
		pods:     o.Pods,
		registry: newRegistry(),
		gate:     newGate(o.Limits),
		log:      o.Log,
		rewrites: make(chan struct{}, 1),
	}
	few := func() zerolog.Logger {
		return o.Log.Sample(&zerolog.BurstSampler{Burst: 3, Period: time.Second})
	}
	h.badLog, h.unknownLog, h.registerLog, h.refusedLog, h.conflictLog = few(), few(), few(), few(), few()
	h.status.conflictFor = 2*o.Redis.Probe + o.Redis.Timeout
	h.uplink = newUplink(&o)
	h.router = &router{h: h, own: []byte(o.Keys.PodChannel(o.Pod)), tail: []byte(frameTail)}
	return h
}

// Attach gives the hub the server whose Admitter it is, before Run.
func (h *Hub) Attach(s *conn.Server) {
	h.server = s
	h.deliverer = s.NewDeliverer()
}

// Run claims the pod's address, subscribes, and delivers until ctx ends. It
// tries again whatever Redis answers; it returns early only with
// presence.ErrAddressTaken. It waits for all that it has started.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer func() {
		cancel()
		running.Wait()
	}()
	// Requests that wait when ctx ends still get their answer.
	running.Go(func() { h.uplink.run(ctx) })

	if err := h.pods.Claim(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	h.status.update(func(s *status) { s.claimed = true })
	running.Go(func() { _ = h.pods.Run(ctx) }) // ends with ctx only
	running.Go(func() { h.rewriter(ctx) })
	h.subscriptions(ctx)
	return nil
}

// subscriptions keeps the pod subscribed until ctx ends.
func (h *Hub) subscriptions(ctx context.Context) {
	failures := 0
	for n := 0; ctx.Err() == nil; {
		established, proved, err := h.subscription(ctx, n > 0)
		if ctx.Err() != nil {
			return
		}
		if established {
			n++
			if proved {
				failures = 0
			}
			h.gaps.Add(1)
			h.log.Error().Err(err).Str("channel", string(h.router.own)).Msg("subscription lost: what was published meanwhile is lost too")
		} else {
			h.log.Warn().Err(err).Msg("can't subscribe")
		}
		failures++
		backoff.Sleep(ctx, backoff.After(1+failures, 50*time.Millisecond, 2*time.Second)) // spread: pods must not come all at once
	}
}

// subscription subscribes once, and reads until it ends. proved says whether a probe
// has come back.
func (h *Hub) subscription(ctx context.Context, again bool) (established, proved bool, _ error) {
	dialing, cancel := context.WithTimeout(ctx, h.opts.Redis.Timeout)
	socket, err := redisconn.Dial(dialing, h.opts.Redis.Client)
	cancel()
	if err != nil {
		return false, false, err
	}
	err = command(socket, h.opts.Redis.Timeout, "SUBSCRIBE", string(h.router.own), h.opts.Keys.AllChannel())
	if err != nil {
		socket.Close()
		return false, false, fmt.Errorf("subscribe: %w", err)
	}
	src := newSource(socket, &h.spare)
	defer src.close()
	defer context.AfterFunc(ctx, src.end)()

	s := &subscriber{src: src, router: h.router, reply: newReader(h.opts.Redis.MaxEnvelope)}
	confirmed := make(chan struct{})
	s.subscribed = func() { close(confirmed) }

	// The prober proves the subscription and ends it where it fails.
	watching, stop := context.WithCancel(ctx)
	var prober sync.WaitGroup
	var failed error
	prober.Go(func() {
		if failed = h.watch(watching, confirmed, again); failed != nil {
			src.end()
		}
	})
	err = s.run()
	stop()
	prober.Wait()
	h.status.update(func(s *status) {
		proved = s.proved
		s.subscribed, s.proved = false, false
	})
	if failed != nil {
		err = failed
	}
	return s.confirmed == 2, proved, err
}

var (
	errNotConfirmed = errors.New("hub: Redis does not confirm the subscription")
	errNoEcho       = errors.New("hub: the pod's own probe does not come back")
)

// watch waits for the subscription, has presence rewritten after a gap, and
// then proves the subscription every so often. An error: it is dead.
func (h *Hub) watch(ctx context.Context, confirmed <-chan struct{}, again bool) error {
	timeout := h.opts.Redis.Timeout
	select {
	case <-confirmed:
	case <-ctx.Done():
		return nil
	case <-time.After(timeout):
		return errNotConfirmed
	}
	h.status.update(func(s *status) { s.subscribed, s.proved = true, false })
	for first := true; ; first = false {
		asked := time.Now()
		h.probe(ctx, asked.Add(timeout))
		if !h.echoed(ctx, asked, timeout) {
			if ctx.Err() != nil {
				return nil
			}
			h.probeFailures.Add(1)
			return errNoEcho
		}
		if first && again {
			h.Rewrite()
		}
		backoff.Sleep(ctx, h.opts.Redis.Probe)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// probe publishes the pod's name on its own channel (contract: `probe`). It
// tries until the time given: a client's connection that was cut does not mean
// that the subscription is.
func (h *Hub) probe(ctx context.Context, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		err := h.opts.Uplink.Publish(ctx, string(h.router.own), `{"probe":"`+h.instance+`"}`).Err()
		if err == nil || ctx.Err() != nil {
			return
		}
		h.log.Warn().Err(err).Msg("can't publish a probe")
		backoff.Sleep(ctx, h.opts.Redis.Timeout/8)
	}
}

// probed is called for each probe that comes on the pod's channel.
func (h *Hub) probed(instance string) {
	if instance == h.instance {
		h.status.update(func(s *status) {
			s.echo = time.Now()
			s.proved = s.subscribed
		})
		return
	}
	h.status.update(func(s *status) { s.conflict = time.Now() })
	h.conflictLog.Error().Str("pod", h.opts.Pod).Str("reason", "a foreign instance's probe").Msg("CONFLICT: another instance uses this pod's address; pod.address must be unique")
}

// echoed waits until a probe that was sent at asked has come back.
func (h *Hub) echoed(ctx context.Context, asked time.Time, timeout time.Duration) bool {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		var back bool
		h.status.update(func(s *status) { back = s.proved && !s.echo.Before(asked) })
		if back {
			return true
		}
		if time.Since(asked) > timeout {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// Rewrite has all presence entries written again, soon and paced: Redis may
// have lost them, or others may have removed them. It may be called from
// anywhere, and never blocks.
func (h *Hub) Rewrite() {
	select {
	case h.rewrites <- struct{}{}:
	default: // it is asked for already
	}
}

// rewriter rewrites whenever it is asked to, until ctx ends.
func (h *Hub) rewriter(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.rewrites:
		}
		for !h.rewrite(ctx) && ctx.Err() == nil {
			backoff.Sleep(ctx, h.opts.Redis.Probe)
		}
	}
}

// rewrite renews all entries, paced, the pod's score first.
func (h *Hub) rewrite(ctx context.Context) bool {
	const atOnce, between = 500, 10 * time.Millisecond
	beat, cancel := context.WithTimeout(ctx, h.opts.Redis.Timeout)
	err := h.pods.Beat(beat)
	cancel()
	if err != nil {
		return false // the heartbeat says so in the log
	}
	sessions := h.registry.all()
	for i, s := range sessions {
		h.presence.Renew(s.entry())
		if i%atOnce == atOnce-1 {
			backoff.Sleep(ctx, between)
		}
	}
	h.log.Info().Int("connections", len(sessions)).Msg("presence is written again")
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

// Trim gives up memory that was not needed since the last call. It may be called
// from anywhere.
func (h *Hub) Trim() { h.deliverer.Trim() }

// KeepProcessor says whether the goroutine that reads what is published may keep a
// processor (Go's P) while it waits, for some milliseconds: each message then
// costs less, but there must be another processor for all else. It may be called from
// anywhere; at first it may not.
func (h *Hub) KeepProcessor(may bool) { h.spare.Store(may) }

// Received is how many messages have been read from Redis.
func (h *Hub) Received() uint64 { return h.router.ok.Load() + h.router.bad.Load() }

// Len is how many connections the hub holds.
func (h *Hub) Len() int { return h.registry.len() }

// CountUser is how many connections of a user the hub holds.
func (h *Hub) CountUser(user string) int { return h.registry.count(user) }

// Draining reports whether Leave has been called.
func (h *Hub) Draining() (draining bool) {
	h.status.update(func(s *status) { draining = s.draining })
	return draining
}

// StartDraining makes the pod not ready; it still takes connections.
func (h *Hub) StartDraining() { h.status.update(func(s *status) { s.draining = true }) }

// Refuse ends the taking of connections.
func (h *Hub) Refuse() { h.status.update(func(s *status) { s.leaving = true }) }

// Problems lists why the pod is not ready; none: it is.
func (h *Hub) Problems() []Problem {
	list := h.status.problems()
	if err := h.presence.Err(); err != nil {
		list = append(list, Problem{"presence", err.Error()})
	}
	if err := h.pods.Err(); err != nil {
		list = append(list, Problem{"heartbeat", err.Error()})
	}
	return list
}

// ConsistencyCheck compares what the hub knows with itself, for tests.
func (h *Hub) ConsistencyCheck() error { return h.registry.ConsistencyCheck() }
