package conn

import (
	"errors"
	"syscall"
	"unicode/utf8"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/tlsloop"
	"pushpod/conn/internal/wire"
)

// inbound is what a connection has half-read. It exists only while there is
// something of the kind.
type inbound struct {
	handshake // before the connection is open

	buf  []byte // the head of the request so far, or the first part of a frame
	need int    // bytes of buf before it is worth looking at it again
	skip uint64 // bytes of a frame that is thrown away, still to come

	text       []byte // of a message that is begun, all fragments so far
	checked    int    // bytes of text that are known to be valid UTF-8
	fragmented bool   // a text message is begun
	limited    bool   // some fragment came too fast
}

// gathered is what has come so far of what comes in pieces: b, behind what is kept. b
// begins at from.
func (in *inbound) gathered(b []byte) (all []byte, from int) {
	if len(in.buf) == 0 {
		return b, 0
	}
	from = len(in.buf)
	in.buf = append(in.buf, b...)
	return in.buf, from
}

// half returns what is half-read, to be added to.
func (c *Conn) half() *inbound {
	if c.in == nil {
		c.in = c.loop.inbounds.take()
	}
	return c.in
}

// dropHalf forgets what is half-read.
func (c *Conn) dropHalf() {
	if c.in != nil {
		c.loop.inbounds.give(c.in)
		c.in = nil
	}
}

// readable reads once: what is left makes another event, after the others' turn.
func (c *Conn) readable() {
	l := c.loop
	n, err := l.io.Read(c.fd, l.read)
	if n > 0 {
		l.bytesReceived += uint64(n)
		c.clear(flagAwaiting)
		c.input(l.read[:n])
	}
	if err != nil && err != netloop.ErrAgain {
		c.readFailed(err)
	}
}

// readFailed is called where nothing more can be read.
func (c *Conn) readFailed(err error) {
	failed := (*tlsloop.HandshakeError)(nil)
	switch {
	case c.state == stateClosed:
	case errors.As(err, &failed):
		c.tlsFailed(failed.Err)
	case c.state == stateOpen && errors.Is(err, syscall.ETIMEDOUT):
		c.end(CauseDead)
	default:
		c.eof()
	}
}

// input handles bytes from the socket, which it may change.
func (c *Conn) input(b []byte) {
	if c.has(flagEvents) {
		return // it has said all that it can say
	}
	switch c.state {
	case stateHandshaking:
		if c.has(flagProxied) {
			c.proxyInput(b)
			return
		}
		c.handshakeInput(b)
	case stateRegistering:
		c.early(b)
	case stateOpen, stateClosing:
		c.frames(b)
	}
}

// reads reports whether the client's frames are handled: no close is under way.
func (c *Conn) reads() bool { return c.state == stateOpen && !c.has(flagCloseWaits) }

// frames reads frames from b, behind what is half-read, and keeps what is not
// complete.
func (c *Conn) frames(b []byte) {
	if !c.reads() {
		c.seekClose(b)
		return
	}
	kept := false
	if in := c.in; in != nil && len(in.buf) > 0 {
		in.buf = append(in.buf, b...)
		if len(in.buf) < in.need {
			return
		}
		b, in.buf, kept = in.buf, nil, true
	}
	for len(b) > 0 {
		h, size := c.next(b)
		if size > len(b) {
			c.keepRest(b, size, kept)
			return
		}
		if size > 0 {
			payload := b[h.Size:size]
			b = b[size:]
			h.Unmask(payload)
			c.loop.framesReceived++
			c.frame(h, payload)
		}
		if !c.reads() {
			if c.state == stateOpen || c.state == stateClosing {
				c.dropHalf()
				c.seekClose(b)
			}
			return
		}
	}
	if in := c.in; in != nil && !in.fragmented {
		c.dropHalf()
	}
}

