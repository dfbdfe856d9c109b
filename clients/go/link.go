package client

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"
)

// A link is a connection that had its welcome.
type link struct {
	// Static.
	conn    *Conn
	welcome Welcome
	since   time.Time          // when it had its welcome
	leave   context.CancelFunc // has the reader say goodbye
	gone    chan struct{}      // closed when nothing more comes over it

	// Owned by Run.
	told    bool        // the pod has said goaway
	closeBy time.Time   // when the pod will close it, by its goaway
	overlap *time.Timer // calls leave; nil while no other connection has taken its place
}

// An event is what the reader of a link tells: a frame, or the end.
type event struct {
	link  *link
	frame Frame
	err   error // the end, and the last that the reader tells
}

// read tells what comes until the connection ends. When ctx does, which is no later than by leave, it says goodbye and reads
// on.
func (l *link) read(ctx context.Context, events chan<- event) {
	goodbye := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(goodbye)
		l.conn.leave()
	})
	for {
		f, err := l.conn.nextFrame()
		if err == nil {
			events <- event{link: l, frame: f}
			continue
		}
		if !stop() {
			<-goodbye
		}
		l.leave() // what remains of ctx is given back
		l.conn.shut(nil)
		events <- event{link: l, err: err}
		return
	}
}

// send refuses what the pod would close the connection for.
func (l *link) send(ctx context.Context, frame []byte) error {
	if most := l.welcome.MaxMessage; most > 0 && len(frame) > most {
		return fmt.Errorf("%w: frame of %d bytes, the pod takes %d", ErrTooLarge, len(frame), most)
	}
	if !utf8.Valid(frame) {
		return fmt.Errorf("client: frame is not UTF-8")
	}
	return l.conn.SendText(ctx, frame)
}
