package hub

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"pushpod/auth"
	"pushpod/conn"
	"pushpod/hub/source"
	"pushpod/presence"
	"pushpod/redisconn"
)

// Presence records connections in Redis. Its methods never block. done is
// called once, from a goroutine of the store, and never during the call; where
// an error is returned, it is not called.
type Presence interface {
	Register(e presence.Entry, done func(presence.Registered)) error
	Check(e presence.Entry, joins bool, done func(error)) error
	Renew(e presence.Entry)
	Unregister(e presence.Entry, done func(error)) error
	Heal(user string, held func(presence.UUID) bool)
	Err() error
	Failing() error
}

// Pods is this pod among the others.
type Pods interface {
	Claim(ctx context.Context) error
	Beat(ctx context.Context) error
	Run(ctx context.Context) error
	NowMs() int64
	NewUUID() presence.UUID
	Fleet() int
	Err() error
}

var (
	_ Presence      = (*presence.Store)(nil)
	_ Pods          = (*presence.Pods)(nil)
	_ conn.Admitter = (*Hub)(nil)
	_ conn.Owner    = (*session)(nil)
)

// Options configures a [Hub]. All but SpareProcessor and Settings
// and what says who may connect are required.
type Options struct {
	Pod      string // the pod's address
	Keys     presence.Keys
	Presence Presence
	Pods     Pods
	Redis    Redis
	// Uplink is where the stream is added to, and where the hub publishes.
	Uplink *redisconn.Redis
	Renew  time.Duration // a rewrite of presence ends within half of it; 0: 30 s
	// Sharded: the pod is also subscribed to its own channel by SSUBSCRIBE.
	Sharded bool
	// Control: connections are closed only by what is published on push:ctl:….
	Control bool
	Header  string // auth.mode header: the field that says who; "": none
	// Certificate names the user by the client's certificate, nil where there is none, in
	// auth.mode header without a Header; nil: it does not.
	Certificate func(*x509.Certificate) (user string, err error)
	Hook        *auth.Hook // is asked who may connect, after all else; nil: none. The hub does not run it
	// SpareProcessor allows one processor more (GOMAXPROCS) while messages come in
	// quick succession; see package source.
	SpareProcessor bool
	Log            zerolog.Logger

	Settings // what the hub starts with
}

// Redis says what the hub needs to reach Redis.
type Redis struct {
	Nodes       *redisconn.Redis // of the subscription; the hub does not run it
	MaxEnvelope int              // bound on a published message, in bytes
	Timeout     time.Duration    // bound on each command
	Probe       time.Duration    // how often the subscription is proved
	Rights      time.Duration    // how often Redis is asked for missing rights; 0: never
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
	settings atomic.Pointer[Settings]

	lines lines  // of the log, that are limited
	told  teller // of what is logged with a loop locked

	server     *conn.Server
	delivering sync.Mutex // held by whichever subscriber uses the router and the deliverer
	deliverer  *conn.Deliverer

	spare atomic.Bool // a processor is spare for the subscriber

	subscribedAt atomic.Pointer[redisconn.Node] // the node of the subscription, or of the last one

	lead     lead
	rewrites rewrites
	rights   rights
	eviction eviction
	outdated outdated
	unnamed  unnamed
	coverage coverage
	unheard  unheard

	badEnvelopes badEnvelopes

	unverified chan unverified // tokens that take long to verify
	refreshing refreshing
	verdicts   verdicts

	nameless *presence.Credential // of tokens that say neither jti nor iat

	revoked [presence.GroundCount]atomic.Uint64 // connections closed, by ground

	gaps, rejected, heals atomic.Uint64
	probeFailures         atomic.Uint64
}

// New makes a hub.
func New(o Options) *Hub {
	h := &Hub{
		opts:     o,
		instance: rand.Text(),
		presence: o.Presence,
		pods:     o.Pods,
		registry: newRegistry(),
		gate:     newGate(o.Limits),
		log:      o.Log,
		rewrites: rewrites{wanted: make(chan struct{}, 1)},
		rights:   rights{wanted: make(chan struct{}, 1)},
		told:     newTeller(),
		unheard:  unheard{wanted: make(chan struct{}, 1)},
		unnamed:  unnamed{seen: make(chan struct{}, 1)},

		unverified: make(chan unverified, maxUnverified),
		nameless:   new(presence.Credential),
	}
	h.lines.init(o.Log)
	h.status.sharded = o.Sharded
	h.status.conflictFor = 2*o.Redis.Probe + o.Redis.Timeout
	h.uplink = newUplink(&o, h.lines.uplinkFailed)
	h.Set(o.Settings)
	h.router = &router{h: h, tail: []byte(frameTail)}
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
	running.Go(func() { h.lines.Run(ctx) })
	running.Go(func() { h.tellWhatWaits(ctx) })
	running.Go(func() { h.tellReady(ctx) })
	running.Go(func() { h.verifyTokens(ctx) })
	running.Go(func() { h.keepRights(ctx) })
	running.Go(func() { h.tellAgain(ctx) })

	if err := h.pods.Claim(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	h.status.update(func(s *status) { s.claimed = true })
	running.Go(func() { _ = h.pods.Run(ctx) }) // ends with ctx only
	running.Go(func() { h.rewriter(ctx) })
	if h.opts.SpareProcessor {
		running.Go(func() { source.SpareProcessor(ctx, h.router.received, &h.spare) })
	}
	if h.opts.Sharded {
		running.Go(func() { h.keepShard(ctx) })
	}
	h.keepSubscribed(ctx)
	return nil
}

// Trim gives up memory that was not needed since the last call. It may be called
// from anywhere.
func (h *Hub) Trim() { h.deliverer.Trim() }

// Len is how many connections the hub holds.
func (h *Hub) Len() int { return h.registry.len() }

// CountUser is how many connections of a user the hub holds.
func (h *Hub) CountUser(user string) int { return h.registry.count(user) }

// StartDraining makes the pod not ready; it still takes connections.
func (h *Hub) StartDraining() { h.status.update(func(s *status) { s.draining = true }) }

// Draining reports whether StartDraining has been called.
func (h *Hub) Draining() (draining bool) {
	h.status.update(func(s *status) { draining = s.draining })
	return draining
}

// Conflicting reports whether another instance uses this pod's address.
func (h *Hub) Conflicting() bool { return h.status.inConflict() }

// Refuse ends the taking of connections.
func (h *Hub) Refuse() { h.status.update(func(s *status) { s.leaving = true }) }

// ConsistencyCheck compares what the hub knows with itself, for tests.
func (h *Hub) ConsistencyCheck() error { return h.registry.ConsistencyCheck() }
