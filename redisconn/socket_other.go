//go:build !linux

package redisconn

import (
	"context"
	"net"
)

// dialSocket is the plain dialer of clients.
func dialSocket(ctx context.Context, network, addr string) (net.Conn, error) {
	return dialPlain(ctx, network, addr)
}

// hungUp can't tell.
func hungUp(net.Conn) error { return nil }

// readable can't make it so.
func readable(c net.Conn) net.Conn { return c }
