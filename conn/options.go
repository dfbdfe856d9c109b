package conn

import (
	"crypto/tls"
	"net/netip"
	"runtime"
	"time"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/tlsloop"
)

// Policy says what happens to a connection whose send queue is full.
type Policy uint8

const (
	// Disconnect closes the connection with 1013 and a time to retry; one that is
	// still registering is refused with 503.
	Disconnect Policy = iota
	// DropNewest drops the message that does not fit.
	DropNewest
	// DropOldest drops from the head of the queue until the message fits.
	DropOldest
)

// String is the policy's name in the configuration.
func (p Policy) String() string {
	switch p {
	case DropNewest:
		return "drop_newest"
	case DropOldest:
		return "drop_oldest"
	}
	return "disconnect"
}

// Options configures a [Server]. A zero value of a field means its default.
type Options struct {
	// Admitter decides about handshakes. Required.
	Admitter Admitter
	// Headers are the header fields that the Admitter wants to see
	// (Request.Field), beside Host and Origin.
	Headers []string
	// Loops is how many loops share the connections; default GOMAXPROCS.
	Loops int
	// Portable chooses goroutines for each connection even where event loops are
	// to be had.
	Portable bool
	// IOUring has many connections be written to by one system call, where the
	// kernel lets the process; where not, and without it, and with TLS, by one each.
	IOUring bool
	// TLS has clients speak TLS, by the configuration that it returns for each
	// connection; nil: they don't. Another one may be returned from some moment on; none
	// may be changed once it was returned. It is called with a loop locked, from any
	// goroutine: it must not block.
	TLS func() *tls.Config
	// Network takes the place of the system's sockets; see package conntest.
	Network netloop.Network
	// MaxConns is how many descriptors accepted connections may take; one more
	// is answered with 503. 0: the process's limit less a reserve of 128, for the
	// program's other needs.
	MaxConns int
	// SendBuffer bounds what the system keeps of what was written to a connection
	// and is not acknowledged, in bytes (SO_SNDBUF): Linux takes up to twice as much
	// memory for it. 0: the system chooses, on Linux up to net.ipv4.tcp_wmem, 4 MiB.
	SendBuffer int
	// ProxyProtocol has each connection begin with a header of the PROXY protocol,
	// which tells the client's address. Only peers that TrustProxy trusts may connect;
	// nil: none. It is called with a loop locked.
	ProxyProtocol bool
	TrustProxy    func(peer netip.Addr) bool
	// AppPing is the text message that stands in for a WebSocket ping where the
	// client asked for it.
	AppPing []byte
	// Now is the clock for messages' expiry and age: Unix milliseconds.
	Now func() int64

	// Settings are what the server starts with; see [Server.Set].
	Settings
}

// Settings are the options that may differ from one moment to the next: loops
// read them each time, by Loop.settings. A zero value of a field means its default.
type Settings struct {
	// MaxMessage bounds a client's message in bytes, over all its fragments.
	MaxMessage int
	// QueueBytes bounds the memory that what waits for one connection takes, in
	// bytes: blocks of 1 KiB, and frames, which count for each connection that they
	// wait for. One message is taken whatever its size where nothing waits; 16 KiB of
	// control frames and receipts may wait beside it.
	QueueBytes int
	// SlowConsumer is what happens beyond QueueBytes.
	SlowConsumer Policy
	// Ping is how often the server pings; PingTimeout how long it waits for
	// any sign of life after that.
	Ping, PingTimeout time.Duration
	// HandshakeTimeout bounds the time from accept to the whole request.
	HandshakeTimeout time.Duration
	// MaxHeader bounds the request's header in bytes.
	MaxHeader int
	// MaxAge closes a connection with 1001 after this time ± a tenth; 0: never.
	MaxAge time.Duration
	// Renew is how often Owner.Renew is called for an open connection, with
	// jitter; 0: never.
	Renew time.Duration
	// FramesPerSecond bounds a client's frames, of every kind; 0: no bound.
	FramesPerSecond int
}

const (
	closeTimeout  = 5 * time.Second // from the decision to close to the end of TCP
	leastClose    = time.Second     // of it, after the close frame
	refuseTimeout = 2 * time.Second // for the peer to read an HTTP answer
)

func (o Options) withDefaults() Options {
	orDefault(&o.Loops, runtime.GOMAXPROCS(0))
	if o.MaxConns == 0 {
		o.MaxConns = descriptorLimit()
	}
	if o.AppPing == nil {
		o.AppPing = []byte(`{"type":"ping"}`)
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixMilli() }
	}
	return o
}

func (s Settings) withDefaults() Settings {
	orDefault(&s.MaxMessage, 64<<10)
	orDefault(&s.QueueBytes, 256<<10)
	orDefault(&s.MaxHeader, 16<<10)
	orDefault(&s.Ping, 25*time.Second)
	orDefault(&s.PingTimeout, 10*time.Second)
	orDefault(&s.HandshakeTimeout, 5*time.Second)
	return s
}

func orDefault[T comparable](v *T, d T) {
	if *v == *new(T) {
		*v = d
	}
}

// network returns what the loops are made of.
func (o *Options) network() netloop.Network {
	if o.TLS != nil {
		return tlsloop.New(o.sockets(false), o.TLS) // it makes one write after the other
	}
	return o.sockets(o.IOUring)
}

// sockets returns the network of the sockets themselves.
func (o *Options) sockets(ioUring bool) netloop.Network {
	switch {
	case o.Network != nil:
		return o.Network
	case o.Portable:
		return netloop.NewPortable()
	}
	return netloop.New(ioUring)
}
