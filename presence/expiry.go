package presence

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// How entries expire, as the server can.
const (
	expiryUnknown int32 = iota // to be found out, after each new connection
	expiryKey                  // the whole hash: PEXPIRE
	expiryFields               // each field: HEXPIRE (Redis 7.4, Valkey 9)
)

// expiry is how entries are made to expire. Owned by the node's goroutine.
type expiry struct {
	mode   int32
	before int32  // mode before it became unknown
	dials  uint64 // connections made when it was found out

	// A server that has been upgraded holds keys that still expire as a whole,
	// with the new entries in them. Until inherited is over, whoever writes an
	// entry looks for that, and until rewrite is, renewals write too.
	inherited, rewrite time.Duration
}

// probeExpiry finds out by calling how entries can be made to expire. It asks
// for the expiry of a field that does not exist, under a user's key that no user has, in a
// transaction, and so changes nothing. The error is one of the link.
func (n *node) probeExpiry(ctx context.Context) error {
	err := transaction(ctx, n.server.Client(), []any{"hexpire", n.opt.Keys.User(n.tryUser()), "1", "fields", "1", "-"})
	if redisconn.IsLinkError(err) {
		return err
	}
	n.expiry.dials = n.server.Dials() // one for the probe itself counts as probed
	switch {
	case isUnknownCommand(err), isPlainError(err),
		redis.HasErrorPrefix(err, "NOPERM"), redis.HasErrorPrefix(err, "NOAUTH"):
		n.setExpiry(expiryKey)
	default: // it is known, even where it is refused for now
		n.setExpiry(expiryFields)
	}
	return nil
}

func (n *node) setExpiry(mode int32) {
	x := &n.expiry
	if mode == x.mode {
		return
	}
	if mode == expiryUnknown {
		x.before, x.mode = x.mode, mode
		return
	}
	before := x.mode
	if before == expiryUnknown {
		before = x.before
	}
	x.mode = mode
	n.count.perField.Store(mode == expiryFields)
	if before == mode {
		return
	}
	x.inherited = n.now() + n.opt.TTL
	if before == expiryKey {
		x.rewrite = x.inherited
	}
	n.opt.Log.Info().Stringer("redis", n.server).Bool("per_field", mode == expiryFields).Msg("presence expiry: each field by itself where per_field is true, else the whole hash")
}
