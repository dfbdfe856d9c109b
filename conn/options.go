package conn

import (
	"runtime"
	"time"
)

// Policy says what happens to a connection whose send queue is full.
type Policy uint8

const (
	// Disconnect closes the connection with 1013 and a time to retry.
	Disconnect Policy = iota
	// DropNewest drops the message that does not fit.
	DropNewest
	// DropOldest drops from the head of the queue until the message fits.
	DropOldest
)

// Options configures a [Server]. A zero value of a field means its default.
type Options struct {
	// Handler decides about handshakes and receives messages. Required.
	Handler Handler
	// Loops is how many loops share the connections; default GOMAXPROCS.
	Loops int
	// Portable chooses the transport with a goroutine per connection even
	// where the event loops are to be had.
	Portable bool
	// IOUring has what is for many connections at once sent through io_uring,
	// where the kernel lets the process; where not, and without it, it is written
	// one by one.
	IOUring  bool
	ringFrom int // sockets from which on it is used
	sender   func() (sender, error)
	// Void is for benchmarks that hold more connections than there are
	// descriptors: connections come by Introduce alone, and have no socket. All
	// that is written to them counts as taken at once, and every ping is
	// answered. Nothing listens; Portable and IOUring say nothing then.
	Void bool
	// Gather bounds the rest between two large rounds of writes; 0: none.
	Gather time.Duration
	// MaxConns is how many descriptors accepted connections may take; one
	// more is answered with 503. 0: the process's limit less a reserve of
	// 128, for the program's other needs.
	MaxConns int

	// MaxMessage bounds a client's message in bytes, over all its fragments.
	MaxMessage int
	// QueueBytes bounds what waits for one connection, in bytes.
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
	// Renew is how often Handler.Renew is called for an open connection, with
	// jitter; 0: never.
	Renew time.Duration
	// FramesPerSecond bounds a client's frames, of every kind; 0: no bound.
	FramesPerSecond int

	// AppPing is the text message that stands in for a WebSocket ping where
	// the client asked for it.
	AppPing []byte
	// Now is the clock for messages' expiry and age: Unix milliseconds.
	Now func() int64
}

const (
	closeTimeout  = 5 * time.Second // from the pod's close frame to the end of TCP
	refuseTimeout = 2 * time.Second // for the peer to read an HTTP answer
)

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if o.Void {
		o.Portable, o.IOUring = false, false
	}
	def(&o.Loops, runtime.GOMAXPROCS(0))
	def(&o.ringFrom, 4)
	if o.sender == nil {
		o.sender = newSender
	}
	def(&o.MaxMessage, 64<<10)
	def(&o.QueueBytes, 256<<10)
	def(&o.MaxHeader, 16<<10)
	dur(&o.Ping, 25*time.Second)
	dur(&o.PingTimeout, 10*time.Second)
	dur(&o.HandshakeTimeout, 5*time.Second)
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
