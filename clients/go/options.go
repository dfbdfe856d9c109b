package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options say where to connect, as whom, and what to do with what comes. Only URL is required. It is not changed, and
// must not be changed by others once it has been handed over.
type Options struct {
	// URL of the endpoint, ws://host:port/ws or wss://. A query in it is kept.
	URL string
	// User is sent as ?user=; empty sends none. Whether it is valid is for the pod to say.
	User string
	// Ping is sent as ?ping=: "app" or "app,SECONDS" asks for pings as text frames, which a Client answers. Empty
	// leaves the pod with WebSocket pings.
	Ping string
	// Header is added to the handshake request, for cookies and authorization.
	Header http.Header
	// Token returns a token of the user, which each handshake sends as Authorization: Bearer, in place of such a field
	// in Header. It is called before each attempt to connect, and by Refresh: a fresh one after the pod has said that
	// the one before expired or is not accepted. Its error counts as a failure to connect. nil means no token.
	Token func(ctx context.Context) (string, error)
	// TLS is for wss:// URLs; nil means Go's defaults.
	TLS *tls.Config
	// NetDial opens the TCP connection; nil means a plain net.Dialer.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)

	// HandshakeTimeout bounds TCP, TLS and HTTP handshake together, and after them the wait for welcome. Zero: 10 s.
	HandshakeTimeout time.Duration
	// ReadLimit is the largest message taken from the server, in bytes; a larger one breaks the connection with
	// ErrTooLarge. Zero: 16 MiB.
	ReadLimit int64
	// ReadBuffer is the size in bytes of each connection's read buffer. Zero: 4096; at least 16.
	ReadBuffer int

	// What follows is for New only; Dial ignores it. The callbacks run on Run's goroutine, one at a time: while one
	// of them runs, at most one more frame of each connection is read. They must not call Request or Refresh, whose receipt
	// could not be heard; they may call Close.

	// OnConnect is called for each connection, when its welcome has come.
	OnConnect func(Welcome)
	// OnMessage is called for each push whose id has not been seen before.
	OnMessage func(Message)
	// OnDisconnect is called when a connection that had its welcome has ended, with the reason. It and OnConnect are
	// called by turns: where another connection takes the place of one that is still open, the reason is ErrHandover, and
	// OnConnect follows at once. Nothing was missed then, and what still comes over the old one goes to OnMessage.
	OnDisconnect func(error)
	// OnRetry is called before each wait for the next attempt while there is no connection, with the reason and the
	// length of the wait.
	OnRetry func(err error, wait time.Duration)
	// OnFrame is called for each frame as it came, of any type and before anything else is done with it.
	OnFrame func(Frame)

	// NoReconnect makes Run return at the first end of the connection or the first failure to get one.
	NoReconnect bool
	// NoHandover makes a Client wait for the close of a connection before it opens another one. Otherwise it sends
	// ?goaway=1, so that a pod that is about to close the connection says so before, and loses nothing; see the
	// package comment. With NoReconnect there is no handover either.
	NoHandover bool
	// Backoff bounds the waits where the server names none.
	Backoff Backoff
	// SeenIDs is how many message ids are remembered, across connections, to drop doubles. Zero: 1024; negative: none.
	SeenIDs int
	// Grace is added to the ping interval that welcome names: a server silent for longer is taken for dead. Zero: 10 s.
	Grace time.Duration

	goaway   bool   // a Client asks to be told before a close
	replaces string // the UUID of the connection whose place the next one takes; empty: of none
}

// handsOver reports whether a Client opens the next connection before the last one is closed.
func (o Options) handsOver() bool { return !o.NoHandover && !o.NoReconnect }

// Backoff bounds the waits between attempts: before attempt n in a row, a wait drawn uniformly from zero to
// Min × 2ⁿ⁻¹, at most Max. A connection that has lasted for Max starts the count anew.
type Backoff struct {
	Min time.Duration // Zero: 500 ms.
	Max time.Duration // Zero: 30 s; at least Min.
}

// withDefaults returns o with its zero values replaced, or an error that names the option, its value, and what is
// allowed.
func (o Options) withDefaults() (Options, error) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"HandshakeTimeout", &o.HandshakeTimeout, 10 * time.Second},
		{"Grace", &o.Grace, 10 * time.Second},
		{"Backoff.Min", &o.Backoff.Min, 500 * time.Millisecond},
		{"Backoff.Max", &o.Backoff.Max, max(30*time.Second, o.Backoff.Min)},
	} {
		if *d.value < 0 {
			return o, fmt.Errorf("client: option %s is %v: a positive duration is allowed, or 0 for %v", d.name, *d.value, d.def)
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.Backoff.Max < o.Backoff.Min {
		return o, fmt.Errorf("client: option Backoff.Max is %v: at least Backoff.Min (%v) is allowed", o.Backoff.Max, o.Backoff.Min)
	}
	if o.ReadLimit == 0 {
		o.ReadLimit = 16 << 20
	}
	if o.ReadLimit < 0 {
		return o, fmt.Errorf("client: option ReadLimit is %d: a positive number of bytes is allowed, or 0 for 16 MiB", o.ReadLimit)
	}
	if o.ReadBuffer == 0 {
		o.ReadBuffer = 4096
	}
	if o.ReadBuffer < 16 {
		// A frame header, at most 14 bytes, must fit.
		return o, fmt.Errorf("client: option ReadBuffer is %d: at least 16 bytes are allowed, or 0 for 4096", o.ReadBuffer)
	}
	if o.SeenIDs == 0 {
		o.SeenIDs = 1024
	}
	if _, err := o.address(); err != nil {
		return o, err
	}
	return o, nil
}

// address returns the URL to connect to, with the query that the options ask for.
func (o Options) address() (string, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		if cause := (*url.Error)(nil); errors.As(err, &cause) {
			err = cause.Err // the rest of its text repeats the URL
		}
		return "", fmt.Errorf("client: option URL is %q: %w", o.URL, err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("client: option URL is %q: ws://HOST[:PORT]/PATH or wss://HOST[:PORT]/PATH is allowed", o.URL)
	}
	query := u.Query()
	if o.User != "" {
		query.Set("user", o.User)
	}
	if o.Ping != "" {
		query.Set("ping", o.Ping)
	}
	if o.goaway {
		query.Set("goaway", "1")
	}
	if o.replaces != "" {
		query.Set("replaces", o.replaces)
	}
	// A space as %20, which every reader of a query understands; "+" only those of HTML forms.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String(), nil
}
