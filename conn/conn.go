package conn

import (
	"time"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/sendq"
)

// Conn is one end user's connection: a WebSocket, or a stream of server-sent events. There may be a million of them,
// so its size matters (a test says how large it may be). All of it is guarded by
// its loop's lock, but what is static. Methods lock by themselves unless they
// say that they are for an [Owner] or an [Admitter], which are called with the
// lock held.
type Conn struct {
	// Static.
	loop *Loop
	fd   int32
	slot uint32
	gen  uint32

	owner Owner        // nil before it is admitted
	in    *inbound     // nil while nothing is half-read
	out   *sendq.Queue // nil while nothing waits
	seen  uint32       // position in the log of messages for everyone

	// Due times, in ticks of the loop; 0: none.
	pingAt, renewAt, endAt, expireAt uint32

	// Frame rate: a bucket of frames, in 1/1000, and when it was last filled.
	bucket   int32
	bucketAt uint32

	owed     uint16 // answers that the owner has promised
	pingEach uint16 // seconds
	flags    flags
	state    state
	cause    Cause
}

// state is where a connection stands in its life; see the package comment.
type state uint8

const (
	stateHandshaking state = iota
	stateRegistering
	stateOpen
	stateClosing
	stateRefused
	stateClosed
)

type flags uint32

const (
	flagAppPing    flags = 1 << iota // the client asked for pings it can see
	flagPinged                       // a ping was sent, and pingAt is when to look for its answer
	flagAwaiting                     // nothing has come since that ping
	flagBlocked                      // the socket takes no more for now
	flagNotified                     // the network tells when it takes more
	flagInflight                     // a write is prepared, and its result not known
	flagPrompt                       // in the loop's list of connections to flush before it is unlocked
	flagDirty                        // in the loop's list of connections to flush by and by
	flagDiscard                      // nothing more of the input is wanted
	flagPeerClosed                   // the peer's close frame has been seen
	flagCloseNext                    // registering: a message that closes it is queued
	flagCloseWaits                   // open: a close waits for answers that are owed
	flagProxied                      // handshaking: a PROXY header comes first
	flagOverflow                     // beyond Options.MaxConns: it is refused
	flagGoaway                       // the client asked to be told before it is closed (?goaway=1)
	flagNoticed                      // open: it is closed at endAt, and the client knows
	flagLeaves                       // registering: it leaves as soon as it is open
	flagReplaced                     // another connection has its place
	flagEvents                       // it gets server-sent events, and sends nothing
	flagOwnPing                      // the client has said how often it wants to be pinged
)

func (c *Conn) has(f flags) bool { return c.flags&f != 0 }
func (c *Conn) set(f flags)      { c.flags |= f }
func (c *Conn) clear(f flags)    { c.flags &^= f }

func (c *Conn) ref() netloop.Ref { return netloop.Ref{Slot: c.slot, Gen: c.gen} }

// Admitter is who decided about the connection. It may be called at any time.
func (c *Conn) Admitter() Admitter { return c.loop.srv.opts.Admitter }

// Ping is how often this connection is pinged, as the client is told. It may be called
// once the connection is admitted, from anywhere.
func (c *Conn) Ping() time.Duration { return time.Duration(c.pingEach) * time.Second }

// pingPeriod is how often it is pinged now: as it was told, or more often where
// Settings.Ping has become less.
func (c *Conn) pingPeriod() time.Duration {
	if c.has(flagOwnPing) {
		return c.Ping()
	}
	return min(c.Ping(), seconds(c.loop.settings().Ping))
}

// seconds rounds d up to whole seconds.
func seconds(d time.Duration) time.Duration {
	return max(1, (d+time.Second-1)/time.Second) * time.Second
}

// Send sends a text message that is no delivery: a receipt, an error.
func (c *Conn) Send(text []byte) {
	c.loop.lock()
	defer c.loop.unlock()
	c.SendLocked(text)
}

// SendLocked is Send for use in an Owner.
func (c *Conn) SendLocked(text []byte) {
	if c.state == stateOpen {
		c.sendText(text)
	}
}

// OweLocked promises one more Answer: a close waits for it, for 5 s at most. For
// use in Owner.Message.
func (c *Conn) OweLocked() { c.owed++ }

// Answer is Send for a message that was promised by OweLocked.
func (c *Conn) Answer(text []byte) {
	c.loop.lock()
	defer c.loop.unlock()
	if c.owed > 0 {
		c.owed--
	}
	c.SendLocked(text)
	if c.owed == 0 && c.has(flagCloseWaits) {
		c.closeNow()
	}
}

// Renew calls Owner.Renew now, where the connection is open. It may be called from
// any goroutine, without a loop locked: one that has ended, or ends meanwhile, is
// never renewed behind its Closed.
func (c *Conn) Renew() {
	c.loop.lock()
	defer c.loop.unlock()
	if c.state == stateOpen {
		c.owner.Renew()
	}
}

// Last says for how long from now on the connection may last, in place of what was
// said before: then it is closed with CodeExpired. 0: for ever.
func (c *Conn) Last(d time.Duration) {
	c.loop.lock()
	defer c.loop.unlock()
	c.LastLocked(d)
}

// LastLocked is Last for use in an Owner.
func (c *Conn) LastLocked(d time.Duration) {
	if c.state == stateOpen {
		c.expireIn(d)
		c.schedule()
	}
}

// Close sends a close frame behind all that waits and all answers that are owed,
// and ends the connection once the peer has answered, after 6 s at most. Codes:
// RFC 6455 section 7.4. It reports whether the connection was not closing already.
func (c *Conn) Close(code Code, reason string) (begun bool) {
	c.loop.lock()
	defer c.loop.unlock()
	begun = c.takes()
	c.CloseLocked(code, reason)
	return begun
}

// CloseLocked is Close for use in an Owner.
func (c *Conn) CloseLocked(code Code, reason string) { c.beginClose(code, reason, CauseServer) }
