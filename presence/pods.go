package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/internal/backoff"
	"pushpod/redisconn"
)

// PodsOptions says who this pod is and how the pods watch each other.
type PodsOptions struct {
	Redis *redisconn.Redis
	Keys  Keys
	Pod   string // own address, host:port

	Heartbeat time.Duration // between two heartbeats; 0: 3 s
	Lease     time.Duration // a score unchanged for so long is a dead pod's; 0: 10 s
	TTL       time.Duration // of presence entries; 0: 90 s
	Timeout   time.Duration // of one heartbeat, and of each other call; 0: 3 s

	Version string
	Info    func() Info // asked at each heartbeat for Connections, Draining and Conflict, from its goroutine; nil: zeros

	// Regained is called when a heartbeat succeeds and the one before was a lease
	// ago, or longer: the other pods may have taken this one for dead and removed
	// its entries, which should be renewed, paced. It is called from the goroutine
	// of the heartbeat and must not block. May be nil.
	Regained func(away time.Duration)

	Log zerolog.Logger
	Now func() time.Time // the monotonic clock; nil: time.Now
}

// Info is what a pod tells of itself: its JSON in push:pods:info.
type Info struct {
	Started     int64  `json:"started"` // Unix ms by Redis's TIME; set by Pods
	Version     string `json:"version"` // set by Pods
	Connections int    `json:"connections"`
	Draining    bool   `json:"draining"`
	Conflict    bool   `json:"conflict,omitempty"` // it sees another instance under its address
}

// Pods keeps this pod's heartbeat in push:pods, watches those of the others,
// and judges which of them are dead. It also keeps track of Redis's clock.
//
// Claim comes first, once; then Run, in a goroutine of its owner's, keeps the
// heartbeat; Leave comes last. All other methods may be called from any
// goroutine at any time.
type Pods struct {
	// Static after construction.
	opt     PodsOptions
	channel string
	maxGap  time.Duration
	kick    chan struct{} // asks Run for a heartbeat now
	uuids   uuidSource

	beating sync.Mutex // held during a heartbeat, so that none passes Leave
	unread  int        // heartbeats without a survey; guarded by beating

	mu      sync.Mutex // protects what follows
	clock   redisClock
	seen    observations
	fleet   fleet
	started int64   // Redis's Unix ms; 0: not claimed
	score   float64 // last one written
	left    bool
	err     error
	stats   PodsStats
}

// PodsStats counts what a Pods has done.
type PodsStats struct {
	Beats    uint64        // heartbeats that succeeded
	Failures uint64        // heartbeats that failed
	Removed  uint64        // pods that had been dead for long, removed from push:pods by this one
	Alive    int           // pods in push:pods that are not dead, this one included
	Dead     int           // pods in push:pods that are dead
	RTT      time.Duration // of the last TIME
}

// NewPods returns a Pods that has not spoken to Redis yet.
func NewPods(o PodsOptions) *Pods {
	o.Heartbeat = orDefault(o.Heartbeat, 3*time.Second)
	o.Lease = orDefault(o.Lease, 10*time.Second)
	o.TTL = orDefault(o.TTL, defaultTTL)
	o.Timeout = orDefault(o.Timeout, defaultTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	maxGap := 2 * o.Heartbeat
	return &Pods{
		opt:     o,
		channel: o.Keys.PodChannel(o.Pod),
		maxGap:  maxGap,
		kick:    make(chan struct{}, 1),
		seen:    newObservations(o.Lease, maxGap),
		err:     ErrNotClaimed,
	}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Run keeps the heartbeat until ctx ends, and returns nil then. It logs only
// when Redis goes away or comes back. Claim has succeeded before.
func (p *Pods) Run(ctx context.Context) error {
	timer := time.NewTimer(p.opt.Heartbeat)
	defer timer.Stop()
	var away redisconn.Outage
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.kick:
		case <-timer.C:
		}
		err := p.Beat(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrLeft):
			<-ctx.Done()
			return nil
		case err == nil:
			if d, n := away.Over(); n > 0 {
				p.opt.Log.Info().Dur("away_ms", d).Int("failures", n).Msg("heartbeat succeeds again")
			}
			timer.Reset(p.opt.Heartbeat)
		default:
			if away.Failed(err) {
				p.opt.Log.Warn().Err(err).Msg("heartbeat fails; trying again")
			}
			timer.Reset(min(p.opt.Heartbeat, firstBackoff+backoff.After(away.Failures+1, firstBackoff, lastBackoff)))
		}
	}
}

// Beat makes one heartbeat now: it measures Redis's clock (TIME), writes the
// own score and description (ZADD, HSET), and reads the pods that are suspected to be
// dead, or all. Where Redis has been emptied, that brings both back.
//
// It returns ErrNotClaimed before Claim and ErrLeft after Leave.
func (p *Pods) Beat(ctx context.Context) error {
	p.beating.Lock()
	defer p.beating.Unlock()
	if err := p.mayBeat(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.opt.Timeout)
	defer cancel()
	away, err := p.beat(ctx)
	if err != nil {
		p.mu.Lock()
		p.seen.fail()
		p.err = fmt.Errorf("presence: heartbeat: %w", err)
		p.stats.Failures++
		err = p.err
		p.mu.Unlock()
		return err
	}
	if away >= p.opt.Lease && p.opt.Regained != nil {
		p.opt.Regained(away)
	}
	if p.unread == 0 {
		p.forget(ctx)
	}
	return nil
}

