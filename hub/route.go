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
	targets []*session // of the envelope at hand
	missing missing
	head    []byte // of the frame at hand, up to the data
	tail    []byte // and behind it
	mark    uint32 // of the message at hand: a session with it is a target already

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
	frameTail = `}`
)

// route handles one published message.
func (r *router) route(channel, payload []byte) {
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
	r.deliver()
	if r.missing.count > 0 {
		r.miss()
	}
}

func (r *router) refuse(reason string, size int) {
	r.bad.Add(1)
	r.h.badLog.Warn().Str("reason", reason).Int("bytes", size).Msg("bad envelope dropped")
}

// find looks up the targets: each session once.
func (r *router) find(own bool) {
	e := &r.e
	clear(r.targets)
	r.targets = r.targets[:0]
	r.missing = missing{users: r.missing.users[:0]}
	r.mark++
	g := r.h.registry
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range e.to {
		if s := g.uuid(u); s != nil {
			r.target(s)
		} else {
			r.missing.count++
			r.missing.uuids = true
		}
	}
	for _, user := range e.users {
		s := g.user(user)
		if s == nil && own {
			r.missing.count++
			r.missing.users = append(r.missing.users, string(user))
		}
		for ; s != nil; s = s.next {
			r.target(s)
		}
	}
}

func (r *router) target(s *session) {
	if s.mark != r.mark {
		s.mark = r.mark
		r.targets = append(r.targets, s)
	}
}

// deliver sends the message.
func (r *router) deliver() {
	e := &r.e
	if !e.all && len(r.targets) == 0 {
		return
	}
	head := append(r.head[:0], frameHead...)
	if e.id != nil {
		head = append(append(append(head, frameID...), e.id...), ',')
	}
	r.head = append(head, frameData...)
	if !e.all && len(r.targets) == 1 && e.seen&(hasExpires|hasCollapse|hasClose) == 0 {
		r.h.deliverer.Plain(r.targets[0].conn, e.at, r.head, e.data, r.tail)
		return
	}
	r.send(r.frame())
}

// frame makes the frame of a message that is special, or for several.
func (r *router) frame() *conn.Frame {
	e := &r.e
	p := conn.Push{Expires: e.expires, At: e.at, Collapse: e.collapse, Close: e.close, CloseCode: e.code, Reason: e.reason}
	if e.data == nil {
		return r.h.deliverer.Frame(p)
	}
	return r.h.deliverer.Frame(p, r.head, e.data, r.tail)
}

// send sends a frame to the targets, and lets go of it.
func (r *router) send(f *conn.Frame) {
	if r.e.all {
		r.h.deliverer.All(f)
	} else {
		for _, s := range r.targets {
			r.h.deliverer.To(s.conn, f)
		}
	}
	f.Release()
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
