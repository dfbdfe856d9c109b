package conn

import (
	"fmt"

	"pushpod/conn/internal/wire"
)

// codec is what a client is sent looks like on the wire. The queue knows lengths only, so
// the connections of one loop may differ in it: most are WebSockets, which [Loop.codec]
// makes frames for without a look at this; others get [events].
type codec interface {
	// text appends a whole text.
	text(dst, text []byte) []byte
	// closing appends what closes a connection.
	closing(dst []byte, code Code, reason string) []byte
	// ping returns a ping; app: one that a page can see.
	ping(app bool) []byte
	// goaway returns what tells a client that its connection is closed soon.
	goaway() []byte
}

// codec returns the connection's.
func (c *Conn) codec() codec {
	if c.has(flagEvents) {
		return &c.loop.srv.events
	}
	return c.loop.codec
}

// controls are a codec's messages that are always the same.
type controls struct {
	pings [2][]byte // for the protocol alone, and the text that stands in for it
	away  []byte
}

func (c *controls) ping(app bool) []byte {
	if app {
		return c.pings[1]
	}
	return c.pings[0]
}

func (c *controls) goaway() []byte { return c.away }

// goawayText tells a client that its connection is closed soon.
func goawayText() []byte {
	return fmt.Appendf(nil, `{"type":"goaway","within_ms":%d}`, goawayNotice.Milliseconds())
}

// webSocket makes the frames of RFC 6455 section 5.
type webSocket struct{ controls }

func newWebSocket(appPing []byte) (w webSocket) {
	w.pings = [2][]byte{wire.AppendFrame(nil, wire.OpPing, nil), w.text(nil, appPing)}
	w.away = w.text(nil, goawayText())
	return w
}

// head appends what stands before a text of n bytes.
func (webSocket) head(dst []byte, n int) []byte { return wire.AppendHeader(dst, wire.OpText, n) }

const (
	maxHead  = wire.MaxServerHeader                   // bytes that head appends at most
	maxClose = wire.MaxServerHeader + wire.MaxControl // and closing
)

// size is how many bytes a text of n bytes takes.
func (webSocket) size(n int) int { return wire.HeaderSize(n) + n }

func (webSocket) text(dst, text []byte) []byte { return wire.AppendFrame(dst, wire.OpText, text) }

func (webSocket) closing(dst []byte, code Code, reason string) []byte {
	return wire.AppendClose(dst, code, reason)
}

// pong appends the answer to a ping.
func (webSocket) pong(dst, payload []byte) []byte { return wire.AppendFrame(dst, wire.OpPong, payload) }
