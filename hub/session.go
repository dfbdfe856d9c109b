package hub

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"pushpod/conn"
	"pushpod/presence"
)

// session is the hub's side of one connection: whose it is, and whatever the hub
// keeps for it. It is the connection's owner (conn.Owner): its methods are called
// with the connection's loop locked. There may be a million of them, so its size
// matters (a test says how large it may be).
type session struct {
	// Static.
	conn   *conn.Conn
	user   string
	uuid   presence.UUID
	remote [16]byte // as IPv6

	// What its token says that can be withdrawn; nil: it has come without one.
	credential atomic.Pointer[presence.Credential]

	next *session // the user's next older one; guarded by registry.mu
	mark uint32   // the last message addressed to it; owned by the router

	expires uint32 // when the token of its handshake does, in Unix seconds; 0: never. Static once it is registered
}

func newSession(h *Hub, c *conn.Conn, by claim, remote netip.Addr) *session {
	s := &session{conn: c, uuid: h.pods.NewUUID(), remote: remote.As16()}
	s.take(by)
	return s
}

// take makes it the session of a claim. It is not registered yet.
func (s *session) take(by claim) {
	s.user, s.expires = by.user, by.expires
	s.credential.Store(by.credential)
}

// hub is the one that has admitted it. A field of its own would cost eight bytes for each.
func (s *session) hub() *Hub { return s.conn.Admitter().(*Hub) }

// address is the client's address.
func (s *session) address() netip.Addr { return netip.AddrFrom16(s.remote).Unmap() }

// lasts is how long from now on the connection may last, whose token expires at that
// time, in Unix seconds, 0: never; but no longer than its hook has said. It is at least a
// millisecond; 0: for ever.
func (s *session) lasts(expires uint32) time.Duration {
	ends := time.Time{}
	if s.hub().opts.Hook != nil {
		ends = s.hub().verdicts.about(s).ends
	}
	if at := time.Unix(int64(expires), 0); expires != 0 && (ends.IsZero() || at.Before(ends)) {
		ends = at
	}
	if ends.IsZero() {
		return 0
	}
	return max(time.Millisecond, time.Until(ends))
}

// tokenUser is whose its tokens must be: its own user, whoever else the hook has named.
func (s *session) tokenUser() string {
	if s.hub().opts.Hook != nil {
		if user := s.hub().verdicts.about(s).asked; user != "" {
			return user
		}
	}
	return s.user
}

// entry is what presence has of it.
func (s *session) entry() presence.Entry {
	return presence.Entry{User: s.user, UUID: s.uuid, Credential: s.credential.Load()}
}

// Opened has it logged that the connection is open.
func (s *session) Opened() {
	if e := s.hub().log.Debug(); e.Enabled() {
		e.Str("user", s.user).Str("uuid", presence.FormatUUID(s.uuid)).Stringer("address", s.address()).Msg("connection opened")
	}
}

// Renew renews the entry, unless another connection has its place, or is about to: one that
// is under way would bring it back. Then it only asks what speaks against the connection. What
// is told that it is closed is closed long before its entry expires.
func (s *session) Renew() {
	if s.conn.LeavesLocked() {
		s.check()
		return
	}
	s.hub().presence.Renew(s.entry())
}

// check asks what speaks against the connection, and writes nothing.
func (s *session) check() {
	h, e := s.hub(), s.entry()
	asked := e
	if e.Credential != nil {
		c := *e.Credential
		c.Once = 0 // it has used it up itself
		asked.Credential = &c
	}
	_ = h.presence.Check(asked, false, func(err error) {
		var refused *presence.Refused
		if errors.As(err, &refused) {
			h.Revoke(e, refused)
		}
	})
}

// Closed forgets the session.
func (s *session) Closed(why conn.Cause) {
	h := s.hub()
	defer h.gate.leave(s.address()) // behind its end in the registry: see gate.set
	if h.opts.Hook != nil {
		h.verdicts.forget(s)
	}
	if !h.registry.remove(s) {
		return // it was refused, or not yet known whose it is
	}
	_ = h.presence.Unregister(s.entry(), nil) // closed: the entry expires by itself
	if e := h.log.Debug(); e.Enabled() {
		e.Str("user", s.user).Str("uuid", presence.FormatUUID(s.uuid)).Stringer("reason", why).Msg("connection closed")
	}
}
