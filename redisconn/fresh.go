package redisconn

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Fresh is a connection that was made just now, so that it is to the server where the
// Endpoint leads now.
type Fresh struct {
	Server Server
	client *redis.Client
}

// Fresh makes one. ctx bounds the call, and must have a deadline.
func (e *Endpoint) Fresh(ctx context.Context) (*Fresh, error) {
	f := new(Fresh)
	loggedIn := false
	f.client = e.newClient(true, 1, func(ctx context.Context, cn *redis.Conn) (err error) {
		f.Server, err = e.ask(ctx, cn)
		loggedIn = err == nil
		return err
	})
	f.client.AddHook(fullHook{})
	// Any command will do to connect, and whatever it is answered.
	if err := f.client.Ping(ctx).Err(); !loggedIn || err != nil && !IsReply(err) {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Publish publishes (PUBLISH), and returns how many subscribers of this one server have
// got it: not those of its replicas, and in a Cluster not those of other nodes.
func (f *Fresh) Publish(ctx context.Context, channel, message string) (int64, error) {
	return f.client.Publish(ctx, channel, message).Result()
}

// Close closes the connection.
func (f *Fresh) Close() { _ = f.client.Close() }

// ErrFull is returned where Redis takes no further connection.
var ErrFull = errors.New("Redis has as many connections as it takes (ERR max number of clients reached)")

// fullHook makes ErrFull of what the library takes for a server without HELLO, and then
// for one that has gone.
type fullHook struct{}

// DialHook does nothing.
func (fullHook) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook looks at the first command of a connection.
func (fullHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err != nil && cmd.Name() == "hello" && redis.IsMaxClientsError(err) {
			err = ErrFull
			cmd.SetErr(err)
		}
		return err
	}
}

// ProcessPipelineHook does nothing.
func (fullHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
