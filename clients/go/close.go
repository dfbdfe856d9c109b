package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const (
	// closeTimeout bounds the closing handshake.
	closeTimeout = 2 * time.Second
	// lingerTimeout bounds the wait for the server to close TCP first (RFC 6455, section 7.1.1), which leaves
	// TIME_WAIT with it and saves the last bytes from a reset.
	lingerTimeout = time.Second
)

// Close sends a close frame, waits up to 2 s for the server's, and closes TCP. Code 0 sends none in it; reason is at most
// 123 bytes. Frames that come meanwhile are dropped. It returns nil where the server has answered, or had closed before;
// the connection is closed in any case.
func (c *Conn) Close(code int, reason string) error {
	defer c.shut(nil)
	var body []byte
	if code != 0 {
		if code < 0 || code > 0xffff || len(reason) > ws.MaxControlFramePayloadSize-2 {
			return fmt.Errorf("client: close with code %d and a reason of %d bytes: a code up to 65535 and 123 bytes are allowed", code, len(reason))
		}
		body = ws.NewCloseFrameBody(ws.StatusCode(code), reason)
	}
	c.deadline.endIn(closeTimeout)
	if err := c.writeClose(body); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	// Whoever is in Next reads on, at most until the deadline; what is left then is read here.
	c.reading <- struct{}{}
	defer func() { <-c.reading }()
	for c.err == nil {
		_, _ = c.next()
	}
	if closed := (*CloseError)(nil); errors.As(c.err, &closed) {
		return nil
	}
	return fmt.Errorf("client: close: %w", c.err)
}

// leave sends a close frame and leaves the reading to whoever is in Next: what the server has sent before it got the frame
// is not lost. Each read may take closeTimeout from now on.
func (c *Conn) leave() {
	c.deadline.setPatience(closeTimeout)
	_ = c.writeClose(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")) // no more can be done for a server that does not read
}

// closedByServer answers a close frame (RFC 6455, section 5.5.1) and returns what it said. Called by the holder of
// reading.
func (c *Conn) closedByServer(payload []byte) error {
	defer c.shut(nil)
	code, reason := ws.ParseCloseFrameData(payload)
	answer, said := payload[:min(2, len(payload))], error(newCloseError(int(code), reason))
	switch {
	case len(payload) == 0:
		said = newCloseError(int(ws.StatusNoStatusRcvd), "")
	case len(payload) == 1, !sendable(code), !utf8.ValidString(reason):
		said = fmt.Errorf("%w: close frame with code %d and reason %q", ErrProtocol, code, reason)
		answer = ws.NewCloseFrameBody(ws.StatusProtocolError, "")
	}
	_ = c.writeClose(answer) // ErrClosed where this was the answer to ours
	c.linger()
	return said
}

// sendable reports whether a close frame may have the code (RFC 6455, section 7.4, and IANA's registry, which has 1012
// to 1014 as well).
func sendable(code ws.StatusCode) bool {
	return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006) || code >= 3000 && code <= 4999
}

func (c *Conn) writeClose(body []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return c.write(ctx, ws.OpClose, body, closeTimeout)
}

// linger reads until the server closes TCP. Called by the holder of reading, when nothing more is to come.
func (c *Conn) linger() {
	c.deadline.endIn(lingerTimeout)
	_, _ = io.Copy(io.Discard, c.frames.br)
}

// shut closes TCP. The first cause counts; nil stands for the regular end.
func (c *Conn) shut(cause error) {
	c.doneOnce.Do(func() {
		c.cause = cause
		_ = c.net.Close() // there is nothing to be done about an error here
		close(c.done)
	})
}
