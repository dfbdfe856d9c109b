package redisconn

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// unixPrefix begins the address of a socket in the file system.
const unixPrefix = "unix:"

// reach makes a connection to an address, be it a socket's, and one of TLS where that
// is asked for. plain makes the connection to the server.
func (o Options) reach(ctx context.Context, addr string, plain plainDialer) (net.Conn, error) {
	timeout := o.timeout()
	if end, ok := ctx.Deadline(); ok {
		// Whoever is late is named before the caller gives up.
		timeout = min(timeout, time.Until(end)*9/10)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		return plain(ctx, "unix", path)
	}
	c, err := plain(ctx, "tcp", addr)
	if err != nil || o.TLS == nil {
		return c, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	secured, err := o.TLS.client(ctx, c, host)
	if err != nil {
		c.Close()
		return nil, err
	}
	return secured, nil
}

// plainDialer makes a connection without TLS.
type plainDialer func(ctx context.Context, network, addr string) (net.Conn, error)

// dialPlain is the plain dialer for connections that somebody else reads.
//
// A peer that has gone without a word is noticed by probes and timeouts of our own.
func dialPlain(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{KeepAlive: 5 * time.Minute}).DialContext(ctx, network, addr)
}

// dialClient is the dialer of the library's clients.
func (o Options) dialClient(ctx context.Context, _, addr string) (net.Conn, error) {
	return o.reach(ctx, addr, dialSocket)
}
