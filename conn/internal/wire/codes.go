package wire

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// Code is a WebSocket close code (RFC 6455 section 7.4).
type Code uint16

const (
	CodeNone        Code = 0 // a close frame without a code
	CodeNormal      Code = 1000
	CodeGoingAway   Code = 1001 // the pod leaves, or the connection is too old; the reason is a retry
	CodeProtocol    Code = 1002
	CodeUnsupported Code = 1003 // a binary message
	CodeBadText     Code = 1007 // a text that is not UTF-8
	CodePolicy      Code = 1008 // rate or not_allowed, in the reason
	CodeTooLarge    Code = 1009
	CodeTryAgain    Code = 1013 // slow consumer, overload; the reason is a retry

	CodeExpired      Code = 4000 // the token's time is over
	CodeUnauthorized Code = 4001 // refused, as 401 is
	CodeForbidden    Code = 4003 // refused, as 403 is
	CodeTooMany      Code = 4029 // refused, as 429 is; the reason is a retry
	CodeUnavailable  Code = 4053 // refused, as 503 is; the reason is a retry
	CodeRevoked      Code = 4500 // the user is blocked, or the token revoked
	CodeReplaced     Code = 4501 // replaced by a newer connection of its user
)

// receivable reports whether a peer may send the code (RFC 6455 section 7.4, and
// what IANA has registered since).
func (c Code) receivable() bool {
	return c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c <= 4999
}

// Retry is the reason of a close that asks the client to come back after a
// time drawn evenly from [from, to), so that reconnects spread.
func Retry(from, to time.Duration) string {
	ms := from.Milliseconds()
	if span := to.Milliseconds() - ms; span > 0 {
		ms += rand.Int64N(span)
	}
	return "retry_ms=" + strconv.FormatInt(ms, 10)
}
