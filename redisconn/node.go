package redisconn

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// A Node is one server to which commands go: a master of a Cluster, or all that there is.
type Node struct {
	// Static after construction.
	addr     string                // of a Cluster's node; of what is configured else
	endpoint *Endpoint             // nil: the clients are somebody else's
	once     redis.UniversalClient // sends each command once at most
	again    redis.UniversalClient // repeats
	dials    *atomic.Uint64

	lost atomic.Int64 // when it was last out of the map, as Redis.age; guarded by the map's owner
}

// newNode makes a node, which connects when it is first used.
func newNode(addr string, o Options) *Node {
	e := NewEndpoint(o)
	n := &Node{addr: addr, endpoint: e, once: e.NewClient(true, o.PoolSize), again: e.NewClient(false, o.PoolSize)}
	n.dials = CountDials(n.once)
	return n
}

// String returns the node's address, host:port.
func (n *Node) String() string { return n.addr }

// Client returns the node's client. It sends every command once at most, and does not
// obey redirections: an error that is no reply means "not known".
func (n *Node) Client() redis.UniversalClient { return n.once }

// Retrying returns a client that repeats what may have been lost on the way.
func (n *Node) Retrying() redis.UniversalClient { return n.again }

// Send sends commands in one pipeline, each once at most. Afterwards each has its reply or
// its error; redirections are among them.
func (n *Node) Send(ctx context.Context, cmds []redis.Cmder) { send(ctx, n.once, cmds) }

func send(ctx context.Context, c interface{ Pipeline() redis.Pipeliner }, cmds []redis.Cmder) {
	pipe := c.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // only queues
	if _, err := pipe.Exec(ctx); err != nil {
		stamp(cmds, err)
	}
}

// stamp makes an error of a whole pipeline that of its commands. The library leaves them
// without one where Redis has refused the login: they would seem to be done.
func stamp(cmds []redis.Cmder, err error) {
	for _, c := range cmds {
		if c.Err() != nil {
			return // each has its own
		}
	}
	for _, c := range cmds {
		c.SetErr(err)
	}
}

// Dials returns how many connections Client has made. Each may lead to another server
// than the one before.
func (n *Node) Dials() uint64 { return n.dials.Load() }

// Endpoint returns where the node's address leads.
func (n *Node) Endpoint() *Endpoint { return n.endpoint }

// Dial returns a raw connection to the node; see [Endpoint.Dial].
func (n *Node) Dial(ctx context.Context) (net.Conn, Server, error) { return n.endpoint.Dial(ctx) }

func (n *Node) close() {
	if n.endpoint != nil {
		_ = n.once.Close()
		_ = n.again.Close()
		n.endpoint.Close()
	}
}
