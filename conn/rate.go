package conn

import (
	"time"

	"pushpod/conn/internal/netloop"
)

// allowance says what to do with a client's frame.
type allowance uint8

const (
	frameAllowed allowance = iota
	frameLimited           // refuse it, and say so
	frameTooMany           // close: the client does not listen
)

// allow takes one frame from the client's bucket, which holds a second's worth
// and may be overdrawn by another before the connection is closed.
func (c *Conn) allow() allowance {
	rate := int64(c.loop.settings().FramesPerSecond)
	if rate <= 0 {
		return frameAllowed
	}
	const unit = 1000
	full := min(rate, 1_000_000) * unit
	now := c.loop.wheel.Now()
	level := int64(c.bucket) + int64(now-c.bucketAt)*full/int64(time.Second/netloop.Tick)
	c.bucketAt = now
	level = min(level, full) - unit
	if level < -full {
		c.bucket = int32(level + unit)
		c.loop.rateLimited++
		return frameTooMany
	}
	c.bucket = int32(level)
	if level < 0 {
		c.loop.rateLimited++
		return frameLimited
	}
	return frameAllowed
}

// fillBucket gives a new connection a full bucket.
func (c *Conn) fillBucket() {
	c.bucket = int32(min(int64(c.loop.settings().FramesPerSecond), 1_000_000) * 1000)
	c.bucketAt = c.loop.wheel.Now()
}
