package client

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// A frameReader puts frames together to messages (RFC 6455, section 5). A read that ended at its deadline leaves it
// where it was: the next one goes on from there.
type frameReader struct {
	br    *bufio.Reader
	limit int64 // bytes of a message

	inside     bool // header has been read, payload has not, or not all of it
	header     ws.Header
	payload    []byte
	fragmented bool   // a message has begun
	message    []byte // its fragments so far
}

// next returns the next control frame, or the next text message whole. The payload is the caller's.
func (r *frameReader) next() (ws.OpCode, []byte, error) {
	for {
		if err := r.frame(); err != nil {
			return 0, nil, err
		}
		h, payload := r.header, r.payload
		r.inside, r.payload = false, nil
		if h.OpCode.IsControl() {
			return h.OpCode, payload, nil
		}
		if r.fragmented {
			payload = append(r.message, payload...)
		}
		r.fragmented, r.message = !h.Fin, nil
		if !h.Fin {
			r.message = payload
			continue
		}
		if !utf8.Valid(payload) {
			return 0, nil, &protocolError{ws.StatusInvalidFramePayloadData, fmt.Errorf("%w: text is not UTF-8", ErrProtocol)}
		}
		return ws.OpText, payload, nil
	}
}

// frame reads header and payload of one frame, or what is missing of them.
func (r *frameReader) frame() error {
	if !r.inside {
		h, err := r.readHeader()
		if err != nil {
			return err
		}
		if err := r.check(h); err != nil {
			return err
		}
		r.inside, r.header = true, h
	}
	// What the header claims is believed piece by piece only, as it comes.
	const piece = 32 << 10
	for {
		have := len(r.payload)
		missing := r.header.Length - int64(have)
		if missing == 0 {
			return nil
		}
		size := int(min(missing, piece))
		r.payload = slices.Grow(r.payload, size)
		n, err := r.br.Read(r.payload[have : have+size])
		r.payload = r.payload[:have+n]
		if err != nil {
			return err
		}
	}
}

// readHeader consumes nothing unless the header is there as a whole.
func (r *frameReader) readHeader() (ws.Header, error) {
	b, err := r.br.Peek(ws.MinHeaderSize)
	if err != nil {
		return ws.Header{}, err
	}
	size := ws.MinHeaderSize
	switch b[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if b[1]&0x80 != 0 {
		size += 4
	}
	if b, err = r.br.Peek(size); err != nil {
		return ws.Header{}, err
	}
	h, err := ws.ReadHeader(bytes.NewReader(b))
	if err != nil {
		return h, &protocolError{ws.StatusProtocolError, fmt.Errorf("%w: %w", ErrProtocol, err)}
	}
	_, err = r.br.Discard(size)
	return h, err
}

func (r *frameReader) check(h ws.Header) error {
	state := ws.StateClientSide
	if r.fragmented {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return &protocolError{ws.StatusProtocolError, fmt.Errorf("%w: %w", ErrProtocol, err)}
	}
	if h.OpCode == ws.OpBinary {
		return &protocolError{ws.StatusUnsupportedData, fmt.Errorf("%w: binary message", ErrProtocol)}
	}
	if h.OpCode.IsData() && h.Length > r.limit-int64(len(r.message)) {
		return &protocolError{ws.StatusMessageTooBig, fmt.Errorf("%w: over %d bytes", ErrTooLarge, r.limit)}
	}
	return nil
}

// A protocolError ends the connection with a close frame that says code.
type protocolError struct {
	code ws.StatusCode
	err  error
}

func (e *protocolError) Error() string { return e.err.Error() }
func (e *protocolError) Unwrap() error { return e.err }

// A patientReader reads from the network and says so to the deadline each time: the server is silent when nothing comes,
// not when a long message takes its time.
type patientReader struct {
	from     io.Reader
	deadline *readDeadline
}

func (r patientReader) Read(p []byte) (int, error) {
	r.deadline.extend()
	return r.from.Read(p)
}
