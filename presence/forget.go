package presence

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// forgetAtOnce bounds how many pods one heartbeat removes: there is no hurry.
const forgetAtOnce = 8

// forget removes pods that have been dead for ten leases and a TTL. All pods do so.
// One that lives after all is back with its next heartbeat.
func (p *Pods) forget(ctx context.Context) {
	now := p.opt.Now()
	p.mu.Lock()
	gone := p.seen.forgettable(now, 10*p.opt.Lease+p.opt.TTL, forgetAtOnce)
	delete(gone, p.channel)
	p.mu.Unlock()
	for channel, score := range gone {
		if err := p.forgetOne(ctx, channel, score); err != nil {
			p.opt.Log.Debug().Err(err).Str("other_pod", p.addressOf(channel)).Msg("can't remove a dead pod from push:pods")
			return
		}
	}
}

var errMoved = errors.New("presence: score has changed")

// forgetOne removes a pod's score, unless it has changed, and its description.
// A nil score is an absent one.
func (p *Pods) forgetOne(ctx context.Context, channel string, score *float64) error {
	key := p.opt.Keys.Pods()
	err := p.opt.Redis.Watch(ctx, key, func(tx *redis.Tx) error {
		now, err := tx.ZScore(ctx, key, channel).Result()
		switch {
		case errors.Is(err, redis.Nil):
			if score == nil {
				return nil
			}
			return errMoved
		case err != nil:
			return err
		case score == nil || *score != now:
			return errMoved
		}
		return transaction(ctx, tx, []any{"zrem", key, channel})
	})
	switch {
	case errors.Is(err, errMoved), errors.Is(err, redis.TxFailedErr):
		return nil // another time
	case err != nil:
		return err
	}
	info := p.opt.Keys.PodsInfo()
	if err := p.opt.Redis.Process(ctx, info, redis.NewIntCmd(ctx, "hdel", info, channel)); err != nil {
		return err
	}
	p.mu.Lock()
	p.stats.Removed++
	p.mu.Unlock()
	p.opt.Log.Info().Str("other_pod", p.addressOf(channel)).Msg("dead pod removed from push:pods")
	return nil
}

// addressOf is the address of a pod, for the log.
func (p *Pods) addressOf(channel string) string {
	if address, ok := p.opt.Keys.PodAddress(channel); ok {
		return address
	}
	return channel // somebody else has written it
}
