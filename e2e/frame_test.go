package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/gobwas/ws"
)

// A frame is one of a client's, masked, as bytes.
func frame(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload))))
}

// text returns a whole text message.
func text(s string) []byte { return frame(ws.OpText, true, s) }

// closing returns a close frame with a status code.
func closing(code int, reason string) []byte {
	return frame(ws.OpClose, true, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// readFrame reads one frame of the server's and checks what RFC 6455 asks of
// it: no reserved bit, no mask, whole control frames of at most 125 bytes.
func readFrame(br *bufio.Reader) (ws.Header, []byte, error) {
	h, err := ws.ReadHeader(br)
	switch {
	case err != nil:
		return h, nil, err
	case h.Rsv != 0 || h.Masked || h.OpCode.IsControl() && (!h.Fin || h.Length > ws.MaxControlFramePayloadSize) || h.Length > 64<<20:
		return h, nil, fmt.Errorf("server's frame is against the rules: %+v", h)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(br, payload); err != nil {
		return h, nil, fmt.Errorf("the end within a frame of %d bytes: %w", h.Length, err)
	}
	return h, payload, nil
}
