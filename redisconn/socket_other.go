//go:build !linux

package redisconn

import (
	"context"
	"net"
	"time"
)

// dialSocket returns nil: the client library's own dialer will do.
func dialSocket(time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return nil
}
