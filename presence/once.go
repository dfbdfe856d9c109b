package presence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// single is a registration against which nothing speaks, but whose credential lets in one
// connection only.
type single struct {
	it     *item
	excess []Located
}

// useUp makes the keys by which such credentials are used up, in a pipeline of its own, so
// that a connection that is refused for another reason uses nothing up. A key that
// this registration has made before the link failed is its own.
func (n *node) useUp(ctx context.Context) {
	singles := n.batch.singles
	if len(singles) == 0 {
		return
	}
	cmds := make([]redis.Cmder, 0, 2*len(singles))
	now := time.Now()
	for _, c := range singles {
		key, uuid := n.opt.Keys.Used(c.it.entry.Credential.ID), FormatUUID(c.it.entry.UUID)
		cmds = append(cmds, setOnce(key, uuid, c.it.entry.Credential.Once, now), stringCmd("get", key))
	}
	pipe := n.client.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // only queues
	_, _ = pipe.Exec(ctx)               // judged command by command
	if err := cmds[len(cmds)-1].Err(); isLinkError(err) {
		n.usesFailed(err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, c := range singles {
		n.judgeUse(c, cmds[2*i].Err(), cmds[2*i+1].(*redis.StringCmd))
	}
}

// setOnce makes a key where there is none, until the Unix second at which its credential
// lets in nobody any more.
func setOnce(key, value string, until int64, now time.Time) *redis.StatusCmd {
	if until == Always {
		return statusCmd("set", key, value, "nx")
	}
	return statusCmd("set", key, value, "nx", "ex", max(until-now.Unix(), 0)+1)
}

// usesFailed deals with a failure on the way to Redis, as linkFailed does: the
// registrations are made anew, or given up.
func (n *node) usesFailed(err error) {
	b := &n.batch
	b.items, b.exams = b.items[:0], nil
	for _, c := range b.singles {
		b.items = append(b.items, c.it)
	}
	n.linkFailed(err, true)
}

// judgeUse ends a registration. The caller holds n.mu.
func (n *node) judgeUse(c single, set error, get *redis.StringCmd) {
	value, err := get.Result()
	if isWrongType(err) || errors.Is(err, redis.Nil) { // it is not ours
		err = nil
	}
	if err == nil && !errors.Is(set, redis.Nil) {
		err = set
	}
	switch {
	case err != nil:
		n.count.errors.Add(1)
		n.q.giveUp(c.it, fmt.Errorf("%w: use a credential: %w", ErrUnavailable, err))
	case value != FormatUUID(c.it.entry.UUID):
		n.count.refused.Add(1)
		n.reject(c.it, &Refused{Ground: Used, Key: n.opt.Keys.Used(c.it.entry.Credential.ID)})
	default:
		n.registered(c.it, c.excess)
	}
}