// seekClose reads from a peer to whom a close frame is sent: it looks for the
// peer's, and throws everything else away, whatever is wrong with it.
func (c *Conn) seekClose(b []byte) {
	if c.has(flagDiscard) {
		return
	}
	in := c.half()
	in.text = nil
	for len(b) > 0 {
		if in.skip > 0 {
			n := min(in.skip, uint64(len(b)))
			in.skip -= n
			b = b[n:]
			continue
		}
		if len(in.buf) > 0 {
			b, in.buf = append(in.buf, b...), nil
		}
		h, whole := wire.ParseHeader(b)
		switch {
		case whole && h.Length < 0:
			c.set(flagDiscard) // where the next frame begins can't be known
			c.dropHalf()
			return
		case whole && (h.OpCode != wire.OpClose || h.Length > wire.MaxControl):
			in.skip = h.Total()
		case whole && len(b) >= h.Size+int(h.Length):
			c.peerClosed(wire.CodeNone)
			return
		default:
			in.buf = append([]byte(nil), b...)
			return
		}
	}
}

// keepRest keeps the first part of a frame of size bytes; a size beyond any
// header means that the frame's own size is known, and within its bound.
func (c *Conn) keepRest(b []byte, size int, kept bool) {
	if !kept {
		b = append(make([]byte, 0, min(size, len(b)*2+16)), b...)
	}
	in := c.half()
	in.buf, in.need = b, size
}

// next looks at the frame at the start of b, and returns its size; what b lacks
// of it is still to come. 0: the frame is wrong, and a close is under way.
func (c *Conn) next(b []byte) (wire.Header, int) {
	h, whole := wire.ParseHeader(b)
	if !whole {
		return h, len(b) + 1
	}
	room, fragmented := c.loop.settings().MaxMessage, false
	if in := c.in; in != nil {
		room, fragmented = room-len(in.text), in.fragmented
	}
	if v := h.Check(fragmented, room); v.Found() {
		c.violate(v)
		return h, 0
	}
	return h, int(h.Total())
}

// frame handles one whole frame.
func (c *Conn) frame(h wire.Header, payload []byte) {
	if h.OpCode == wire.OpClose {
		c.closeFrame(payload)
		return
	}
	limited := false
	switch c.allow() {
	case frameTooMany:
		c.violate(wire.Violation{Code: wire.CodePolicy, Reason: "rate"})
		return
	case frameLimited:
		limited = true
	}
	switch h.OpCode {
	case wire.OpPing:
		if !limited {
			c.pong(payload)
		}
	case wire.OpPong:
	default:
		c.data(h, payload, limited)
	}
}

// pong answers a ping. One that can't be sent now is left out where others
// wait already: only the latest needs an answer (RFC 6455 section 5.5.3).
func (c *Conn) pong(payload []byte) {
	if c.out != nil && c.out.Control() > controlSlack/2 {
		return
	}
	c.loop.scratch = c.loop.codec.pong(c.loop.scratch[:0], payload)
	c.sendControl(c.loop.scratch)
}

// closeFrame handles the peer's close frame (RFC 6455 section 7.1.5).
func (c *Conn) closeFrame(payload []byte) {
	code, v := wire.ParseClose(payload)
	if v.Found() {
		c.violate(v)
		return
	}
	c.peerClosed(code)
}

// data handles a text frame or a fragment.
func (c *Conn) data(h wire.Header, payload []byte, limited bool) {
	if h.Fin && h.OpCode == wire.OpText {
		if !utf8.Valid(payload) {
			c.violate(notText())
			return
		}
		c.owner.Message(payload, limited)
		return
	}
	in := c.half()
	if h.OpCode == wire.OpText {
		in.fragmented, in.limited = true, false
	}
	in.limited = in.limited || limited
	in.text = append(in.text, payload...)
	n, ok := wire.ValidPrefix(in.text[in.checked:], h.Fin)
	if !ok {
		c.violate(notText())
		return
	}
	in.checked += n
	if !h.Fin {
		return
	}
	text := in.text
	in.fragmented, in.text, in.checked = false, nil, 0
	c.owner.Message(text, in.limited)
}

func notText() wire.Violation {
	return wire.Violation{Code: wire.CodeBadText, Reason: "text is not UTF-8"}
}
