package conn

import (
	"bytes"
	"encoding/json"
	"strconv"

	"pushpod/conn/internal/sendq"
	"pushpod/conn/internal/wire"
)

// events makes server-sent events (WHATWG HTML section 9.2), one way: a text is an event
// without a name, a close is one named close, a ping is a comment. What the client sends
// behind its request is thrown away; where it ends its side of TCP, it is gone.
//
// A message for several connections is made once as WebSocket frames, and of these, when
// the first client of this kind gets it, once as events (sendq.Frame.Other).
type events struct{ controls }

func newEvents(appPing []byte) (e events) {
	e.pings = [2][]byte{[]byte(":\n\n"), e.text(nil, appPing)}
	e.away = e.text(nil, goawayText())
	return e
}

// text appends an event; each line of a text that has several becomes a line of data,
// since a line break ends a field: LF, CR, or CR LF.
func (events) text(dst, text []byte) []byte {
	oneLine := bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0
	for !oneLine {
		end := bytes.IndexAny(text, "\r\n")
		if end < 0 {
			break
		}
		dst = append(append(append(dst, "data: "...), text[:end]...), '\n')
		if bytes.HasPrefix(text[end:], []byte("\r\n")) {
			end++
		}
		text = text[end+1:]
	}
	return append(append(append(dst, "data: "...), text...), "\n\n"...)
}

// closing cuts a reason as a WebSocket's is cut.
func (events) closing(dst []byte, code Code, reason string) []byte {
	return appendEvents(dst, wire.AppendClose(nil, code, reason))
}

// appendEvents appends what frames of ours, texts and closes, are as events.
func appendEvents(dst, frames []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, len(frames)+16) // of most it is the size, nearly
	}
	for len(frames) > 0 {
		h, _ := wire.ParseHeader(frames)
		payload := frames[h.Size:h.Total()]
		frames = frames[h.Total():]
		if h.OpCode == wire.OpText {
			dst = events{}.text(dst, payload)
			continue
		}
		code, _ := wire.ParseClose(payload)
		reason, _ := json.Marshal(string(payload[min(len(payload), 2):])) // a string: there is no error
		dst = strconv.AppendUint(append(dst, "event: close\ndata: {\"type\":\"close\",\"code\":"...), uint64(code), 10)
		dst = append(append(append(dst, `,"reason":`...), reason...), "}\n\n"...)
	}
	return dst
}

// inForm returns a message as c gets it, and takes over the caller's hold of f.
func (c *Conn) inForm(f *sendq.Frame) *sendq.Frame {
	if !c.has(flagEvents) {
		return f
	}
	other := f.Other(appendEvents)
	f.Release()
	return other
}

// sendPlainEvent is sendPlain for a client that gets events.
func (c *Conn) sendPlainEvent(text []byte, at int64) {
	l := c.loop
	l.scratch = l.srv.events.text(l.scratch[:0], text)
	small := len(l.scratch) <= sendq.MaxPrivate
	if small && c.takes() && (c.out == nil || c.out.Fits(len(l.scratch), l.settings().QueueBytes)) {
		c.queue().Append(&l.pool, false, at, l.scratch)
		return
	}
	f := sendq.NewFrame(bytes.Clone(l.scratch))
	f.At, f.Alone = at, small
	c.admit(f)
}
