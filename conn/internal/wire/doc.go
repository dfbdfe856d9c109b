// Package wire is what goes over a WebSocket (RFC 6455): frames, close codes,
// and the check of UTF-8 across fragments. It works on bytes and holds no
// state: what a connection is in the middle of, its owner knows.
package wire

import "github.com/gobwas/ws"

// Op is what a frame is.
type Op = ws.OpCode

const (
	OpContinuation = ws.OpContinuation
	OpText         = ws.OpText
	OpBinary       = ws.OpBinary
	OpClose        = ws.OpClose
	OpPing         = ws.OpPing
	OpPong         = ws.OpPong
)

// Sizes in bytes.
const (
	MaxControl      = ws.MaxControlFramePayloadSize // payload of a control frame
	MaxReason       = MaxControl - 2                // reason of a close
	MaxHeader       = ws.MaxHeaderSize              // header of a client's frame
	MaxServerHeader = MaxHeader - maskSize          // header of ours, which has no mask

	maskSize = 4
)

// Violation is what a peer did wrong: the connection is to be closed with this
// code and reason. The zero value is none.
type Violation struct {
	Code   Code
	Reason string
}

// Found reports whether there is a violation.
func (v Violation) Found() bool { return v.Code != CodeNone }
