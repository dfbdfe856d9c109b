package conn

import (
	"context"
	"time"
)

const (
	// goawayNotice is how long before the close a client is told that asked for it
	// (?goaway=1). It stands in the text of the frame, in codec.go.
	goawayNotice = 3 * time.Second

	// replacedFor is how long a connection may stay that another one has replaced. Its
	// client closes it sooner; one that doesn't would hold connections that no limit counts.
	replacedFor = time.Minute
)

// Drain closes the connections that are open or registering now with CodeGoingAway and a
// time to come back, one by one, evenly over the time d. Who has asked for it is told 3 s
// before the close; these are told evenly over d less that time, so that they are closed
// within d too, or, where d is shorter, all of them 3 s from now. It returns when all of that is done,
// or no connection is left, or with ctx's error; its caller waits for Len to be 0.
func (s *Server) Drain(ctx context.Context, d time.Duration) error {
	var told, closed schedule
	for _, c := range s.open() {
		if c.wantsNotice() {
			told.conns = append(told.conns, c)
		} else {
			closed.conns = append(closed.conns, c)
		}
	}
	start := time.Now()
	told.spread(start, max(0, d-goawayNotice))
	closed.spread(start, d)
	var end time.Time // of the notice that was given last
	for s.Len() > 0 {
		next := &closed
		if closed.empty() || !told.empty() && told.due().Before(closed.due()) {
			next = &told
		}
		if next.empty() {
			break
		}
		if err := s.waitUntil(ctx, next.due()); err != nil {
			return err
		}
		if next.take().leave() {
			end = time.Now().Add(goawayNotice)
		}
	}
	return s.waitUntil(ctx, end)
}

// waitUntil returns at that time, or when no connection is left, or with ctx's error.
func (s *Server) waitUntil(ctx context.Context, at time.Time) error {
	const look, least = 20 * time.Millisecond, time.Millisecond
	for s.Len() > 0 && ctx.Err() == nil {
		wait := time.Until(at)
		if wait <= least {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(wait, look)):
		}
	}
	return ctx.Err()
}

// schedule is connections whose turns are spread evenly over a time.
type schedule struct {
	conns []*Conn
	next  int
	start time.Time
	over  time.Duration
}

func (s *schedule) spread(start time.Time, over time.Duration) { s.start, s.over = start, over }
func (s *schedule) empty() bool                                { return s.next == len(s.conns) }

// due is when the next one has its turn.
func (s *schedule) due() time.Time {
	return s.start.Add(s.over / time.Duration(len(s.conns)) * time.Duration(s.next))
}

func (s *schedule) take() *Conn {
	s.next++
	return s.conns[s.next-1]
}

// CloseAll closes the connections that are open or registering now, each with the code
// and a reason that reason draws.
func (s *Server) CloseAll(code Code, reason func() string) {
	for _, c := range s.open() {
		c.Close(code, reason())
	}
}

// wantsNotice reports whether the connection is closed some time after its turn in a drain.
func (c *Conn) wantsNotice() bool {
	c.loop.lock()
	defer c.loop.unlock()
	return c.has(flagGoaway | flagNoticed)
}

// leave has the connection leave: now, or, where it returns true, after a notice.
func (c *Conn) leave() (noticed bool) {
	c.loop.lock()
	defer c.loop.unlock()
	switch {
	case !c.takes():
		return false
	case !c.has(flagGoaway | flagNoticed):
		c.goAway()
		return false
	case c.state == stateRegistering:
		c.set(flagLeaves)
	case c.has(flagNoticed): // its client has another one by now, or soon
		c.endWithin(goawayNotice)
	default:
		c.notice()
	}
	return true
}

// goAway closes the connection with a time to come back.
func (c *Conn) goAway() { c.beginClose(CodeGoingAway, Retry(0, time.Second), CauseServer) }

// aged is called when an open connection has lasted as long as it may.
func (c *Conn) aged() {
	if c.has(flagGoaway) && !c.has(flagNoticed) {
		c.notice()
		return
	}
	c.goAway()
}

// notice tells the client that its connection is closed soon, behind all that waits
// for it.
func (c *Conn) notice() {
	c.set(flagNoticed)
	c.catchUp()
	if !c.takes() { // ended, or a message closes it
		return
	}
	c.loop.goaways++
	c.endAt = c.loop.after(goawayNotice)
	c.schedule()
	c.sendControl(c.codec().goaway())
}

// endWithin has the connection closed after d, unless it is sooner.
func (c *Conn) endWithin(d time.Duration) {
	if at := c.loop.after(d); c.endAt == 0 || at < c.endAt {
		c.endAt = at
		c.schedule()
	}
}

// MarkReplaced says that another connection has taken the place of this one, which its
// client closes soon: what is addressed to it is still sent. After a minute it is closed
// anyway, with CodeGoingAway, of which the client is told nothing before. It may be called
// from any goroutine, without a loop locked.
func (c *Conn) MarkReplaced() {
	c.loop.lock()
	defer c.loop.unlock()
	if c.state != stateOpen && c.state != stateRegistering {
		return
	}
	c.set(flagReplaced | flagNoticed)
	if c.state == stateOpen && !c.has(flagCloseWaits) {
		c.endWithin(replacedFor)
	}
}

// LeavesLocked reports whether another connection has taken the place of this one, or is about to: its client has been told
// that it is closed soon. For use in an Owner.
func (c *Conn) LeavesLocked() bool { return c.has(flagNoticed) }
