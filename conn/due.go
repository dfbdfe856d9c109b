package conn

import (
	"math/rand/v2"
	"time"
)

// onDue does all that is due for c.
func (c *Conn) onDue() {
	now := c.loop.wheel.now
	if c.endAt != 0 && c.endAt <= now {
		c.endAt = 0
		c.onEnd()
	}
	if c.pingAt != 0 && c.pingAt <= now {
		c.onPing(now)
	}
	// Not for one that has just ended: it would come back into presence.
	if c.state == stateOpen && c.renewAt != 0 && c.renewAt <= now {
		c.renewAt = now + spread(c.loop.srv.opts.Renew, renewJitter)
		c.loop.srv.opts.Handler.Renew(c)
	}
	if c.state != stateClosed {
		c.schedule()
	}
}

// onEnd is called when a state has lasted as long as it may.
func (c *Conn) onEnd() {
	switch c.state {
	case stateHandshaking:
		c.cause = CauseTimeout
		c.refuse(&Refusal{Status: 408, Error: "timeout", Reason: "the request was not complete in " + c.loop.srv.opts.HandshakeTimeout.String()})
	case stateOpen: // conn.max_age
		c.beginClose(CodeGoingAway, Retry(0, time.Second), CauseServer)
	case stateClosing, stateRefused:
		c.end(c.cause)
	}
}

// onPing sends a ping, or looks whether anything has come since the last one.
func (c *Conn) onPing(now uint32) {
	if c.state != stateOpen {
		c.pingAt = 0
		return
	}
	o := &c.loop.srv.opts
	if c.has(flagPinged) {
		if c.has(flagAwaiting) {
			c.end(CauseDead)
			return
		}
		c.clear(flagPinged)
		next := c.pingAt - ticksOf(o.PingTimeout) + ticksOf(c.Ping())
		if next > now {
			c.pingAt = next
			return
		}
	}
	c.set(flagPinged | flagAwaiting)
	c.pingAt = now + ticksOf(o.PingTimeout)
	c.loop.pings++
	ping := c.loop.srv.wsPing
	if c.has(flagAppPing) {
		ping = c.loop.srv.appPing
	}
	// How many others are pinged in this tick is about known.
	c.sendShared(ping, c.loop.many(c.loop.open/int(ticksOf(o.Ping))))
}

// startClocks sets what is due for a connection that has become open.
func (c *Conn) startClocks() {
	o := &c.loop.srv.opts
	now := c.loop.wheel.now
	each := ticksOf(c.Ping())
	c.pingAt = now + each/2 + rand.Uint32N(each/2+1)
	c.renewAt, c.endAt = 0, 0
	if o.Renew > 0 {
		// The first one early at random, so that those who came together part.
		each := ticksOf(o.Renew)
		c.renewAt = now + each/2 + rand.Uint32N(each/2+1)
	}
	if o.MaxAge > 0 {
		c.endAt = now + spread(o.MaxAge, maxAgeJitter)
	}
	c.schedule()
}

// spread is d in ticks, up to percent more or less.
func spread(d time.Duration, percent uint32) uint32 {
	n := ticksOf(d)
	by := n * percent / 100
	return max(1, n-by+rand.Uint32N(2*by+1))
}
