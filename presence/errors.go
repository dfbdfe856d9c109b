package presence

import (
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
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

// isReply reports whether Redis sent the error: then the command was not executed,
// and the connection is good.
func isReply(err error) bool {
	return err != nil && asReply(err)
}

// asReply stands apart because the target of errors.As costs an allocation.
func asReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// isLinkError reports whether the connection failed, so that it is not known what
// became of the command.
func isLinkError(err error) bool { return err != nil && !isReply(err) }

// isWrongType reports whether the key holds a value of another type: a fault of
// this one key, and not of Redis.
func isWrongType(err error) bool {
	return redis.HasErrorPrefix(err, "WRONGTYPE")
}

// isUnknownCommand reports whether the server, or a proxy before it, does not
// have the command.
func isUnknownCommand(err error) bool {
	if !isReply(err) {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unknown command") || strings.Contains(text, "unsupported command")
}

// isPlainError reports whether Redis sent an error of no kind of its own (ERR).
// redis.HasErrorPrefix can't tell: it takes ERR off before it compares.
func isPlainError(err error) bool {
	return isReply(err) && strings.HasPrefix(err.Error(), "ERR ")
}

// isNotSent reports whether the commands certainly never left: no connection
// could be made or had.
func isNotSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout)
}
