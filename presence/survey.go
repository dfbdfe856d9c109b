package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// surveyShare is how many heartbeats there are to a survey for each pod: were all pods
// read at every heartbeat by all, the cost would grow with their square.
const surveyShare = 4

// survey adds the reading of other pods to a heartbeat: of all pods (ZRANGE, HGETALL)
// where it is time, else of those that are suspected. The result takes the replies in,
// and is called with p.mu held. The caller holds p.beating.
func (p *Pods) survey(ctx context.Context, pipe redis.Pipeliner) func(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unread++; p.unread < len(p.seen.pods)/surveyShare {
		return p.read(ctx, pipe, p.seen.suspects(&p.clock))
	}
	p.unread = 0
	scores := pipe.ZRangeWithScores(ctx, p.opt.Keys.Pods(), 0, -1)
	infos := pipe.HGetAll(ctx, p.opt.Keys.PodsInfo())
	return func(now time.Time) {
		read := make(map[string]reading, len(scores.Val()))
		for channel, info := range infos.Val() {
			read[channel] = reading{info: parseInfo(info)}
		}
		for channel, score := range byChannel(scores.Val()) {
			read[channel] = reading{score: &score, info: read[channel].info}
		}
		p.seen.all(read, now)
	}
}

// read adds the reading of some pods to a pipeline (ZSCORE and HGET of each).
func (p *Pods) read(ctx context.Context, pipe redis.Pipeliner, channels []string) func(now time.Time) {
	scores := make([]*redis.FloatCmd, len(channels))
	infos := make([]*redis.StringCmd, len(channels))
	for i, channel := range channels {
		scores[i] = pipe.ZScore(ctx, p.opt.Keys.Pods(), channel)
		infos[i] = pipe.HGet(ctx, p.opt.Keys.PodsInfo(), channel)
	}
	return func(now time.Time) {
		read := make(map[string]reading, len(channels))
		for i, channel := range channels {
			var r reading
			if score, err := scores[i].Result(); err == nil {
				r.score = &score
			}
			if info, err := infos[i].Result(); err == nil {
				r.info = parseInfo(info)
			}
			read[channel] = r
		}
		p.seen.some(read, now)
	}
}

// Look reads the pods with these channels now, but for those that have been read within
// a heartbeat and live. Who has read users' hashes calls it before judging what stands in
// them: a pod may have come in between.
func (p *Pods) Look(ctx context.Context, channels []string) error {
	now := p.opt.Now()
	var unread []string
	p.mu.Lock()
	for _, channel := range channels {
		if channel != p.channel && !(p.seen.fresh(channel, now, p.opt.Heartbeat) && !p.seen.dead(channel, now)) {
			unread = append(unread, channel)
		}
	}
	p.mu.Unlock()
	if len(unread) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.opt.Timeout)
	defer cancel()
	pipe := p.opt.Client.Pipeline()
	take := p.read(ctx, pipe, unread)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("presence: read scores of pods: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	take(p.opt.Now())
	return nil
}

// channelsIn returns the channels in users' hashes, each once.
func channelsIn(exams []*exam) []string {
	all := map[string]struct{}{}
	for _, e := range exams {
		for _, channel := range e.reply.Val() {
			all[channel] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(all))
}

// parseInfo returns nil for what is not a pod's JSON: it tells nothing.
func parseInfo(text string) *Info {
	info := new(Info)
	if json.Unmarshal([]byte(text), info) != nil {
		return nil
	}
	return info
}
