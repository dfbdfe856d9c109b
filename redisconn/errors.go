package redisconn

import (
	"errors"

	"github.com/redis/go-redis/v9"
)

// IsReply reports whether Redis sent the error: then the command was not done, and the
// connection is good.
func IsReply(err error) bool {
	return err != nil && asReply(err)
}

// asReply stands apart because the target of errors.As costs an allocation.
func asReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// IsLinkError reports whether the connection failed, so that it is not known what became
// of the command.
func IsLinkError(err error) bool { return err != nil && !IsReply(err) }
