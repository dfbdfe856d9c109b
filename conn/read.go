package conn

import (
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// inbound is what a connection has half-read. It exists only while there is
// something of the kind.
type inbound struct {
	buf  []byte // the request so far, or the first part of a frame
	need int    // bytes of buf before it is worth looking at it again
	skip uint64 // bytes of a frame that is thrown away, still to come

	asked asked // from the request to its answer

	text       []byte // of a message that is begun, all fragments so far
	checked    int    // bytes of text that are known to be valid UTF-8
	fragmented bool   // a text message is begun
	limited    bool   // some fragment came too fast
}

// half returns what is half-read, to be added to.
func (c *Conn) half() *inbound {
	if c.in == nil {
		c.in = c.loop.pools.inbounds.take()
	}
	return c.in
}

// dropHalf forgets what is half-read.
func (c *Conn) dropHalf() {
	if c.in != nil {
		c.loop.pools.inbounds.give(c.in)
		c.in = nil
	}
}

// input is called by the transport with bytes from the socket, which it may
// change, and which are valid only during the call.
func (c *Conn) input(b []byte) {
	c.loop.bytesReceived += uint64(len(b))
	switch c.state {
	case stateHandshaking:
		c.handshakeInput(b)
	case stateRegistering:
		c.early(b)
	case stateOpen, stateClosing:
		c.frames(b)
	}
}

// frames reads frames from b, behind what is half-read, and keeps what is not
// complete.
func (c *Conn) frames(b []byte) {
	if c.state == stateClosing {
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
			payload := b[h.size:size]
			b = b[size:]
			ws.Cipher(payload, h.Mask, 0)
			c.loop.framesReceived++
			c.clear(flagAwaiting)
			c.frame(h, payload)
		}
		if c.state != stateOpen {
			if c.state == stateClosing {
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

// seekClose reads from a peer to whom a close frame was sent: it looks for the
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
		h, whole := parseHeader(b)
		switch {
		case whole && h.Length < 0:
			c.set(flagDiscard) // where the next frame begins can't be known
			c.dropHalf()
			return
		case whole && (h.OpCode != ws.OpClose || h.Length > maxControl):
			in.skip = uint64(h.size) + uint64(h.Length)
		case whole && len(b) >= h.size+int(h.Length):
			c.peerClosed(codeNone)
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
// of it is still to come. 0: the frame is wrong, and the connection is closing
// or closed.
func (c *Conn) next(b []byte) (header, int) {
	h, whole := parseHeader(b)
	if !whole {
		return h, len(b) + 1
	}
	state := ws.StateServerSide
	if c.in != nil && c.in.fragmented {
		state |= ws.StateFragmented
	}
	if h.Length < 0 {
		c.violate(CodeProtocol, ws.ErrHeaderLengthMSB.Error())
		return h, 0
	}
	if err := ws.CheckHeader(h.Header, state); err != nil {
		c.violate(CodeProtocol, err.Error())
		return h, 0
	}
	if h.OpCode == ws.OpBinary {
		c.violate(CodeUnsupported, "binary messages are not supported")
		return h, 0
	}
	if !h.OpCode.IsControl() {
		room := int64(c.loop.srv.opts.MaxMessage)
		if c.in != nil {
			room -= int64(len(c.in.text))
		}
		if h.Length > room {
			c.violate(CodeTooLarge, "message too large")
			return h, 0
		}
	}
	return h, h.size + int(h.Length)
}

// frame handles one whole frame.
func (c *Conn) frame(h header, payload []byte) {
	if h.OpCode == ws.OpClose {
		c.closeFrame(payload)
		return
	}
	limited := false
	switch c.allow() {
	case frameTooMany:
		c.violate(CodePolicy, "rate")
		return
	case frameLimited:
		limited = true
	}
	switch h.OpCode {
	case ws.OpPing:
		if !limited {
			c.pong(payload)
		}
	case ws.OpPong:
	default:
		c.data(h, payload, limited)
	}
}

// pong answers a ping. One that can't be sent now is left out where others
// wait already: only the latest needs an answer (RFC 6455 section 5.5.3).
func (c *Conn) pong(payload []byte) {
	if c.out != nil && c.out.bytes > c.loop.srv.opts.QueueBytes {
		return
	}
	c.sendControl(appendFrame(nil, opPong, payload))
}

// closeFrame handles the peer's close frame (RFC 6455 section 7.1.5).
func (c *Conn) closeFrame(payload []byte) {
	switch {
	case len(payload) == 0:
		c.peerClosed(codeNone)
		return
	case len(payload) == 1:
		c.violate(CodeProtocol, "close frame of one byte")
		return
	}
	code := Code(payload[0])<<8 | Code(payload[1])
	switch {
	case !codeMayCome(code):
		c.violate(CodeProtocol, "invalid close code")
	case !utf8.Valid(payload[2:]):
		c.violate(CodeBadText, "close reason is not UTF-8")
	default:
		c.peerClosed(code)
	}
}

// codeMayCome reports whether a peer may send code (RFC 6455 section 7.4, and
// what has been registered since).
func codeMayCome(code Code) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// data handles a text frame or a fragment.
func (c *Conn) data(h header, payload []byte, limited bool) {
	if h.Fin && h.OpCode == ws.OpText {
		if !utf8.Valid(payload) {
			c.violate(CodeBadText, "text is not UTF-8")
			return
		}
		c.receive(payload, limited)
		return
	}
	in := c.half()
	if h.OpCode == ws.OpText {
		in.fragmented, in.limited = true, false
	}
	in.limited = in.limited || limited
	in.text = append(in.text, payload...)
	n, ok := validPrefix(in.text[in.checked:], h.Fin)
	if !ok {
		c.violate(CodeBadText, "text is not UTF-8")
		return
	}
	in.checked += n
	if !h.Fin {
		return
	}
	text := in.text
	in.fragmented, in.text, in.checked = false, nil, 0
	c.receive(text, in.limited)
}

// validPrefix returns how many bytes of b are whole UTF-8 sequences; ok is
// false where b can't be the start of a valid text, or, at its end, is not one.
func validPrefix(b []byte, whole bool) (n int, ok bool) {
	if utf8.Valid(b) {
		return len(b), true
	}
	if whole {
		return 0, false
	}
	for i := max(0, len(b)-utf8.UTFMax+1); i < len(b); i++ {
		if utf8.RuneStart(b[i]) && !utf8.FullRune(b[i:]) {
			return i, utf8.Valid(b[:i])
		}
	}
	return 0, false
}

// receive hands a whole message to the handler.
func (c *Conn) receive(text []byte, limited bool) {
	c.loop.srv.opts.Handler.Receive(c, text, limited)
}
