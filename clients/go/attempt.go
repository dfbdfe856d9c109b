package client

import (
	"context"
	"time"
)

// An attempt is what came of connecting: a connection with its welcome, or an error.
type attempt struct {
	conn  *Conn // nil where there is an error
	first Frame // the welcome; with an error, the frame that came in place of it, if one did
	err   error
}

// connect returns a connection that had its welcome. When ctx ends before, it says goodbye and waits for the answer.
func connect(ctx context.Context, o Options) attempt {
	conn, err := dial(ctx, o)
	if err != nil {
		return attempt{err: err}
	}
	goodbye := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(goodbye)
		_ = conn.Close(1000, "") // no more can be done for a server that does not answer
	})
	conn.deadline.setPatience(o.HandshakeTimeout)
	first, err := conn.nextFrame()
	if !stop() {
		<-goodbye
		return attempt{err: ctx.Err()}
	}
	if err != nil {
		conn.shut(nil)
		return attempt{err: err}
	}
	welcome, err := welcomeOf(first)
	if err != nil {
		_ = conn.Close(1002, "") // err says more than its result
		return attempt{first: first, err: err}
	}
	conn.deadline.setPatience(o.patience(welcome))
	return attempt{conn: conn, first: first}
}

// discard closes the connection of which nobody has been told.
func (a attempt) discard() {
	if a.conn != nil {
		_ = a.conn.Close(1000, "")
	}
}

// patience is how long the server may be silent; zero, for ever, where it does not say how often it pings.
func (o Options) patience(w Welcome) time.Duration {
	const most = 24 * 60 * 60 // beyond that it is no interval but a mistake
	if w.Ping <= 0 || w.Ping > most {
		return 0
	}
	return time.Duration(w.Ping)*time.Second + o.Grace
}
