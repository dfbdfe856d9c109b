package conn

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const (
	opText  = byte(ws.OpText)
	opClose = byte(ws.OpClose)
	opPing  = byte(ws.OpPing)
	opPong  = byte(ws.OpPong)

	maxControl    = ws.MaxControlFramePayloadSize
	maxReason     = maxControl - 2
	maxHeaderSize = ws.MaxHeaderSize

	maxServerHeader = maxHeaderSize - 4 // without a mask
)

// appendHeader appends the header of an unmasked, final frame
// (RFC 6455 section 5.2).
func appendHeader(dst []byte, op byte, length int) []byte {
	switch {
	case length < 126:
		return append(dst, 0x80|op, byte(length))
	case length < 1<<16:
		return append(dst, 0x80|op, 126, byte(length>>8), byte(length))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 0x80|op, 127), uint64(length))
	}
}

// headerSize is the size of such a header.
func headerSize(length int) int {
	switch {
	case length < 126:
		return 2
	case length < 1<<16:
		return 4
	default:
		return maxServerHeader
	}
}

func appendFrame(dst []byte, op byte, payload []byte) []byte {
	return append(appendHeader(dst, op, len(payload)), payload...)
}

// appendClose appends a close frame; a reason that is too long or is not UTF-8
// is cut (RFC 6455 section 5.5.1).
func appendClose(dst []byte, code Code, reason string) []byte {
	if code == codeNone {
		return appendHeader(dst, opClose, 0)
	}
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	for !utf8.ValidString(reason) {
		reason = reason[:len(reason)-1]
	}
	dst = appendHeader(dst, opClose, 2+len(reason))
	dst = append(dst, byte(code>>8), byte(code))
	return append(dst, reason...)
}

// header is a client frame's header, as parseHeader found it.
type header struct {
	ws.Header
	size int // of the header itself
}

// parseHeader reads a frame header from the start of b. ok is false where b
// holds only a part of it. A length with its top bit set comes back negative
// (RFC 6455 section 5.2: it must be 0).
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = b[0] >> 4 & 7
	h.OpCode = ws.OpCode(b[0] & 0x0f)
	h.Masked = b[1]&0x80 != 0
	h.size = 2
	switch n := b[1] & 0x7f; n {
	case 126:
		if len(b) < 4 {
			return h, false
		}
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		h.size = 4
	case 127:
		if len(b) < 10 {
			return h, false
		}
		h.Length = int64(binary.BigEndian.Uint64(b[2:]))
		h.size = 10
	default:
		h.Length = int64(n)
	}
	if h.Masked {
		if len(b) < h.size+4 {
			return h, false
		}
		copy(h.Mask[:], b[h.size:])
		h.size += 4
	}
	return h, true
}
