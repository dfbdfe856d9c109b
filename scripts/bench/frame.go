//go:build linux

package main

import (
	"encoding/binary"
	"errors"
)

// RFC 6455, section 5.2.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10

	finBit     = 0x80
	maskBit    = 0x80
	maxControl = 125 // bytes in a control frame
)

var errFrame = errors.New("bench: the server sent a frame that breaks RFC 6455: masked, or a control frame that is fragmented or too long")

// takeFrame takes the first frame of a server off b. It returns ok false, and all of
// b, where b ends before the frame does.
func takeFrame(b []byte) (op byte, payload, rest []byte, ok bool, err error) {
	if len(b) < 2 {
		return 0, nil, b, false, nil
	}
	op = b[0] & 0x0f
	head, length := 2, uint64(b[1]&^maskBit)
	switch {
	case b[1]&maskBit != 0 || op >= opClose && (length > maxControl || b[0]&finBit == 0):
		return 0, nil, b, false, errFrame
	case length == 126 && len(b) >= 4:
		head, length = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case length == 127 && len(b) >= 10:
		head, length = 10, binary.BigEndian.Uint64(b[2:])
	case length >= 126:
		return 0, nil, b, false, nil
	}
	if uint64(len(b)-head) < length {
		return 0, nil, b, false, nil
	}
	end := head + int(length)
	return op, b[head:end], b[end:], true, nil
}

// appendServerFrame appends a frame as a server sends it.
func appendServerFrame(dst []byte, op byte, payload []byte) []byte {
	return append(appendHeader(dst, op, 0, len(payload)), payload...)
}

// appendClientFrame appends a frame as a client sends it, with a mask of
// zeros: RFC 6455 asks for one that can't be predicted, against proxies that
// are fooled, which a load tool need not do.
func appendClientFrame(dst []byte, op byte, payload []byte) []byte {
	dst = append(appendHeader(dst, op, maskBit, len(payload)), 0, 0, 0, 0)
	return append(dst, payload...)
}

func appendHeader(dst []byte, op, mask byte, length int) []byte {
	dst = append(dst, finBit|op)
	switch {
	case length < 126:
		return append(dst, mask|byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, mask|126), uint16(length))
	default:
		return binary.BigEndian.AppendUint64(append(dst, mask|127), uint64(length))
	}
}
