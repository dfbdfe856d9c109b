package conn

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// Code is a WebSocket close code (RFC 6455 section 7.4).
type Code uint16

const (
	CodeNormal      Code = 1000
	CodeGoingAway   Code = 1001 // the pod leaves, or the connection is too old
	CodeProtocol    Code = 1002
	CodeUnsupported Code = 1003 // a binary message
	CodeBadText     Code = 1007 // a text that is not UTF-8
	CodePolicy      Code = 1008 // rate or not_allowed, in the reason
	CodeTooLarge    Code = 1009
	CodeTryAgain    Code = 1013 // slow consumer, overload
	CodeReplaced    Code = 4501 // replaced by a newer connection of its user
)

const codeNone Code = 0 // a close frame without a code

// Retry is the reason of a close that asks the client to come back after a
// time drawn evenly from [from, to), so that reconnects spread.
func Retry(from, to time.Duration) string {
	ms := from.Milliseconds()
	if span := to.Milliseconds() - ms; span > 0 {
		ms += rand.Int64N(span)
	}
	return "retry_ms=" + strconv.FormatInt(ms, 10)
}
