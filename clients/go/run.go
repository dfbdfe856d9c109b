package client

import (
	"context"
	"errors"
	"time"
)

// overlap is how long a connection is read after another one has taken its place: what was addressed to it just before is
// still on its way.
const overlap = time.Second

// A runner is what Run knows and nobody else touches: the connections that are read, the attempt to get another one, and when
// the next attempt is made. All callbacks are called from here.
type runner struct {
	client  *Client
	links   map[*link]struct{} // those whose readers have not told the end
	current *link              // the newest of them; nil: there is no connection
	lost    string             // UUID of a connection that has ended and that a pod may still take for alive
	events  chan event         // what all readers tell, in the order in which it came

	trying   bool // an attempt is under way
	attempts chan attempt
	next     <-chan time.Time // when to make the next one; nil: no time has been set
}

func newRunner(c *Client) *runner {
	return &runner{client: c, links: make(map[*link]struct{}), events: make(chan event), attempts: make(chan attempt, 1)}
}

// loop returns why there will be no more connections, or ctx's error once it has ended.
func (r *runner) loop(ctx context.Context) error {
	r.try(ctx)
	for {
		var final error
		select {
		case e := <-r.events:
			final = r.hear(ctx, e)
		case a := <-r.attempts:
			r.trying = false
			final = r.tried(ctx, a)
		case <-r.next:
			r.next = nil
			r.try(ctx)
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if final != nil {
			return final
		}
	}
}

// wait returns when all that the runner has started has ended. Its context has.
func (r *runner) wait(ctx context.Context) {
	for l := range r.links {
		l.conn.deadline.endIn(closeTimeout)
	}
	if r.trying {
		(<-r.attempts).discard()
	}
	for len(r.links) > 0 {
		_ = r.hear(ctx, <-r.events) // ctx has ended: there is no other reason any more
	}
}

// hear returns an error where there will be no more connections; so do tried, ended and again.
func (r *runner) hear(ctx context.Context, e event) error {
	if e.err != nil {
		return r.ended(ctx, e.link, e.err)
	}
	if ctx.Err() != nil {
		return nil // a callback has called Close: no further frame is its business
	}
	c, f := r.client, e.frame
	c.onFrame(f)
	switch f.Type {
	case "message":
		if !c.seen.add(f.ID) && c.opts.OnMessage != nil {
			c.opts.OnMessage(Message{ID: f.ID, Data: f.Data})
		}
	case "receipt":
		c.receipt(f)
	case "ping":
		// A failed write closes the connection, which the next read tells.
		_ = e.link.conn.SendText(ctx, []byte(`{"type":"pong"}`))
	case "goaway":
		r.goaway(ctx, e.link, f)
	}
	return nil
}

// ended is told of the end of a link, after which it is silent.
func (r *runner) ended(ctx context.Context, l *link, err error) error {
	delete(r.links, l)
	if l.overlap != nil {
		l.overlap.Stop()
	}
	r.client.detach(l)
	if l != r.current {
		return nil // another one took its place before
	}
	r.current = nil
	if closed := (*CloseError)(nil); !errors.As(err, &closed) {
		r.lost = l.welcome.UUID
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	r.client.onDisconnect(err)
	if ctx.Err() != nil {
		return nil
	}
	return r.again(err, time.Since(l.since))
}

// tried is told what an attempt came to.
func (r *runner) tried(ctx context.Context, a attempt) error {
	if ctx.Err() != nil {
		a.discard()
		return nil
	}
	if a.first.Raw != nil {
		r.client.onFrame(a.first)
	}
	switch {
	case a.err == nil:
		r.connected(ctx, a)
		return nil
	case r.current != nil:
		r.handoverFailed(ctx, a.err)
		return nil
	}
	return r.again(a.err, 0)
}

// connected makes a connection the current one.
func (r *runner) connected(ctx context.Context, a attempt) {
	old, c := r.current, r.client
	l := &link{conn: a.conn, welcome: a.first.Welcome, since: time.Now(), gone: make(chan struct{})}
	ctx, l.leave = context.WithCancel(ctx)
	r.links[l], r.current, r.lost = struct{}{}, l, ""
	go l.read(ctx, r.events)
	c.attach(l)
	if old != nil {
		old.overlap = time.AfterFunc(overlap, old.leave)
		c.onDisconnect(ErrHandover)
	}
	if c.opts.OnConnect != nil {
		c.opts.OnConnect(l.welcome)
	}
}

// again decides what follows on the end of a connection, which has lasted for so long, or on an attempt that failed.
func (r *runner) again(err error, lasted time.Duration) error {
	wait, again := r.client.retry.after(err, lasted)
	if !again || r.client.opts.NoReconnect {
		return err
	}
	if r.trying {
		return nil // the next attempt is under way, for a handover
	}
	if r.client.opts.OnRetry != nil {
		r.client.opts.OnRetry(err, wait)
	}
	r.next = time.After(wait)
	return nil
}

// try starts an attempt.
func (r *runner) try(ctx context.Context) {
	o := r.client.opts
	o.goaway, o.replaces = o.handsOver(), r.lost
	if r.current != nil {
		o.replaces = r.current.welcome.UUID
	}
	r.trying = true
	go func() { r.attempts <- connect(ctx, o) }()
}
