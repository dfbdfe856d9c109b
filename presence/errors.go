package presence

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

var (
	// ErrUnavailable is returned, wrapped around its cause, when Redis is away,
	// refuses to write, or holds a value of another type under the user's key.
	ErrUnavailable = errors.New("presence: Redis is unavailable")

	// ErrTooMany is returned when a registration would take a user over
	// Options.PerUser. The entry is not left behind.
	ErrTooMany = errors.New("presence: user has too many connections")

	// ErrClosed is returned for what is asked of a Store whose Run is ending or
	// has ended. A registration that waited for Redis gets it wrapped in ErrUnavailable.
	ErrClosed = errors.New("presence: store is closed")

	// ErrUnregistered is returned, wrapped in ErrUnavailable, for a registration
	// that was given up because its connection was unregistered before Redis had
	// the entry.
	ErrUnregistered = errors.New("presence: unregistered before it was registered")

	// ErrBacklog is returned for an unregistration that was given up because too
	// many waited for Redis to come back. Its entry is left to expire.
	ErrBacklog = errors.New("presence: too many operations wait for Redis")

	// ErrAddressTaken is returned by Pods.Claim when another process with the
	// same address is seen to be alive.
	ErrAddressTaken = errors.New("presence: pod address is taken")

	// ErrNotClaimed is returned by Pods.Beat before Claim has succeeded.
	ErrNotClaimed = errors.New("presence: pod address is not claimed")

	// ErrLeft is returned by Pods.Beat after Leave.
	ErrLeft = errors.New("presence: pod has left")
)

// isWrongType reports whether the key holds a value of another type: a fault of
// this one key, and not of Redis.
func isWrongType(err error) bool {
	return redis.HasErrorPrefix(err, "WRONGTYPE")
}

// isUnknownCommand reports whether the server, or a proxy before it, does not
// have the command.
func isUnknownCommand(err error) bool {
	if !redisconn.IsReply(err) {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unknown command") || strings.Contains(text, "unsupported command")
}

// isPlainError reports whether Redis sent an error of no kind of its own (ERR).
// redis.HasErrorPrefix can't tell: it takes ERR off before it compares.
func isPlainError(err error) bool {
	return redisconn.IsReply(err) && strings.HasPrefix(err.Error(), "ERR ")
}

// isNotSent reports whether the commands certainly never left: no connection
// could be made or had.
func isNotSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout)
}

// isRedirected reports whether the slot of a key is on its way to another node, and was
// not found in a few tries.
func isRedirected(err error) bool {
	if err == nil {
		return false
	}
	_, moved := redis.IsMovedError(err)
	_, asked := redis.IsAskError(err)
	return moved || asked || redis.IsTryAgainError(err)
}

// isBrokenOff reports whether a batch was ended early, since its node is in the map no
// more: what it left is for others.
func isBrokenOff(err error) bool { return errors.Is(err, context.Canceled) }

// isUncovered reports whether no node of the Cluster has the key's slot: a fault of these
// keys, and not of the node that says so.
func isUncovered(err error) bool {
	return redis.IsClusterDownError(err) && strings.Contains(err.Error(), "not served")
}

// elsewhereError is the failure of another node than the one that an entry is on.
type elsewhereError struct{ error }

func (e elsewhereError) Unwrap() error { return e.error }

func isElsewhere(err error) bool {
	var e elsewhereError
	return errors.As(err, &e)
}
