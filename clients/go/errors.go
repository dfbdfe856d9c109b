package client

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrClosed is returned for what cannot be done any more, after Close or after the end of Run or of a Conn.
	ErrClosed = errors.New("client: closed")
	// ErrStarted is returned by a second call of Run.
	ErrStarted = errors.New("client: Run was called before")
	// ErrHandover is what OnDisconnect gets where another connection has taken the place of one that is still open.
	ErrHandover = errors.New("client: another connection has taken over")
	// ErrTooLarge is returned for a message over Options.ReadLimit from the server, and before sending a frame that is
	// over the max_message of the pod's welcome.
	ErrTooLarge = errors.New("client: message too large")
	// ErrSilent is returned where the server has sent nothing for its ping interval and Options.Grace.
	ErrSilent = errors.New("client: server silent")
	// ErrBadFrame is returned where the server sent what is not one JSON object with a type, or no welcome first.
	ErrBadFrame = errors.New("client: bad frame from the server")
	// ErrProtocol is returned where the server broke RFC 6455.
	ErrProtocol = errors.New("client: WebSocket protocol error by the server")
	// ErrDuplicateID is returned by RequestID while a request with the same id waits for its receipt.
	ErrDuplicateID = errors.New("client: a request with this id is under way")
)

// A CloseError is the server's close frame.
type CloseError struct {
	// Code as sent; 1005 where the frame had none (RFC 6455, section 7.1.5).
	Code int
	// Reason as sent, at most 123 bytes.
	Reason string
	// RetryAfter is the retry_ms in the reason; negative where there is none.
	RetryAfter time.Duration
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("client: closed by the server: %d", e.Code)
	}
	return fmt.Sprintf("client: closed by the server: %d %q", e.Code, e.Reason)
}

// Final reports whether the client is to stay away. A Client that gets fresh tokens comes again after 4001 all the same.
func (e *CloseError) Final() bool {
	switch e.Code {
	case 1000, 1002, 1003, 1007, 1009: // normal, or the client's own fault
		return true
	case 4001, 4003: // refused, as by HTTP 401 and 403
		return true
	}
	// 4500 revoked or blocked, 4501 replaced, from 4600 the producer's own. Those between are not in use; they are
	// taken for what their neighbours are.
	return e.Code >= 4500
}

// maxRetryAfter bounds what a server may ask for: a garbled number must not put a client to sleep for ever.
const maxRetryAfter = time.Hour

func newCloseError(code int, reason string) *CloseError {
	e := &CloseError{Code: code, Reason: reason, RetryAfter: -1}
	for _, word := range strings.FieldsFunc(reason, func(r rune) bool { return r == ' ' || r == ',' || r == ';' }) {
		if value, ok := strings.CutPrefix(word, "retry_ms="); ok {
			if ms, err := strconv.ParseUint(value, 10, 32); err == nil {
				e.RetryAfter = min(time.Duration(ms)*time.Millisecond, maxRetryAfter)
			}
		}
	}
	return e
}

// A HandshakeError is an HTTP answer other than 101.
type HandshakeError struct {
	// Status is the HTTP status.
	Status int
	// Code and Reason are the members error and reason of the JSON body; empty where the answer had none.
	Code, Reason string
	// RetryAfter is the header Retry-After (RFC 9110, section 10.2.3); zero where there is none.
	RetryAfter time.Duration
}

func (e *HandshakeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "client: handshake refused: %d", e.Status)
	if e.Code != "" {
		fmt.Fprintf(&b, " %q", e.Code)
	} else if text := http.StatusText(e.Status); text != "" {
		fmt.Fprintf(&b, " %s", text)
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, ": %q", e.Reason)
	}
	return b.String()
}

// Final reports whether the same handshake would be refused again. A Client that gets fresh tokens comes again after 401
// all the same.
func (e *HandshakeError) Final() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return true
	}
	return e.Status < 500
}

// A RejectedError is a receipt that says rejected.
type RejectedError struct {
	// ID of the request.
	ID string
	// Code is one of bad_frame, unknown_type, not_allowed, too_large, rate, unavailable. The last means that it is not
	// known whether the backend gets the request: repeat it with RequestID and the same ID.
	Code string
	// Reason is for people.
	Reason string
}

func (e *RejectedError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("client: request rejected: %s", e.Code)
	}
	return fmt.Sprintf("client: request rejected: %s: %q", e.Code, e.Reason)
}
