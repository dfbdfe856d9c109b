package client

import (
	"net"
	"sync"
	"time"
)

// A readDeadline is the earliest of the three ends that a read can have. TCP has but one deadline, so that each party
// that set it by itself would undo what the others have set.
type readDeadline struct {
	conn net.Conn // static

	mu        sync.Mutex    // guards what follows
	patience  time.Duration // how long the server may be silent; 0: for ever
	silence   time.Time     // when patience ends, counted from the last read
	end       time.Time     // when the wait for the end of the connection ends; zero: no such wait
	cancelled bool          // the context of the read under way has ended
}

// extend is called before each read from the network.
func (d *readDeadline) extend() {
	d.set(func() {
		d.silence = time.Time{}
		if d.patience > 0 {
			d.silence = time.Now().Add(d.patience)
		}
	})
}

// setPatience takes effect with the read under way.
func (d *readDeadline) setPatience(patience time.Duration) {
	d.mu.Lock()
	d.patience = patience
	d.mu.Unlock()
	d.extend()
}

// endIn makes all reads end after wait, and never later than said before.
func (d *readDeadline) endIn(wait time.Duration) {
	d.set(func() {
		if end := time.Now().Add(wait); d.end.IsZero() || end.Before(d.end) {
			d.end = end
		}
	})
}

// cancel ends the read under way; lift lets reading go on.
func (d *readDeadline) cancel() { d.set(func() { d.cancelled = true }) }
func (d *readDeadline) lift()   { d.set(func() { d.cancelled = false }) }

func (d *readDeadline) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	at := d.silence
	if !d.end.IsZero() && (at.IsZero() || d.end.Before(at)) {
		at = d.end
	}
	if d.cancelled {
		at = time.Unix(1, 0)
	}
	// It fails on a closed connection only, and there the read fails too.
	_ = d.conn.SetReadDeadline(at)
}

// reached tells a read that has run into the deadline which of the three it was.
func (d *readDeadline) reached() readEnd {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.cancelled:
		return cancelled
	case !d.end.IsZero():
		return closing
	}
	return silent
}

// A readEnd is a reason for a read to end early.
type readEnd int

const (
	silent    readEnd = iota // patience has ended
	closing                  // the wait for the end has ended
	cancelled                // the read's context has ended; the connection goes on
)
