package hub

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"

	"pushpod/conn"
	"pushpod/presence"
)

// router takes the messages of the subscription to their connections. It
// belongs to the subscriber's goroutine; others may read the counters.
type router struct {
	h *Hub

	e       envelope
	targets []*session // of the envelope at hand
	missing missing
	head    []byte // of the frame at hand, up to the data
	tail    []byte // and behind it
	mark    uint32 // of the message at hand: a session with it is a target already

	ok, bad, misses, unknown atomic.Uint64
	uncontrolled             atomic.Uint64 // closes that were ignored
}

// missing is who was not found.
type missing struct {
	uuids []presence.UUID
	users []string
}

const (
	frameHead = `{"type":"message",`
	frameID   = `"id":`
	frameData = `"data":`
	frameTail = `}`
)

// received is how many messages have been read.
func (r *router) received() uint64 { return r.ok.Load() + r.bad.Load() }

// route handles one message that was published on a channel with this role.
func (r *router) route(on role, payload []byte) {
	e := &r.e
	reason := e.parse(payload)
	if e.unknown > 0 {
		r.ignored()
	}
	if reason != "" {
		r.refuse(reason, len(payload))
		return
	}
	if e.isProbe() {
		switch on {
		case roleOwn:
			r.h.probed(string(e.probe))
		case roleShard:
			r.h.shardProbed(string(e.probe))
		default:
			r.refuse("no target: to, user or all", len(payload))
		}
		return
	}
	if e.isReplacement() {
		r.replacement(on)
		return
	}
	if r.h.opts.Control {
		if reason := r.restrict(on); reason != "" {
			r.refuse(reason, len(payload))
			return
		}
	}
	r.ok.Add(1)
	r.find(on)
	r.deliver()
	r.miss()
}

// replacement obeys a replacement where it comes on a channel of this pod's alone. With
// redis.control that is the one on which closes are obeyed: it ends a connection, too.
func (r *router) replacement(on role) {
	e := &r.e
	switch {
	case !on.own():
		r.refuse("no target: to, user or all", 0)
	case r.h.opts.Control && !on.controls():
		r.uncontrolled.Add(1)
		r.h.lines.ignoredReplacement.Event().Send()
	default:
		r.h.replaced(e.replaced, string(e.of))
	}
}

// restrict takes out of an envelope what is not obeyed on a channel with this role, where
// redis.control is on. A reason says why nothing of it is.
func (r *router) restrict(on role) (reason string) {
	e := &r.e
	if e.all && !on.all() {
		return "all is for push:all and push:ctl:all (redis.control)"
	}
	if !e.close || on.controls() {
		return ""
	}
	r.uncontrolled.Add(1)
	r.h.lines.ignoredClose.Event().Int("code", int(e.code)).Send()
	e.close = false
	if e.seen &^= hasClose; e.seen&hasData == 0 {
		return "close is for push:ctl:… (redis.control), and there is no data"
	}
	return ""
}

func (r *router) refuse(reason string, size int) {
	r.bad.Add(1)
	r.h.badEnvelopes.add(reason, size)
	r.h.lines.badEnvelope.Event().Str("reason", reason).Int("bytes", size).Send()
}

// ignored counts the members of an envelope that are not known, and names them.
func (r *router) ignored() {
	r.unknown.Add(uint64(r.e.unknown))
	log := r.h.lines.unknownMembers.Event()
	if log == nil {
		return
	}
	var names []string
	for _, name := range r.e.names {
		names = append(names, cut(name))
	}
	log.Strs("members", names).Send()
}

// cut returns at most 64 bytes of a text that may have any length.
func cut(text []byte) string {
	const most = 64
	if len(text) <= most {
		return string(text)
	}
	return strings.ToValidUTF8(string(text[:most]), "") + "…"
}

// find looks up the targets: each session once.
func (r *router) find(on role) {
	e := &r.e
	clear(r.targets)
	r.targets = r.targets[:0]
	r.missing = missing{uuids: r.missing.uuids[:0], users: r.missing.users[:0]}
	r.mark++
	g := r.h.registry
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range e.to {
		if s := g.uuid(u); s != nil {
			r.target(s)
		} else {
			r.missing.uuids = append(r.missing.uuids, u)
		}
	}
	for _, user := range e.users {
		s := g.user(user)
		if s == nil && on.own() {
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

// miss counts who was not found, each of them once, and has their stale presence
// removed.
func (r *router) miss() {
	m := &r.missing
	slices.SortFunc(m.uuids, func(a, b presence.UUID) int { return bytes.Compare(a[:], b[:]) })
	slices.Sort(m.users)
	m.uuids, m.users = slices.Compact(m.uuids), slices.Compact(m.users)
	r.misses.Add(uint64(len(m.uuids) + len(m.users)))
	if len(m.uuids) > 0 && r.e.of != nil {
		r.h.heal(string(r.e.of))
	}
	for _, user := range m.users {
		r.h.heal(user)
	}
}
