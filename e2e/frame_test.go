package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// WebSocket opcodes (RFC 6455 section 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// A rawFrame is one frame of RFC 6455 section 5.2, written here without a
// library so that wrong ones can be made.
type rawFrame struct {
	first    byte // FIN, RSV1-3 and the opcode
	unmasked bool
	declared uint64 // length in the header, where it is not the payload's
	payload  []byte
}

const finBit = 0x80

// text returns a whole text message.
func text(s string) rawFrame { return rawFrame{first: finBit | opText, payload: []byte(s)} }

// control returns a control frame.
func control(opcode byte, payload string) rawFrame {
	return rawFrame{first: finBit | opcode, payload: []byte(payload)}
}

// closing returns a close frame with a status code.
func closing(code int, reason string) rawFrame {
	return control(opClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// bytes returns the frame as a client sends it.
func (f rawFrame) bytes() []byte {
	n := f.declared
	if n == 0 {
		n = uint64(len(f.payload))
	}
	var mask byte = 0x80
	if f.unmasked {
		mask = 0
	}
	b := []byte{f.first}
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), n)
	}
	if f.unmasked {
		return append(b, f.payload...)
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	for i, c := range f.payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// join returns the bytes of several frames.
func join(frames ...rawFrame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.bytes()...)
	}
	return b
}

// readFrame reads one frame of the server's and checks what RFC 6455 asks of
// it: no reserved bit, no mask, whole control frames of at most 125 bytes.
func readFrame(br *bufio.Reader) (first byte, payload []byte, err error) {
	first, err = br.ReadByte()
	if err != nil {
		return 0, nil, err // between two frames: the end
	}
	second, err := br.ReadByte()
	if err != nil {
		return 0, nil, fmt.Errorf("the end within a frame's header: %w", cut(err))
	}
	n := uint64(second & 0x7f)
	switch n {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(br, b[:]); err != nil {
			return 0, nil, fmt.Errorf("the end within a frame's header: %w", cut(err))
		}
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(br, b[:]); err != nil {
			return 0, nil, fmt.Errorf("the end within a frame's header: %w", cut(err))
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	isControl := first&0x08 != 0
	switch {
	case first&0x70 != 0:
		return 0, nil, fmt.Errorf("server's frame with reserved bits: %#x", first)
	case second&0x80 != 0:
		return 0, nil, fmt.Errorf("server's frame is masked")
	case isControl && (first&finBit == 0 || n > 125):
		return 0, nil, fmt.Errorf("server's control frame %#x of %d bytes", first, n)
	case n > 64<<20:
		return 0, nil, fmt.Errorf("server's frame of %d bytes", n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(br, payload); err != nil {
		return 0, nil, fmt.Errorf("the end within a frame of %d bytes: %w", n, cut(err))
	}
	return first, payload, nil
}

// cut makes an end that comes too soon distinct from one between frames.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