func (p *Pods) mayBeat() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.left:
		return ErrLeft
	case p.started == 0:
		return ErrNotClaimed
	}
	return nil
}

// beat does the round trips of a heartbeat: the score is Redis's own time.
func (p *Pods) beat(ctx context.Context) (away time.Duration, err error) {
	m := p.opt.Redis.Map()
	micros, err := p.readTime(ctx, m.Of(p.opt.Keys.Pods()).Retrying())
	if err != nil {
		p.opt.Redis.Refresh()
		return 0, err
	}
	score := float64(micros / 1000)
	h := p.podsPipeline()
	h.onPods(redis.NewIntCmd(ctx, "zadd", p.opt.Keys.Pods(), score, p.channel))
	h.onInfo(redis.NewIntCmd(ctx, "hset", p.opt.Keys.PodsInfo(), p.channel, p.describe()))
	look := p.survey(ctx, h)
	if err := h.exec(ctx); err != nil {
		return 0, err // the first command's that failed: a heartbeat is all of them
	}
	now := p.opt.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.patient = m.Kind == redisconn.Cluster
	p.score = score
	look(now)
	p.err = nil
	p.stats.Beats++
	away = p.seen.beat(now)
	alive, _ := p.alive(now)
	p.fleet.saw(alive, now, p.opt.TTL)
	return away, nil
}

// readTime asks Redis for its time (TIME), in Unix microseconds, and sets the
// clock by it.
func (p *Pods) readTime(ctx context.Context, c interface {
	Time(context.Context) *redis.TimeCmd
}) (micros int64, err error) {
	asked := p.opt.Now()
	t, err := c.Time(ctx).Result()
	if err != nil {
		return 0, err
	}
	answered := p.opt.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock.measure(t.UnixMicro(), asked, answered)
	return t.UnixMicro(), nil
}

// describe returns the pod's own JSON.
func (p *Pods) describe() string {
	var info Info
	if p.opt.Info != nil {
		info = p.opt.Info()
	}
	info.Started, info.Version = p.Started(), p.opt.Version
	text, _ := json.Marshal(info) // no member can fail
	return string(text)
}

// Dead reports whether the pod with this channel is dead by what was last read:
// its score is absent, or has not changed for a lease. Nobody is dead while the
// own heartbeats fail, and the own pod never is.
func (p *Pods) Dead(channel string) bool {
	now := p.opt.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	return channel != p.channel && p.seen.dead(channel, now)
}

// Suspected reports whether a pod may turn out to be dead within a lease and a
// heartbeat; until then it counts as alive.
func (p *Pods) Suspected(channel string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return channel != p.channel && p.seen.suspected(channel, &p.clock)
}

// Stale reports whether an entry is stale: its pod is dead, or its UUID is
// older than the start of its pod, and so one of a predecessor's.
func (p *Pods) Stale(l Located) bool {
	now := p.opt.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.Channel == p.channel {
		return UUIDTime(l.UUID) < p.started
	}
	return p.seen.dead(l.Channel, now) || p.seen.trusted(now) && p.seen.outdated(l.Channel, l.UUID)
}

// Channel returns the pod's own channel.
func (p *Pods) Channel() string { return p.channel }

// Started returns when this pod claimed its address, in Unix milliseconds by
// Redis's clock, or 0 before it has.
func (p *Pods) Started() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

// NowMs returns the Unix milliseconds of Redis's clock as measured at the last
// heartbeat and carried on by the monotonic clock; never below Started. Before
// the first measurement it is the local clock's.
func (p *Pods) NowMs() int64 {
	now := p.opt.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.clock.now(now)/1000, p.started)
}

// NewUUID returns a UUID for a connection: of version 7, made at NowMs.
func (p *Pods) NewUUID() UUID { return p.uuids.make(p.NowMs()) }

// Err returns why the last heartbeat failed, nil once one has succeeded.
// Before Claim has succeeded it is ErrNotClaimed or what keeps it from that: while Claim
// waits for another's score to stand still, the text says for how long still.
func (p *Pods) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Stats returns what has been counted so far.
func (p *Pods) Stats() PodsStats {
	now := p.opt.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.RTT = p.clock.rtt
	stats.Alive, stats.Dead = p.alive(now)
	return stats
}

// Leave takes the pod out of push:pods (ZREM, HDEL). No heartbeat follows it,
// whatever it returns; it may be called again where it failed.
func (p *Pods) Leave(ctx context.Context) error {
	p.mu.Lock()
	p.left = true
	p.mu.Unlock()
	p.beating.Lock() // a heartbeat under way ends first
	defer p.beating.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.opt.Timeout)
	defer cancel()
	h := p.podsPipeline()
	h.onPods(redis.NewIntCmd(ctx, "zrem", p.opt.Keys.Pods(), p.channel))
	h.onInfo(redis.NewIntCmd(ctx, "hdel", p.opt.Keys.PodsInfo(), p.channel))
	if err := h.exec(ctx); err != nil {
		return fmt.Errorf("presence: leave: %w", err)
	}
	return nil
}

// ownScore returns the score that is to be in push:pods before any entry of
// this pod is written, and whether it may be written.
func (p *Pods) ownScore() (text string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started == 0 || p.left {
		return "", false
	}
	return strconv.FormatFloat(p.score, 'f', -1, 64), true
}

// missing asks for a heartbeat at once. It is called where the own score was found
// to be absent: Redis has been emptied, and lacks the description too.
func (p *Pods) missing() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}
