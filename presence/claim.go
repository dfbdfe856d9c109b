package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/backoff"
	"pushpod/redisconn"
)

const (
	claimLooks = 10 // how often Claim looks at a score within a lease
	claimKept  = 64 // how many scores of its own Claim remembers
)

// claim watches the score that stands under one's own address.
type claim struct {
	lease  time.Duration
	maxGap time.Duration // between two looks
	seen   bool
	score  float64
	since  time.Time // when the score was first seen
	last   time.Time // of the last look
	mine   []float64 // what this process itself has tried to write
}

// look records the score that was read, and reports whether it has stood still for
// a lease. A score that moved is another process's heartbeat. Where looks were
// missed, the observation starts anew: a Redis that stalled, or a process that
// did, must not take a living pod's address.
func (c *claim) look(score float64, now time.Time) (free bool, err error) {
	switch {
	case slices.Contains(c.mine, score):
		return true, nil // an answer was lost, but the write was done
	case c.seen && score != c.score:
		return false, ErrAddressTaken
	case !c.seen || now.Sub(c.last) > c.maxGap:
		c.seen, c.score, c.since = true, score, now
	}
	c.last = now
	return now.Sub(c.since) >= c.lease, nil
}

// write records that this process is about to write a score. Only the latest
// are kept: Redis may refuse for days.
func (c *claim) write(score float64) {
	if len(c.mine) == claimKept {
		c.mine = slices.Delete(c.mine, 0, 1)
	}
	c.mine = append(c.mine, score)
}

// unwrite records that a score was certainly not written: another process may
// write the same milliseconds.
func (c *claim) unwrite(score int64) {
	c.mine = slices.DeleteFunc(c.mine, func(s float64) bool { return s == float64(score) })
}

// broken records that a look failed: the observation starts anew.
func (c *claim) broken(now time.Time) { c.since = now }

// Claim makes this pod's address its own in push:pods. Where the address is
// there already, it waits until its score has not changed for a lease, and then
// takes over; it returns ErrAddressTaken, wrapped, only where it sees the score
// change. While Redis is away it tries again, with jitter, until ctx ends.
//
// When it returns nil, the pod's score and description are written, and Started
// is set. It is called once, before the pod's first entry is registered.
func (p *Pods) Claim(ctx context.Context) error {
	pause := p.opt.Lease / claimLooks
	watch := claim{lease: p.opt.Lease, maxGap: pause + p.maxGap}
	var away redisconn.Outage
	for failures, looks := 0, 0; ; {
		done, err := p.claimOnce(ctx, &watch)
		switch {
		case errors.Is(err, ErrAddressTaken):
			return fmt.Errorf("%w: another process keeps a heartbeat as %s", ErrAddressTaken, p.channel)
		case ctx.Err() != nil:
			return fmt.Errorf("presence: claim %s: %w", p.channel, ctx.Err())
		case done:
			p.opt.Log.Info().Time("started", time.UnixMilli(p.Started())).Msg("pod address claimed")
			return nil
		}
		wait := pause
		if err != nil {
			failures++
			p.claimFailed(err, away.Failed(err))
			wait = firstBackoff + backoff.After(failures+1, firstBackoff, lastBackoff)
		} else {
			failures = 0
			away.Over()
			looks++
			p.claimWaits(looks, watch.since)
		}
		backoff.Sleep(ctx, wait)
	}
}

func (p *Pods) claimFailed(err error, news bool) {
	p.mu.Lock()
	p.err = fmt.Errorf("presence: claim %s: %w", p.channel, err)
	p.stats.Failures++
	p.mu.Unlock()
	if news {
		p.opt.Log.Warn().Err(err).Msg("can't claim the pod address; trying again until Redis answers")
	}
}

// claimWaits is told that the address is there already, with a score that stands still
// since then.
func (p *Pods) claimWaits(looks int, since time.Time) {
	p.mu.Lock()
	p.err = &claimWait{pods: p, since: since}
	p.mu.Unlock()
	if looks == 1 {
		p.opt.Log.Info().Dur("lease_ms", p.opt.Lease).
			Msg("push:pods already holds this pod's address; taking it over once its score has not changed for a lease")
	}
}

// claimOnce looks once, and takes the address where it is free. The score is
// read and written under WATCH: of two processes that find it free at the same
// moment, one takes it, and the other sees it move.
func (p *Pods) claimOnce(ctx context.Context, watch *claim) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.opt.Timeout)
	defer cancel()
	key := p.opt.Keys.Pods()
	var started int64
	err = p.opt.Redis.Watch(ctx, key, func(tx *redis.Tx) error {
		free, err := p.isFree(ctx, tx, watch)
		if err != nil || !free {
			return err
		}
		micros, err := p.readTime(ctx, tx)
		if err != nil {
			return err
		}
		started = micros / 1000
		watch.write(float64(started))
		return transaction(ctx, tx, []any{"zadd", key, started, p.channel})
	})
	switch {
	case errors.Is(err, redis.TxFailedErr):
		watch.unwrite(started)
		return false, nil // some pod's heartbeat came between
	case errors.Is(err, ErrAddressTaken):
		return false, err
	case err != nil:
		if !redisconn.IsLinkError(err) {
			watch.unwrite(started)
		}
		watch.broken(p.opt.Now())
		return false, err
	case started == 0:
		return false, nil
	}
	p.mu.Lock()
	p.started, p.score = started, float64(started)
	p.mu.Unlock()
	return true, p.Beat(ctx)
}

// isFree reports whether the own address is absent, or has stood still.
func (p *Pods) isFree(ctx context.Context, tx *redis.Tx, watch *claim) (bool, error) {
	score, err := tx.ZScore(ctx, p.opt.Keys.Pods(), p.channel).Result()
	if errors.Is(err, redis.Nil) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return watch.look(score, p.opt.Now())
}

// claimWait is what Pods.Err returns while Claim waits: its text says for how long still.
type claimWait struct {
	pods  *Pods
	since time.Time // when the score was first seen
}

func (w *claimWait) Error() string {
	o := &w.pods.opt
	left := max(0, o.Lease-o.Now().Sub(w.since)).Round(100 * time.Millisecond)
	return fmt.Sprintf("push:pods holds this pod's address already: waiting until the score of %s has stood still for %s, since whoever wrote it may live; %s left",
		w.pods.channel, o.Lease, left)
}

func (w *claimWait) Unwrap() error { return ErrNotClaimed }
