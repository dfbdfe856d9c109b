package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Dial returns one connection to Redis, authenticated and with its database
// selected, and nothing unread in it. The caller reads, writes and closes it:
// the library's own reader of a subscription drops messages where it stalls, and
// does not say what was lost when it reconnects. ctx bounds the call, and must
// have a deadline.
func Dial(ctx context.Context, o Options) (net.Conn, error) {
	o.NoRetry, o.PoolSize = true, 1
	client, single := redis.NewUniversalClient(o.settings()).(*redis.Client)
	if !single {
		return nil, errors.New("dial Redis: a raw connection needs one server, or Sentinels")
	}
	defer client.Close()
	var last atomic.Pointer[borrowed]
	client.AddHook(dialHook(func(c net.Conn) net.Conn {
		b := &borrowed{Conn: c}
		last.Store(b)
		return b
	}))
	// The library logs in before the first command. Redis may refuse this one, by
	// an ACL or because it can't save: that says nothing about a subscription.
	err := client.Ping(ctx).Err()
	var reply redis.Error
	if err != nil && !errors.As(err, &reply) {
		return nil, fmt.Errorf("dial Redis: %w", err)
	}
	c := last.Load()
	if c.closed.Load() { // the login was refused
		return nil, fmt.Errorf("dial Redis: %w", err)
	}
	c.kept.Store(true)
	if err := c.SetDeadline(time.Time{}); err != nil {
		c.Conn.Close()
		return nil, fmt.Errorf("dial Redis: %w", err)
	}
	return c.Conn, nil
}

// borrowed is a connection that the library uses until it is kept.
type borrowed struct {
	net.Conn
	kept, closed atomic.Bool
}

func (b *borrowed) Close() error {
	if b.kept.Load() {
		return nil
	}
	b.closed.Store(true)
	return b.Conn.Close()
}

// CountDials counts the connections that a client makes from now on: each may
// lead to another server than the one before.
func CountDials(c redis.UniversalClient) (made *atomic.Uint64) {
	made = new(atomic.Uint64)
	c.AddHook(dialHook(func(c net.Conn) net.Conn {
		made.Add(1)
		return c
	}))
	return made
}

// dialHook is a hook that sees each connection which a client has made, and may
// put another in its place.
type dialHook func(net.Conn) net.Conn

func (h dialHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return h(c), nil
	}
}

// ProcessHook does nothing.
func (dialHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook does nothing.
func (dialHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
