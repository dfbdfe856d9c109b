package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Header is the header of a client's frame.
type Header struct {
	ws.Header
	Size int // of the header itself, in bytes
}

// ParseHeader reads a header from the start of b; ok is false where b holds
// only a part of it. It checks nothing: see [Header.Check]. A length whose top
// bit is set comes back negative.
func ParseHeader(b []byte) (h Header, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = b[0] >> 4 & 7
	h.OpCode = Op(b[0] & 0x0f)
	h.Masked = b[1]&0x80 != 0
	short := b[1] & 0x7f
	h.Size = h.sizeFor(short)
	if len(b) < h.Size {
		return h, false
	}
	switch short {
	case length16:
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
	case length64:
		h.Length = int64(binary.BigEndian.Uint64(b[2:]))
	default:
		h.Length = int64(short)
	}
	if h.Masked {
		h.Mask = [maskSize]byte(b[h.Size-maskSize:])
	}
	return h, true
}

// sizeFor is the size of a header whose second byte holds this length.
func (h *Header) sizeFor(short byte) int {
	size := 2
	switch short {
	case length16:
		size += 2
	case length64:
		size += 8
	}
	if h.Masked {
		size += maskSize
	}
	return size
}

// Total is the size of the whole frame, as its header claims it. The length must
// not be negative; what a peer may claim is bounded by [Header.Check] only.
func (h *Header) Total() uint64 { return uint64(h.Size) + uint64(h.Length) }

// Check looks at a header (RFC 6455 sections 5.2 to 5.5). fragmented says that a
// message has begun and not ended; room is how many bytes a message may still
// have. Where nothing is found, [Header.Total] is at most MaxHeader + room, or
// MaxHeader + MaxControl.
func (h *Header) Check(fragmented bool, room int) Violation {
	state := ws.StateServerSide
	if fragmented {
		state = state.Set(ws.StateFragmented)
	}
	if h.Length < 0 {
		return Violation{CodeProtocol, "the top bit of a frame's length is set"}
	}
	if err := ws.CheckHeader(h.Header, state); err != nil {
		return Violation{CodeProtocol, err.Error()}
	}
	switch {
	case h.Size != 2+lengthSize(h.Length)+maskSize:
		return Violation{CodeProtocol, "a frame's length is not in its shortest form"}
	case h.OpCode == OpBinary:
		return Violation{CodeUnsupported, "binary messages are not supported"}
	case !h.OpCode.IsControl() && h.Length > int64(room):
		return Violation{CodeTooLarge, "message too large"}
	}
	return Violation{}
}

// Unmask undoes the mask of a whole payload, in place (RFC 6455 section 5.3).
func (h *Header) Unmask(payload []byte) { ws.Cipher(payload, h.Mask, 0) }

// ParseClose reads the payload of a peer's close frame (RFC 6455 section 5.5.1);
// an empty one has the code [CodeNone].
func ParseClose(payload []byte) (Code, Violation) {
	switch len(payload) {
	case 0:
		return CodeNone, Violation{}
	case 1:
		return CodeNone, Violation{CodeProtocol, "close frame of one byte"}
	}
	code := Code(binary.BigEndian.Uint16(payload))
	switch {
	case !code.receivable():
		return code, Violation{CodeProtocol, "invalid close code"}
	case !utf8.Valid(payload[2:]):
		return code, Violation{CodeBadText, "close reason is not UTF-8"}
	}
	return code, Violation{}
}

// ValidPrefix returns how many bytes of b are whole UTF-8 sequences; ok is false
// where b can't be the start of a valid text, or, where it is the whole, is not
// one.
func ValidPrefix(b []byte, whole bool) (n int, ok bool) {
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
