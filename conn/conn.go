package conn

import (
	"net/netip"
	"strings"
	"time"
)

// UUID names a connection.
type UUID = [16]byte

// Conn is one end user's WebSocket connection. There may be a million of them,
// so its size matters (a test says how large it may be). All of it is guarded by its
// loop's lock, but where a group says otherwise. Methods lock by themselves
// unless they say that they may be called from a [Handler], which holds the
// lock already.
type Conn struct {
	// Static after Identify, before anyone else sees the connection.
	loop   *Loop
	user   string
	uuid   UUID
	remote [16]byte // the peer's address, as IPv6

	// For the use of whoever keeps a registry of connections, under that
	// registry's lock: chains the connections of one user.
	Link *Conn

	// Owned by the goroutine of the Deliverer.
	mark uint32 // the last message addressed to this connection

	state    state
	cause    Cause
	flags    flags
	pingEach uint16
	fd       int32 // Linux; the portable transport keeps sockets by itself
	slot     uint32
	gen      uint32
	seen     uint32 // position in the loop's broadcast log

	// Due times, in ticks of the loop; 0: none.
	due                    uint32 // when the wheel looks at this connection
	wheelNext, wheelPrev   uint32
	pingAt, renewAt, endAt uint32

	// Frame rate: a bucket of frames, in 1/1000, and when it was last filled.
	bucket   int32
	bucketAt uint32

	in  *inbound // nil while nothing is half-read
	out *queue   // nil while nothing waits
}

type flags uint16

const (
	flagAppPing    flags = 1 << iota // the client asked for pings it can see
	flagPinged                       // a ping was sent, and pingAt is when to look for its answer
	flagAwaiting                     // nothing has come since that ping
	flagWantWrite                    // blocked: the socket takes no more for now
	flagArmed                        // the transport tells when it takes more
	flagDirty                        // in the loop's list of connections to flush
	flagDiscard                      // input is thrown away: the protocol was broken
	flagPeerClosed                   // the peer's close frame has been seen
	flagCloseNext                    // a close waits for the connection to be open
	flagIdentified                   // the handler knows it: Closed must be called
	flagInWheel                      // something is due for it
)

func (c *Conn) has(f flags) bool { return c.flags&f != 0 }
func (c *Conn) set(f flags)      { c.flags |= f }
func (c *Conn) clear(f flags)    { c.flags &^= f }

// UUID names the connection. It may be called from anywhere.
func (c *Conn) UUID() UUID { return c.uuid }

// User is the connection's owner. It may be called from anywhere.
func (c *Conn) User() string { return c.user }

// Remote is the peer's address. It may be called from anywhere.
func (c *Conn) Remote() netip.Addr { return netip.AddrFrom16(c.remote).Unmap() }

// Ping is how often this connection is pinged. For use in a Handler.
func (c *Conn) Ping() time.Duration { return time.Duration(c.pingEach) * time.Second }

// Identify says who the connection is; it keeps a copy of user. For use in
// Handler.Handshake.
func (c *Conn) Identify(uuid UUID, user string) { c.uuid, c.user = uuid, strings.Clone(user) }

// Accept answers the handshake with 101 and makes the connection open; welcome
// is its first message, a text. It does nothing where the connection has ended
// meanwhile.
func (c *Conn) Accept(welcome []byte) {
	c.loop.acceptAll([]Welcome{{c, welcome}})
}

// Refuse answers the handshake with an HTTP error and ends the connection.
func (c *Conn) Refuse(r *Refusal) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.state == stateRegistering {
		c.cause = CauseRefused
		c.refuse(r)
	}
}

// Send sends a text message that is no delivery: a receipt, an error.
func (c *Conn) Send(text []byte) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Reply(text)
}

// Reply is Send for use in a Handler.
func (c *Conn) Reply(text []byte) {
	if c.state == stateOpen {
		c.sendControl(appendFrame(nil, opText, text))
	}
}

// Close sends a close frame behind all that waits, and ends the connection
// once the peer has answered, after 5 s at most. Codes: RFC 6455 section 7.4.
func (c *Conn) Close(code Code, reason string) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	c.CloseIn(code, reason)
}

// CloseIn is Close for use in a Handler.
func (c *Conn) CloseIn(code Code, reason string) {
	if c.state == stateOpen {
		c.beginClose(code, reason, CauseServer)
	}
}
