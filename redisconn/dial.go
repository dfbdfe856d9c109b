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

// NewClient returns a client for Redis; the caller closes it. It does not connect yet.
func NewClient(o Options) redis.UniversalClient {
	if o.SentinelMaster == "" && len(o.Addresses) != 1 {
		return redis.NewUniversalClient(o.settings())
	}
	e := NewEndpoint(o)
	c := e.NewClient(o.NoRetry, o.PoolSize)
	if e.sentinels == nil {
		return c
	}
	return &owner{c, e}
}

// owner is a client with an Endpoint of its own.
type owner struct {
	*redis.Client
	endpoint *Endpoint
}

func (o *owner) Close() error {
	err := o.Client.Close()
	o.endpoint.Close()
	return err
}

// Dial is [Endpoint.Dial] for one call.
func Dial(ctx context.Context, o Options) (net.Conn, error) {
	if o.SentinelMaster == "" && len(o.Addresses) != 1 {
		return nil, errors.New("dial Redis: a raw connection needs one server, or Sentinels")
	}
	e := NewEndpoint(o)
	defer e.Close()
	c, _, err := e.Dial(ctx)
	return c, err
}

// login dials the one address, logs in, selects the database, and asks the server what it
// is.
func (o Options) login(ctx context.Context, ask func(context.Context, askable) (Server, error)) (net.Conn, Server, error) {
	o.NoRetry, o.PoolSize = true, 1
	settings := o.settings().Simple()
	var last atomic.Pointer[borrowed]
	dial := dialPlain
	if o.TLS != nil {
		dial = dialSocket
	}
	settings.Dialer = func(ctx context.Context, _, addr string) (net.Conn, error) {
		c, err := o.reach(ctx, addr, dial)
		if err != nil {
			return nil, err
		}
		b := &borrowed{Conn: c}
		last.Store(b)
		return b, nil
	}
	// The library obeys the deadline of ctx only, not its end.
	defer context.AfterFunc(ctx, func() {
		if b := last.Load(); b != nil {
			_ = b.Close()
		}
	})()
	var s Server
	settings.OnConnect = func(ctx context.Context, cn *redis.Conn) (err error) {
		s, err = ask(ctx, cn)
		return err
	}
	client := redis.NewClient(settings)
	defer client.Close()
	client.AddHook(fullHook{})
	// The library logs in before the first command. Redis may refuse this one, by
	// an ACL or because it can't save: that says nothing about a subscription.
	err := client.Ping(ctx).Err()
	if err != nil && !IsReply(err) {
		return nil, Server{}, err
	}
	c := last.Load()
	if c.closed.Load() { // the login was refused, or ctx has ended just behind it
		if err == nil {
			err = errors.Join(net.ErrClosed, ctx.Err())
		}
		return nil, Server{}, o.explain(err)
	}
	c.kept.Store(true)
	if err := c.SetDeadline(time.Time{}); err != nil {
		c.Conn.Close()
		return nil, Server{}, err
	}
	return readable(c.Conn), s, nil
}

// explain names the key of the configuration for which a login was refused.
func (o Options) explain(err error) error {
	if err != nil && o.DB != 0 {
		return fmt.Errorf("log in, with redis.db %d: %w", o.DB, err)
	}
	return err
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
	c.AddHook(dialHook(func() { made.Add(1) }))
	return made
}

// dialHook is called for each connection that a client has made.
type dialHook func()

func (h dialHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := next(ctx, network, addr)
		if err == nil {
			h()
		}
		return c, err
	}
}

// ProcessHook does nothing.
func (dialHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook does nothing.
func (dialHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
