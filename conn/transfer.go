package conn

import (
	"encoding/json"
	"errors"
	"fmt"
)

// snapshot is all that a connection is, but its descriptor: what another
// process needs to go on with it in the middle of a frame.
type snapshot struct {
	UUID   []byte `json:"uuid"`
	User   string `json:"user"`
	Remote []byte `json:"remote"`

	Closing    bool   `json:"closing,omitempty"`
	PeerClosed bool   `json:"peer_closed,omitempty"`
	Discard    bool   `json:"discard,omitempty"`
	AppPing    bool   `json:"app_ping,omitempty"`
	PingEach   uint16 `json:"ping_each"`
	Cause      Cause  `json:"cause"`

	HalfFrame  []byte `json:"half_frame,omitempty"` // as received, still masked
	Fragmented bool   `json:"fragmented,omitempty"`
	Text       []byte `json:"text,omitempty"` // of the fragments so far

	Written int      `json:"written,omitempty"` // bytes of the first queued frame that are on the wire
	Queue   []queued `json:"queue,omitempty"`
}

type queued struct {
	Frame    []byte `json:"frame"`
	Expires  int64  `json:"expires,omitempty"`
	At       int64  `json:"at,omitempty"`
	Collapse string `json:"collapse,omitempty"`
	Closes   bool   `json:"closes,omitempty"`
	Control  bool   `json:"control,omitempty"`
}

// ErrNotOpen is returned by Detach for a connection that is neither open nor
// closing: there is nothing to go on with.
var ErrNotOpen = errors.New("conn: not open")

// snapshot writes c down. The loop is locked.
func (c *Conn) snapshot() ([]byte, error) {
	if c.state != stateOpen && c.state != stateClosing {
		return nil, ErrNotOpen
	}
	c.catchUp()
	s := snapshot{
		UUID: c.uuid[:], User: c.user, Remote: c.remote[:],
		Closing: c.state == stateClosing, PeerClosed: c.has(flagPeerClosed), Discard: c.has(flagDiscard),
		AppPing: c.has(flagAppPing), PingEach: c.pingEach, Cause: c.cause,
	}
	if in := c.in; in != nil {
		s.HalfFrame, s.Fragmented, s.Text = in.buf, in.fragmented, in.text
	}
	if q := c.out; q != nil {
		s.Written = q.off
		for n := q.head; n != nil; n = n.next {
			if m := n.m; m != nil {
				s.Queue = append(s.Queue, queued{m.frame, m.expires, m.at, m.collapse, m.closes, m.control})
				continue
			}
			for frame, at := range n.k.all(c.loop.clock) {
				s.Queue = append(s.Queue, queued{Frame: frame, At: at})
			}
		}
	}
	return json.Marshal(s)
}

// restore makes c what b says. The loop is locked, c is new.
func (c *Conn) restore(b []byte) error {
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("conn: read a connection's state: %w", err)
	}
	if len(s.UUID) != len(c.uuid) || len(s.Remote) != len(c.remote) || s.Written < 0 ||
		s.Written > 0 && (len(s.Queue) == 0 || s.Written >= len(s.Queue[0].Frame)) || s.Cause >= causes {
		return errors.New("conn: read a connection's state: it is not consistent")
	}
	copy(c.uuid[:], s.UUID)
	copy(c.remote[:], s.Remote)
	c.user, c.pingEach, c.cause = s.User, s.PingEach, s.Cause
	for f, on := range map[flags]bool{flagPeerClosed: s.PeerClosed, flagDiscard: s.Discard, flagAppPing: s.AppPing, flagIdentified: true} {
		if on {
			c.set(f)
		}
	}
	if len(s.HalfFrame) > 0 || s.Fragmented {
		in := c.half()
		in.buf, in.fragmented, in.text = s.HalfFrame, s.Fragmented, s.Text
	}
	l := c.loop
	c.seen = l.log.end
	c.opened()
	if s.Closing {
		c.closing(s.Cause)
	}
	for _, q := range s.Queue {
		c.push(&Message{frame: q.Frame, expires: q.Expires, at: q.At, collapse: q.Collapse, closes: q.Closes, control: q.Control})
	}
	if s.Written > 0 {
		c.begun(s.Written)
	}
	l.clock = l.srv.opts.Now()
	c.flush()
	return nil
}
