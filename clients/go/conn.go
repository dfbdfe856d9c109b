package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// A Conn is one WebSocket connection to a pod. It does not reconnect, drops no doubles and answers no pings of type
// ping; WebSocket pings it answers while somebody is in Next.
//
// All methods may be called from any goroutine, at any time. Frames are read by Next alone: without a reader no ping is
// answered, no pong seen and no close frame noticed.
type Conn struct {
	net      net.Conn      // static
	done     chan struct{} // closed when TCP has been closed
	doneOnce sync.Once
	cause    error // why a writer closed it; set before done is closed

	reading chan struct{} // a semaphore of one; its holder owns the next two
	frames  frameReader
	err     error // why nothing can be read any more

	writing   chan struct{} // a semaphore of one; its holder owns the next
	closeSent bool          // a close frame is the last that may be written

	deadline readDeadline
	pings    pings
}

// writeTimeout bounds a write. A frame that is half written can't be taken back: the connection is closed then.
const writeTimeout = 10 * time.Second

// Next returns the next text frame. It answers WebSocket pings meanwhile. When ctx ends first, it returns ctx's error,
// nothing is lost, and Next may be called again. Any other error is the end of the connection and is returned by all
// later calls: a *CloseError where the server sent a close frame (which has been answered), ErrProtocol, ErrTooLarge or
// ErrBadFrame where the server broke the rules, ErrClosed after Close.
func (c *Conn) Next(ctx context.Context) (Frame, error) {
	if err := ctx.Err(); err != nil {
		return Frame{}, fmt.Errorf("client: wait for a frame: %w", err)
	}
	select {
	case c.reading <- struct{}{}:
	case <-ctx.Done():
		return Frame{}, fmt.Errorf("client: wait for a frame: %w", ctx.Err())
	}
	defer func() { <-c.reading }()
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.deadline.cancel()
		close(cancelled)
	})
	f, err := c.next()
	if !stop() {
		<-cancelled
		c.deadline.lift()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return Frame{}, fmt.Errorf("client: wait for a frame: %w", ctx.Err())
		}
	}
	return f, err
}

// Welcome returns the first frame of the connection, which must be a welcome. It must be called before Next, if at all.
func (c *Conn) Welcome(ctx context.Context) (Welcome, error) {
	f, err := c.Next(ctx)
	if err != nil {
		return Welcome{}, err
	}
	return welcomeOf(f)
}

func welcomeOf(f Frame) (Welcome, error) {
	if f.Type != "welcome" {
		return Welcome{}, fmt.Errorf("%w: %q where welcome was expected", ErrBadFrame, f.Type)
	}
	return f.Welcome, nil
}

// nextFrame is Next without a context.
func (c *Conn) nextFrame() (Frame, error) {
	c.reading <- struct{}{}
	defer func() { <-c.reading }()
	return c.next()
}

// next is called by the holder of reading.
func (c *Conn) next() (Frame, error) {
	for c.err == nil {
		op, payload, err := c.frames.next()
		if err != nil {
			return Frame{}, c.readFailed(err)
		}
		switch op {
		case ws.OpPing:
			// A failed write closes the connection, which the next read tells.
			_ = c.write(context.Background(), ws.OpPong, payload, writeTimeout)
		case ws.OpPong:
			c.pings.answered(payload)
		case ws.OpClose:
			c.err = c.closedByServer(payload)
		default:
			f, err := parseFrame(payload)
			if err != nil {
				return f, c.readFailed(&protocolError{ws.StatusProtocolError, err})
			}
			return f, nil
		}
	}
	return Frame{}, c.err
}

// readFailed returns the error for the reader. It is the end of the connection, unless a context ended the read.
func (c *Conn) readFailed(err error) error {
	var broken *protocolError
	switch {
	case errors.As(err, &broken):
		c.err = broken.err
		_ = c.writeClose(ws.NewCloseFrameBody(broken.code, ""))
		c.linger()
	case errors.Is(err, os.ErrDeadlineExceeded):
		switch c.deadline.reached() {
		case cancelled:
			return fmt.Errorf("client: read: %w", err)
		case closing:
			c.err = fmt.Errorf("%w: no answer to the close frame", ErrClosed)
		default:
			c.err = ErrSilent
		}
	case errors.Is(err, io.EOF):
		c.err = fmt.Errorf("client: read: %w", io.ErrUnexpectedEOF) // a close frame must come first
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		c.err = ErrClosed
		c.shut(nil) // done is closed by then, or just being closed
		if c.cause != nil {
			c.err = c.cause
		}
	default:
		c.err = fmt.Errorf("client: read: %w", err)
	}
	c.shut(c.err)
	return c.err
}

// Send writes v as JSON in one text frame.
func (c *Conn) Send(ctx context.Context, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("client: encode frame: %w", err)
	}
	return c.SendText(ctx, text)
}

// SendText writes one text frame. Nothing is checked: what the pod does not allow, it will answer. ctx bounds the wait
// for the frames before it; its own writing ends in 10 s, where a failure closes the connection.
func (c *Conn) SendText(ctx context.Context, text []byte) error {
	return c.write(ctx, ws.OpText, text, writeTimeout)
}

// Done is closed when the connection has been closed, for whatever reason.
func (c *Conn) Done() <-chan struct{} { return c.done }

// NetConn returns what is underneath, for those who want to break it. Reading from it takes frames away from Next.
func (c *Conn) NetConn() net.Conn { return c.net }

func (c *Conn) write(ctx context.Context, op ws.OpCode, payload []byte, timeout time.Duration) error {
	select {
	case c.writing <- struct{}{}:
	case <-c.done:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("client: write: %w", ctx.Err())
	}
	defer func() { <-c.writing }()
	select {
	case <-c.done:
		return ErrClosed
	default:
	}
	if c.closeSent {
		return ErrClosed
	}
	c.closeSent = op == ws.OpClose
	_ = c.net.SetWriteDeadline(time.Now().Add(timeout)) // where it fails, so does the write
	if _, err := c.net.Write(maskedFrame(op, payload)); err != nil {
		err = fmt.Errorf("client: write: %w", err)
		c.shut(err)
		return err
	}
	return nil
}

// maskedFrame returns the bytes of one frame; payload is copied, for masking (RFC 6455, section 5.3) would ruin it.
func maskedFrame(op ws.OpCode, payload []byte) []byte {
	h := ws.Header{Fin: true, OpCode: op, Masked: true, Mask: ws.NewMask(), Length: int64(len(payload))}
	var b bytes.Buffer
	b.Grow(ws.MaxHeaderSize + len(payload))
	_ = ws.WriteHeader(&b, h) // a buffer takes all, and no slice is too long for a header
	size := b.Len()
	b.Write(payload)
	ws.Cipher(b.Bytes()[size:], h.Mask, 0)
	return b.Bytes()
}
