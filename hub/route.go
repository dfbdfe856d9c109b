package hub

import (
	"sync/atomic"

	"pushpod/conn"
)

// router takes the messages of the subscription to their connections. It
// belongs to the subscriber's goroutine; others may read the counters.
type router struct {
	h   *Hub
	own []byte // the pod's channel

	e       envelope
	targets []*conn.Conn // of the envelope at hand
	missing missing
	head    []byte // of the frame at hand, up to the data

	ok, bad, misses atomic.Uint64
}

// missing is who was not found.
type missing struct {
	count int      // targets
	uuids bool     // some of them are UUIDs
	users []string // those that are users
}

const (
	frameHead = `{"type":"message",`
	frameID   = `"id":`
	frameData = `"data":`
)

// place is where a published message lies: in memory that belongs to it.
type place struct {
	seg     *conn.Segment // nil: nowhere, and the message stays as it is
	from    int           // the first byte of seg that is the message's
	payload int           // the first byte of its payload
}

// route handles one published message. Where it lies in a segment, its bytes
// are not the caller's any more.
func (r *router) route(channel, payload []byte, p place) {
	e := &r.e
	own := string(channel) == string(r.own)
	if reason := e.parse(payload); reason != "" {
		r.refuse(reason, len(payload))
		return
	}
	if e.isProbe() {
		if own {
			r.h.probed(string(e.probe))
		} else {
			r.refuse("no target: to, user or all", len(payload))
		}
		return
	}
	r.ok.Add(1)
	r.find(own)
	if r.missing.count > 0 {
		r.miss()
	}
	r.deliver(payload, p)
}

func (r *router) refuse(reason string, size int) {
	r.bad.Add(1)
	r.h.badLog.Warn().Str("reason", reason).Int("bytes", size).Msg("bad envelope dropped")
}

// find looks up the targets. A connection may come up more than once.
func (r *router) find(own bool) {
	e := &r.e
	clear(r.targets)
	r.targets = r.targets[:0]
	r.missing = missing{users: r.missing.users[:0]}
	g := r.h.registry
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range e.to {
		if c := g.uuid(u); c != nil {
			r.targets = append(r.targets, c)
		} else {
			r.missing.count++
			r.missing.uuids = true
		}
	}
	for _, user := range e.users {
		c := g.user(user)
		if c == nil && own {
			r.missing.count++
			r.missing.users = append(r.missing.users, string(user))
		}
		for ; c != nil; c = c.Link {
			r.targets = append(r.targets, c)
		}
	}
}

// deliver makes the frame and addresses it.
func (r *router) deliver(payload []byte, at place) {
	e := &r.e
	if !e.all && len(r.targets) == 0 {
		return
	}
	p := conn.Push{Expires: e.expires, At: e.at, Collapse: e.collapse, Close: e.close, CloseCode: e.code, Reason: e.reason}
	head := append(r.head[:0], frameHead...)
	if e.id != nil {
		head = append(append(append(head, frameID...), e.id...), ',')
	}
	head = append(head, frameData...)
	r.head = head
	d := r.h.deliverer
	m := r.inPlace(payload, at, head, p)
	if m == nil {
		if e.data != nil {
			p.Size = len(head) + len(e.data) + 1
		}
		var text []byte
		if m, text = d.Message(p); e.data != nil {
			_ = append(append(append(text, head...), e.data...), '}')
		}
	}
	if e.all {
		d.All(m)
	} else {
		for _, c := range r.targets {
			d.To(c, m)
		}
	}
	d.Done(m)
}

// inPlace makes the frame around the data where it lies, over the rest of the
// envelope, which nobody reads again. Of a gigabyte of messages nothing has to
// be copied then. nil: there is no room for that.
func (r *router) inPlace(payload []byte, at place, head []byte, p conn.Push) *conn.Message {
	data := r.e.data
	if at.seg == nil || data == nil || r.e.close {
		return nil
	}
	offset := cap(payload) - cap(data) // data is a part of payload
	from := at.payload + offset - len(head)
	to := at.payload + offset + len(data)
	b := at.seg.Bytes()
	if from-conn.MaxHeader < at.from || &b[from+len(head)] != &data[0] {
		return nil
	}
	copy(b[from:], head)
	b[to] = '}' // behind the data there is the envelope's own, at least
	return r.h.deliverer.MessageIn(at.seg, from, to+1, p)
}

// miss counts who was not found, and has their stale presence removed.
func (r *router) miss() {
	r.misses.Add(uint64(r.missing.count))
	if r.missing.uuids && r.e.of != nil {
		r.h.heal(string(r.e.of))
	}
	for _, user := range r.missing.users {
		r.h.heal(user)
	}
}
