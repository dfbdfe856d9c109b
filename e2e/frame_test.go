package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// A frame is one of a client's, masked, as bytes.
func frame(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload))))
}

// unmasked is one as only a server may send it.
func unmasked(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.NewFrame(op, fin, []byte(payload)))
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

// What no server may send must not pass: else no other test means anything.
func TestServersFramesAreChecked(t *testing.T) {
	t.Parallel()
	if got := acceptOf(handshakeKey); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("Sec-WebSocket-Accept %s (RFC 6455 section 1.3)", got)
	}
	for name, bad := range map[string]string{
		"masked": "\x81\x80\x00\x00\x00\x00", "reserved": "\xc1\x00", "long ping": "\x89\x7e\x00\x7e" + strings.Repeat("x", 126), "cut": "\x81\x05He",
	} {
		if _, _, err := readFrame(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("a frame that is %s passes", name)
		}
	}
}
