package conn

import (
	"time"

	"pushpod/conn/internal/httphead"
	"pushpod/conn/internal/wire"
)

// Code is a WebSocket close code (RFC 6455 section 7.4).
type Code = wire.Code

// The codes that the owner of a connection closes with.
const (
	CodeGoingAway = wire.CodeGoingAway // the pod leaves, or the connection is too old
	CodeExpired   = wire.CodeExpired   // the client needs a fresh token
	CodeRevoked   = wire.CodeRevoked   // the user is blocked, or the token revoked
	CodeReplaced  = wire.CodeReplaced  // replaced by a newer connection of its user
)

// Path is where clients connect.
const Path = httphead.Path

// Retry is the reason of a close that asks the client to come back after a
// time drawn evenly from [from, to), so that reconnects spread.
func Retry(from, to time.Duration) string { return wire.Retry(from, to) }
