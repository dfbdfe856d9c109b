package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// AppendHeader appends the header of a final frame of ours, whose payload has n
// bytes (RFC 6455 section 5.2).
func AppendHeader(dst []byte, op Op, n int) []byte {
	first := 0x80 | byte(op)
	switch HeaderSize(n) {
	case 2:
		return append(dst, first, byte(n))
	case 4:
		return append(dst, first, length16, byte(n>>8), byte(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, length64), uint64(n))
	}
}

// HeaderSize is the size of the header that [AppendHeader] appends.
func HeaderSize(n int) int { return 2 + lengthSize(int64(n)) }

const (
	length16 = 126 // the length follows in 2 bytes
	length64 = 127 // the length follows in 8 bytes
)

// lengthSize is how many bytes a length takes behind the first two, in its
// shortest form.
func lengthSize(n int64) int {
	switch {
	case n < length16:
		return 0
	case n < 1<<16:
		return 2
	default:
		return 8
	}
}

// AppendFrame appends a final frame of ours.
func AppendFrame(dst []byte, op Op, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendClose appends a close frame. A reason over [MaxReason] bytes, or that is
// not UTF-8, is cut before what is too much or wrong; without a code there is
// none (RFC 6455 section 5.5.1).
func AppendClose(dst []byte, code Code, reason string) []byte {
	if code == CodeNone {
		return AppendHeader(dst, OpClose, 0)
	}
	reason = reason[:min(len(reason), MaxReason)]
	for !utf8.ValidString(reason) {
		reason = reason[:len(reason)-1]
	}
	dst = AppendHeader(dst, OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}
