package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gobwas/ws"
)

// subprotocol is what pods speak.
const subprotocol = "pushpod.v1"

// Dial opens one connection and returns when the server has answered the handshake; welcome is the first frame that
// Next returns. ctx bounds the handshake only. The caller must call Close. A refusal is a *HandshakeError.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return dial(ctx, o)
}

// dial is Dial for options that have their defaults.
func dial(ctx context.Context, o Options) (*Conn, error) {
	address, err := o.address()
	if err != nil {
		return nil, err
	}
	header, err := o.header(ctx)
	if err != nil {
		return nil, err
	}
	var refused *HandshakeError
	dialer := ws.Dialer{
		Timeout:   o.HandshakeTimeout,
		Protocols: []string{subprotocol},
		Header:    ws.HandshakeHeaderHTTP(header),
		TLSConfig: o.TLS,
		NetDial:   o.NetDial,
		OnStatusError: func(status int, _ []byte, answer io.Reader) {
			refused = readRefusal(status, answer)
		},
	}
	conn, br, _, err := dialer.Dial(ctx, address)
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		if e := ctx.Err(); e == nil && errors.Is(err, context.DeadlineExceeded) {
			// Not the caller's context, but our own bound: it must not be taken for the former.
			err = fmt.Errorf("no answer within %v", o.HandshakeTimeout)
		}
		return nil, fmt.Errorf("client: connect to %s: %w", o.URL, err)
	}
	return newConn(conn, takeBuffered(br), o), nil
}

// takeBuffered returns the frames that came in one packet with the server's answer, and gives the buffer back.
func takeBuffered(br *bufio.Reader) []byte {
	if br == nil {
		return nil
	}
	rest, _ := br.Peek(br.Buffered()) // never waits: it is there
	rest = bytes.Clone(rest)
	ws.PutReader(br)
	return rest
}

// readRefusal reads as much of the answer as can be understood. The status is known anyway.
func readRefusal(status int, answer io.Reader) *HandshakeError {
	e := &HandshakeError{Status: status}
	response, err := http.ReadResponse(bufio.NewReader(answer), nil)
	if err != nil {
		return e
	}
	defer response.Body.Close()
	e.RetryAfter = parseRetryAfter(response.Header, time.Now())
	const enough = 4 << 10
	body, _ := io.ReadAll(io.LimitReader(response.Body, enough))
	var said struct{ Error, Reason string }
	if json.Unmarshal(body, &said) == nil {
		e.Code, e.Reason = said.Error, said.Reason
	}
	return e
}

// parseRetryAfter understands both forms, seconds and a date, and takes anything else for none.
func parseRetryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	// By the server's own clock where it tells it: ours may be off.
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

func newConn(conn net.Conn, rest []byte, o Options) *Conn {
	c := &Conn{
		net:     conn,
		reading: make(chan struct{}, 1),
		writing: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	c.deadline.conn = conn
	c.frames.limit = o.ReadLimit
	c.frames.br = bufio.NewReaderSize(patientReader{io.MultiReader(bytes.NewReader(rest), conn), &c.deadline}, o.ReadBuffer)
	return c
}
