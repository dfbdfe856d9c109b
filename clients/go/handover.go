package client

import (
	"context"
	"time"
)

// maxWithin bounds what a goaway may say of the time until the close.
const maxWithin = time.Minute

// goaway begins a handover: the pod is about to close a connection, and another one is to take its place before.
func (r *runner) goaway(ctx context.Context, l *link, f Frame) {
	if l != r.current || r.trying || r.next != nil || !r.client.opts.handsOver() {
		return // it has been replaced, or is just being
	}
	now := time.Now()
	wait := r.client.retry.handover(now.Sub(l.since), l.told)
	l.told = true
	l.closeBy = now.Add(time.Duration(min(max(f.WithinMS, 0), maxWithin.Milliseconds())) * time.Millisecond)
	r.tryAfter(ctx, wait)
}

// handoverFailed keeps the connection that there is until it is closed, and tries again while there is time. A refusal that
// is final says nothing about that connection.
func (r *runner) handoverFailed(ctx context.Context, err error) {
	if wait, again := r.client.retry.after(err, 0); again {
		r.tryAfter(ctx, wait)
	}
}

// tryAfter starts an attempt to replace the current connection after wait, unless that will have been closed by then: what
// comes then follows from how it was closed.
func (r *runner) tryAfter(ctx context.Context, wait time.Duration) {
	switch {
	case wait == 0:
		r.try(ctx)
	case time.Now().Add(wait).Before(r.current.closeBy):
		r.next = time.After(wait)
	}
}
