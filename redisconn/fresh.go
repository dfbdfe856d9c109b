package redisconn

import (
	"context"

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
		f.Server, err = ask(ctx, cn)
		if err == nil && e.mustBeMaster() {
			err = wantMaster(f.Server.Role, nil)
		}
		loggedIn = err == nil
		return err
	})
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
