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

	finBit  = 0x80
	maskBit = 0x80

	maxHeader  = 10  // a server's frames are not masked
	maxControl = 125 // bytes in a control frame
)

var errFrame = errors.New("bench: the server sent a frame that breaks RFC 6455: masked, or a control frame that is fragmented or too long")

// frame is one WebSocket frame that has arrived whole. Its head, the first
// bytes of the payload and at least 125 where there are so many, is valid
// until the parser is used again.
type frame struct {
	op   byte
	fin  bool
	head []byte
}

// parser takes a server's byte stream apart. It keeps no payload beyond the
// head of a frame that is still on its way.
type parser struct {
	left    uint64 // bytes of the payload that are still to come
	partial bool   // the header is complete, the payload isn't
	op      byte
	fin     bool
	nHeader uint8
	nHead   uint8
	header  [maxHeader]byte
	head    [maxControl]byte
}

// next takes the first frame off in, and returns the rest. It returns ok false
// where in ends before the frame does; then all of in has been taken.
func (p *parser) next(in []byte) (f frame, rest []byte, ok bool, err error) {
	if !p.partial {
		length, rest, ok := p.takeHeader(in)
		if !ok {
			return frame{}, nil, false, nil
		}
		in = rest
		if p.header[1]&maskBit != 0 || p.op >= opClose && (length > maxControl || !p.fin) {
			return frame{}, nil, false, errFrame
		}
		if uint64(len(in)) >= length { // the usual case: nothing is copied
			return frame{p.op, p.fin, in[:length]}, in[length:], true, nil
		}
		p.left, p.partial, p.nHead = length, true, 0
	}
	take := int(min(p.left, uint64(len(in))))
	p.nHead += uint8(copy(p.head[p.nHead:], in[:take]))
	p.left -= uint64(take)
	if p.left > 0 {
		return frame{}, nil, false, nil
	}
	p.partial = false
	return frame{p.op, p.fin, p.head[:p.nHead]}, in[take:], true, nil
}

// takeHeader takes the header off in, which may bring it in pieces.
func (p *parser) takeHeader(in []byte) (length uint64, rest []byte, ok bool) {
	for {
		need := uint8(2) // which tell the rest
		if p.nHeader >= need {
			need = headerSize(p.header[1])
		}
		n := copy(p.header[p.nHeader:need], in)
		p.nHeader += uint8(n)
		in = in[n:]
		if p.nHeader < need {
			return 0, nil, false
		}
		if p.nHeader == headerSize(p.header[1]) {
			break
		}
	}
	p.op, p.fin = p.header[0]&0x0f, p.header[0]&finBit != 0
	p.nHeader = 0
	switch length = uint64(p.header[1] & 0x7f); length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(p.header[2:]))
	case 127:
		length = binary.BigEndian.Uint64(p.header[2:])
	}
	return length, in, true
}

func headerSize(second byte) uint8 {
	switch second & 0x7f {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
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
