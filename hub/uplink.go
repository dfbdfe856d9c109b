package hub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/json"
	"pushpod/internal/loglimit"
	"pushpod/presence"
	"pushpod/redisconn"
)

// uplink adds clients' requests to the Redis stream (XADD), in pipelined batches,
// and sends each its receipt. It also publishes envelopes of the pod itself. It repeats
// nothing: the stream would have a repeated request twice.
type uplink struct {
	redis   *redisconn.Redis
	stream  string
	pod     string    // channel
	limit   streamCap // used by the goroutine of run
	caps    atomic.Pointer[caps]
	timeout time.Duration
	failing *loglimit.Line

	mu      sync.Mutex // protects following
	waiting []uplinked
	bytes   int
	wake    chan struct{} // capacity 1

	accepted, failed, writes atomic.Uint64
}

// uplinked is a request that waits or, without a session, an envelope for a channel.
type uplinked struct {
	s    *session
	id   []byte // as it stands
	data []byte
	at   time.Time

	channel string
}

const (
	uplinkMost      = 16384    // requests that may wait
	uplinkMostBytes = 64 << 20 // and their data
	uplinkBatch     = 512

	uuidText = 36 // bytes of a UUID
)

func newUplink(o *Options, failing *loglimit.Line) *uplink {
	bounds := caps{o.UplinkMaxLength, o.UplinkMaxBytes}
	u := &uplink{
		redis:   o.Uplink,
		stream:  o.Keys.Uplink(),
		pod:     o.Keys.PodChannel(o.Pod),
		timeout: o.Redis.Timeout,
		limit:   streamCap{caps: bounds},
		failing: failing,
		wake:    make(chan struct{}, 1),
	}
	u.caps.Store(&bounds)
	return u
}

// add queues a request; id and data are copied. false: too much waits.
func (u *uplink) add(s *session, id, data []byte) bool {
	both := append(append(make([]byte, 0, len(id)+len(data)), id...), data...)
	return u.put(uplinked{s: s, id: both[:len(id):len(id)], data: both[len(id):], at: time.Now()})
}

// publish queues an envelope for a pod's channel. It is best effort.
func (u *uplink) publish(channel string, envelope []byte) {
	u.put(uplinked{channel: channel, data: envelope, at: time.Now()})
}

func (u *uplink) put(r uplinked) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) >= uplinkMost || u.bytes+len(r.data) > uplinkMostBytes {
		return false
	}
	u.waiting = append(u.waiting, r)
	u.bytes += len(r.data)
	select {
	case u.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns the next batch; empty: nothing waits.
func (u *uplink) take() []uplinked {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := min(len(u.waiting), uplinkBatch)
	batch := append([]uplinked(nil), u.waiting[:n]...)
	for _, r := range batch {
		u.bytes -= len(r.data)
	}
	rest := copy(u.waiting, u.waiting[n:])
	clear(u.waiting[rest:])
	if u.waiting = u.waiting[:rest]; rest == 0 && cap(u.waiting) > uplinkBatch {
		u.waiting = nil
	}
	return batch
}

func (u *uplink) len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.waiting)
}

// run sends batches, one at a time, until ctx ends; what waits then is still
// sent, within the timeout.
func (u *uplink) run(ctx context.Context) {
	for ended := false; !ended; {
		select {
		case <-u.wake:
		case <-ctx.Done():
			ended = true
		}
		for batch := u.take(); len(batch) > 0; batch = u.take() {
			u.send(batch)
		}
	}
}

// send answers every request of a batch within the timeout of the oldest one:
// each batch has at least what the one before has left it.
func (u *uplink) send(batch []uplinked) {
	u.writes.Add(1)
	u.limit.caps = *u.caps.Load()
	ctx, cancel := context.WithDeadline(context.Background(), batch[0].at.Add(u.timeout))
	defer cancel()
	pipe := u.redis.Pipeline(false)
	commands := make([]redis.Cmder, len(batch))
	for i := range batch {
		var key string
		key, commands[i] = u.command(ctx, &batch[i])
		pipe.Add(key, commands[i])
	}
	pipe.Exec(ctx)
	if err := firstError(commands); err != nil {
		u.failing.Event().Err(err).Int("requests", len(batch)).Send()
	}
	for i, c := range commands {
		u.answer(&batch[i], c.Err())
	}
}

// command is what a request is to Redis, and the key by which it is routed. Publications
// reach all nodes from any.
func (u *uplink) command(ctx context.Context, r *uplinked) (key string, cmd redis.Cmder) {
	if r.s == nil {
		return r.channel, redis.NewIntCmd(ctx, "publish", r.channel, r.data)
	}
	id, _ := json.String(r.id) // it has been checked
	args := []any{"xadd", u.stream}
	if most := u.limit.add(entryBytes(len(r.s.user) + uuidText + len(u.pod) + len(id) + len(r.data))); most > 0 {
		args = append(args, "maxlen", "~", most)
	}
	args = append(args, "*", "user", r.s.user, "uuid", presence.FormatUUID(r.s.uuid), "pod", u.pod, "id", id, "data", r.data)
	return u.stream, redis.NewStringCmd(ctx, args...)
}

func firstError(commands []redis.Cmder) error {
	for _, c := range commands {
		if err := c.Err(); err != nil {
			return err
		}
	}
	return nil
}

// answer sends a request's receipt.
func (u *uplink) answer(r *uplinked, err error) {
	switch {
	case r.s == nil: // a publication: nobody waits for it
	case err != nil:
		u.failed.Add(1)
		r.s.conn.Answer(receipt(r.id, errorUnavailable, "not known whether it was taken: repeat it with the same id"))
	default:
		u.accepted.Add(1)
		r.s.conn.Answer(receipt(r.id, "", ""))
	}
}
