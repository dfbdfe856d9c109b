package presence

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// errShortReply is a server's, or a proxy's, that does not know transactions.
var errShortReply = errors.New("presence: reply to a transaction is too short")

// transaction does the commands, all with keys of one slot, in one MULTI, and
// says why it was refused: the first command's error, not EXEC's that follows
// from it. It returns redis.TxFailedErr where a watched key has changed.
//
// MULTI and EXEC are sent as plain commands: go-redis's own transactions leave
// replies unread in the connection where MULTI itself is refused.
func transaction(ctx context.Context, c interface{ Pipeline() redis.Pipeliner }, commands ...[]any) error {
	pipe := c.Pipeline()
	pipe.Do(ctx, "multi")
	for _, args := range commands {
		pipe.Do(ctx, args...)
	}
	exec := pipe.Do(ctx, "exec")
	cmds, failed := pipe.Exec(ctx) // judged command by command
	if redisconn.IsLinkError(exec.Err()) {
		return exec.Err()
	}
	for _, cmd := range cmds {
		switch err := cmd.Err(); {
		case errors.Is(err, redis.Nil):
			return redis.TxFailedErr
		case err != nil:
			return err
		}
	}
	if failed != nil { // the login was refused
		return failed
	}
	replies, _ := exec.Val().([]any)
	if len(replies) != len(commands) {
		return errShortReply
	}
	for i := range replies {
		if err := replyError(replies, i); err != nil {
			return err
		}
	}
	return nil
}

// replyError returns the error among the replies of a transaction.
func replyError(replies []any, i int) error {
	if i >= len(replies) {
		return errShortReply
	}
	err, _ := replies[i].(error)
	return err
}
