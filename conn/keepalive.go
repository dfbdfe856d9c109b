package conn

import (
	"math/rand/v2"
	"time"
)

const (
	renewJitter  = 10 // percent
	maxAgeJitter = 10
)

// longest bounds how far ahead something may be due: ticks are counted in 32 bits.
const longest = 5 * 365 * 24 * time.Hour

// startClocks sets what is due for a connection that has become open, and that may
// last for so long; 0: for ever.
func (c *Conn) startClocks(lasts time.Duration) {
	o := c.loop.settings()
	w := c.loop.wheel
	now := w.Now()
	c.pingAt = now + firstPeriod(w.Ticks(c.Ping()))
	c.renewAt, c.endAt = 0, 0
	if o.Renew > 0 {
		c.renewAt = now + firstPeriod(w.Ticks(o.Renew))
	}
	if o.MaxAge > 0 {
		c.endAt = now + spread(w.Ticks(o.MaxAge), maxAgeJitter)
		if c.has(flagGoaway) {
			c.endAt = max(now+1, c.endAt-min(c.endAt, w.Ticks(goawayNotice)))
		}
	}
	switch {
	case c.has(flagReplaced):
		c.endWithin(replacedFor)
	case c.has(flagLeaves):
		c.endAt = now + 1
	}
	c.expireIn(lasts)
	c.schedule()
}

// expireIn sets when the connection expires; 0: never.
func (c *Conn) expireIn(d time.Duration) {
	c.expireAt = 0
	if d > 0 {
		c.expireAt = c.loop.after(min(d, longest))
	}
}

// firstPeriod draws from the second half of a period: connections that came at the
// same time are then due at different times.
func firstPeriod(period uint32) uint32 { return period/2 + rand.Uint32N(period/2+1) }

// spread is n ticks, up to percent more or less.
func spread(n, percent uint32) uint32 {
	by := n * percent / 100
	return max(1, n-by+rand.Uint32N(2*by+1))
}

// schedule has the wheel look at c when something is due for it.
func (c *Conn) schedule() {
	due := c.pingAt
	for _, at := range [...]uint32{c.renewAt, c.endAt, c.expireAt} {
		if at != 0 && (due == 0 || at < due) {
			due = at
		}
	}
	c.loop.wheel.Set(c.slot, due)
}

// onDue does all that is due for c.
func (c *Conn) onDue() {
	now := c.loop.wheel.Now()
	if c.endAt != 0 && c.endAt <= now {
		c.endAt = 0
		c.onEnd()
	}
	if c.expireAt != 0 && c.expireAt <= now {
		c.expireAt = 0
		c.beginClose(CodeExpired, "token expired", CauseServer)
	}
	if c.pingAt != 0 && c.pingAt <= now {
		c.onPing(now)
	}
	// Not for one that has just ended: it would come back into presence.
	if c.state == stateOpen && c.renewAt != 0 && c.renewAt <= now {
		c.renewAt = now + spread(c.loop.wheel.Ticks(c.loop.settings().Renew), renewJitter)
		c.owner.Renew()
	}
	if c.state != stateClosed {
		c.schedule()
	}
}

// onEnd is called when a state has lasted as long as it may.
func (c *Conn) onEnd() {
	switch c.state {
	case stateHandshaking:
		c.handshakeTimeout()
	case stateOpen:
		if c.has(flagCloseWaits) {
			c.closeNow()
			return
		}
		c.aged()
	case stateClosing, stateRefused:
		c.end(c.cause)
	}
}

// handshakeTimeout ends a handshake that takes too long: without a word where
// nothing was sent, or not all of a PROXY header.
func (c *Conn) handshakeTimeout() {
	switch {
	case len(c.in.buf) == 0:
		c.end(CauseTimeout)
	case c.has(flagProxied):
		c.closeUnheard("its PROXY header was not complete in time", CauseTimeout)
	case c.has(flagOverflow):
		c.refuseUnread(c.in.buf, overflowing())
	default:
		c.cause = CauseTimeout
		c.refuseUnread(c.in.buf, &Refusal{Status: 408, Error: "timeout", Reason: "the request was not complete in " + c.loop.settings().HandshakeTimeout.String()})
	}
}

// onPing sends a ping, or looks whether anything has come since the last one.
func (c *Conn) onPing(now uint32) {
	if c.state != stateOpen {
		c.pingAt = 0
		return
	}
	timeout := c.loop.wheel.Ticks(c.loop.settings().PingTimeout)
	if c.has(flagPinged) {
		// Nobody answers a comment: that it goes out must do, and the system looks after
		// what is not acknowledged (netloop.Loop.Abandon).
		if c.has(flagAwaiting) && (!c.has(flagEvents) || c.has(flagBlocked)) {
			c.end(CauseDead)
			return
		}
		c.clear(flagPinged)
		// From the last ping on, unless the time-out was another one then.
		next := int64(c.pingAt) - int64(timeout) + int64(c.loop.wheel.Ticks(c.pingPeriod()))
		if next > int64(now) {
			c.pingAt = uint32(next)
			return
		}
	}
	c.set(flagPinged | flagAwaiting)
	c.pingAt = now + timeout
	c.loop.pings++
	if c.has(flagEvents) {
		c.abandonLate() // the time-out may have changed
	}
	c.sendControl(c.codec().ping(c.has(flagAppPing)))
}

// abandonLate has the system look after what a client of server-sent events does not
// acknowledge: nobody answers its pings.
func (c *Conn) abandonLate() { c.loop.io.Abandon(c.fd, c.loop.settings().PingTimeout) }
