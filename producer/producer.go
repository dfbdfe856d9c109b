package producer

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"

	"pushpod/presence"
	"pushpod/redisconn"
)

// A Producer speaks to the Redis of the pods. Its fields are set before its first use;
// its methods may be called from any goroutine, and last as long as their context and
// Redis's own time-outs let them.
type Producer struct {
	Redis       *redisconn.Redis // made, asked and closed by its owner
	Keys        presence.Keys
	Control     bool // redis.control: closes go over push:ctl:… only
	Sharded     bool // redis.pubsub is sharded
	MaxEnvelope int  // redis.max_envelope, in bytes
}

// NotPublished is the failure of what comes before a message is published: nothing was.
type NotPublished struct{ Err error }

func (e *NotPublished) Error() string { return e.Err.Error() }
func (e *NotPublished) Unwrap() error { return e.Err }

// IsBadInput tells refusals of what was given, of push.lua's and of this package's, from
// reports of what could not be done.
func IsBadInput(err error) bool {
	reason, ok := strings.CutPrefix(err.Error(), "pushpod: ")
	return ok && !strings.HasPrefix(reason, "cannot ")
}

// do sends a command on a key, repeatedly where it was lost on the way.
func (p *Producer) do(ctx context.Context, key string, cmd redis.Cmder) error {
	pipe := p.Redis.Pipeline(true)
	pipe.Add(key, cmd)
	pipe.Exec(ctx)
	return cmd.Err()
}

// address returns the address of the pod with this channel, or "" where the channel is
// not a pod's.
func (p *Producer) address(channel string) string {
	address, _ := p.Keys.PodAddress(channel)
	return address
}

// Pods reads all pods, as presence.ListPods does.
func (p *Producer) Pods(ctx context.Context) ([]presence.Pod, error) {
	return presence.ListPods(ctx, p.Redis, p.Keys)
}
