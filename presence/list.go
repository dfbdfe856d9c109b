package presence

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// A Pod is one member of push:pods, or one that is left in push:pods:info alone.
type Pod struct {
	Channel string
	Address string        // as in the channel; empty where that is not a pod's
	Beat    int64         // its score: last heartbeat, Unix ms by Redis's TIME; 0: it has none
	Age     time.Duration // since then, by Redis's TIME
	Info    Info          // zero where it has none
}

// State says how a pod is, as far as one look tells: alive, draining, conflict or dead.
// lease is presence.lease.
func (p Pod) State(lease time.Duration) string {
	switch {
	case p.Beat == 0 || p.Age >= lease:
		return "dead"
	case p.Info.Conflict:
		return "conflict"
	case p.Info.Draining:
		return "draining"
	}
	return "alive"
}

// ListPods reads all pods from Redis (TIME, ZRANGE, HGETALL), sorted by
// channel. It judges none of them: that takes having watched them for a lease,
// as a Pods does.
func ListPods(ctx context.Context, r *redisconn.Redis, k Keys) ([]Pod, error) {
	scores := redis.NewZSliceCmd(ctx, "zrange", k.Pods(), 0, -1, "withscores")
	infos := redis.NewMapStringStringCmd(ctx, "hgetall", k.PodsInfo())
	clock := redis.NewTimeCmd(ctx, "time")
	pipe := r.Pipeline(true)
	pipe.Add(k.Pods(), scores, clock)
	pipe.Add(k.PodsInfo(), infos)
	pipe.Exec(ctx)
	if err := cmp.Or(scores.Err(), infos.Err(), clock.Err()); err != nil {
		return nil, fmt.Errorf("presence: list pods: %w", err)
	}
	now, beats := clock.Val().UnixMilli(), byChannel(scores.Val())
	pods := make([]Pod, 0, len(beats))
	add := func(channel string, beat int64) {
		pod := Pod{Channel: channel, Beat: beat}
		pod.Address, _ = k.PodAddress(channel)
		if beat != 0 {
			pod.Age = time.Duration(now-beat) * time.Millisecond
		}
		if info := parseInfo(infos.Val()[channel]); info != nil {
			pod.Info = *info
		}
		pods = append(pods, pod)
	}
	for channel, score := range beats {
		add(channel, int64(score))
	}
	for channel := range infos.Val() {
		if _, there := beats[channel]; !there {
			add(channel, 0)
		}
	}
	slices.SortFunc(pods, func(a, b Pod) int { return strings.Compare(a.Channel, b.Channel) })
	return pods, nil
}

func byChannel(scores []redis.Z) map[string]float64 {
	m := make(map[string]float64, len(scores))
	for _, z := range scores {
		if channel, ok := z.Member.(string); ok {
			m[channel] = z.Score
		}
	}
	return m
}
