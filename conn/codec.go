package conn

import (
	"fmt"

	"pushpod/conn/internal/wire"
)

// webSocket is what messages look like on their way to a client: the one place
// that makes frames (RFC 6455 section 5). The queue knows their lengths only, so
// that a loop's connections may speak something else.
type webSocket struct {
	pings  [2][]byte // of the protocol, and the text that stands in for it
	goaway []byte    // tells a client that its connection is closed soon
}

func newWebSocket(appPing []byte) webSocket {
	return webSocket{
		pings:  [2][]byte{wire.AppendFrame(nil, wire.OpPing, nil), wire.AppendFrame(nil, wire.OpText, appPing)},
		goaway: wire.AppendFrame(nil, wire.OpText, fmt.Appendf(nil, `{"type":"goaway","within_ms":%d}`, goawayNotice.Milliseconds())),
	}
}

// head appends what stands before a text of n bytes.
func (webSocket) head(dst []byte, n int) []byte { return wire.AppendHeader(dst, wire.OpText, n) }

const (
	maxHead  = wire.MaxServerHeader                   // bytes that head appends at most
	maxClose = wire.MaxServerHeader + wire.MaxControl // and closing
)

// size is how many bytes a text of n bytes takes.
func (webSocket) size(n int) int { return wire.HeaderSize(n) + n }

// text appends a whole text.
func (webSocket) text(dst, text []byte) []byte { return wire.AppendFrame(dst, wire.OpText, text) }

// closing appends what closes a connection.
func (webSocket) closing(dst []byte, code Code, reason string) []byte {
	return wire.AppendClose(dst, code, reason)
}

// pong appends the answer to a ping.
func (webSocket) pong(dst, payload []byte) []byte { return wire.AppendFrame(dst, wire.OpPong, payload) }

// ping returns a ping; app: one that a page can see.
func (w *webSocket) ping(app bool) []byte {
	if app {
		return w.pings[1]
	}
	return w.pings[0]
}
