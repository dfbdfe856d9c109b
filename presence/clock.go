package presence

import "time"

// redisClock is Redis's clock as measured, carried on between two measurements
// by the monotonic clock. Its owner guards it.
type redisClock struct {
	known  bool
	micros int64     // Redis's Unix microseconds …
	at     time.Time // … at this moment of ours
	rtt    time.Duration
}

// measure sets the clock by a reply to TIME, which was sent at asked and answered at
// answered. Redis read its clock somewhere between the two, so at answered that
// clock stood somewhere between micros and micros + the round trip. A clock of
// ours that agrees is left alone; any other is set to the middle. So a slow
// answer never makes a good measurement worse, and a clock of Redis's that
// jumps is followed at once.
func (c *redisClock) measure(micros int64, asked, answered time.Time) {
	c.rtt = answered.Sub(asked)
	span := c.rtt.Microseconds()
	if c.known {
		ours := c.now(answered)
		if micros <= ours && ours <= micros+span {
			return
		}
	}
	c.known, c.micros, c.at = true, micros+span/2, answered
}

// now returns Redis's Unix microseconds; the local clock's before the first
// measurement.
func (c *redisClock) now(at time.Time) int64 {
	if !c.known {
		return at.UnixMicro()
	}
	return c.micros + at.Sub(c.at).Microseconds()
}
