package hub

import (
	"errors"
	"strings"

	"pushpod/auth"
	"pushpod/conn"
	"pushpod/presence"
)

// credential is what presence has to know of a token. once: it is to let in one
// connection only, if it has a name by which that can be remembered.
func (h *Hub) credential(i auth.Identity, once bool) *presence.Credential {
	if i.ID == "" && i.IssuedAt.IsZero() {
		return h.nameless
	}
	c := &presence.Credential{ID: strings.Clone(i.ID)}
	if !i.IssuedAt.IsZero() {
		c.Issued = i.IssuedAt.Unix()
	}
	if once && i.ID != "" {
		c.Once = presence.Always
		if !i.Expires.IsZero() {
			c.Once = max(1, i.Expires.Unix())
		}
	}
	return c
}

// check asks what would be said of a handshake by whoever sent a plain GET. Its
// connection's loop is locked.
func (h *Hub) check(s *session, e presence.Entry) *conn.Refusal {
	err := h.presence.Check(e, true, func(err error) {
		refusal := h.wouldBeLetIn()
		if err != nil {
			refusal = h.refusal(s, err)
		}
		h.refuse(s, refusal)
	})
	if err != nil {
		return unavailable("this pod is leaving")
	}
	return nil
}

// refusedBy says how a handshake is refused against which a key in Redis speaks.
func refusedBy(r *presence.Refused) *conn.Refusal {
	switch r.Ground {
	case presence.Blocked:
		return forbidden(because("the user is blocked", r.Value))
	case presence.Revoked:
		return unauthorized(because("the token is revoked", r.Value))
	case presence.Outdated:
		return unauthorized("the token was issued too long ago: a fresh one is needed")
	}
	return unauthorized("the token has been used: it lets in one connection")
}

// because adds a reason that an operator has given, where there is one, as far as it fits
// into a close frame (RFC 6455 section 5.5).
func because(what, reason string) string {
	if reason == "" {
		return what
	}
	text := what + ": " + strings.ToValidUTF8(reason, "")
	return strings.ToValidUTF8(text[:min(len(text), maxCloseReason)], "")
}

// Revoke closes a connection against which a key in Redis speaks now; see
// presence.Options.Refused. It may be told so more than once.
func (h *Hub) Revoke(e presence.Entry, r *presence.Refused) {
	h.registry.mu.Lock()
	s := h.registry.uuid(e.UUID)
	h.registry.mu.Unlock()
	if s == nil || r.Ground != presence.Blocked && e.Credential != s.credential.Load() {
		return // it has ended, or a fresh token has come
	}
	reason := "revoked"
	switch r.Ground {
	case presence.Blocked:
		reason = because("blocked", r.Value)
	case presence.Revoked:
		reason = because("revoked", r.Value)
	case presence.Outdated:
		reason = "revoked: the token was issued too long ago"
	}
	if s.conn.Close(conn.CodeRevoked, reason) {
		h.revoked[r.Ground].Add(1)
		h.lines.revoked.Event().Str("user", s.user).Str("uuid", presence.FormatUUID(s.uuid)).Str("reason", reason).Send()
	}
}

// exchange puts a fresh token, which is good by itself, in the place of the one before,
// unless a key in Redis speaks against it. Where Redis does not say, the token is taken:
// the next renewal asks again. The receipt is owed, and comes later. false: this pod is
// leaving.
func (s *session) exchange(i auth.Identity, id []byte) bool {
	h, e := s.hub(), s.entry()
	e.Credential = h.credential(i, false)
	return h.presence.Check(e, false, func(err error) {
		var refused *presence.Refused
		if errors.As(err, &refused) {
			h.rejected.Add(1)
			s.conn.Answer(receipt(id, errorNotAllowed, refusedBy(refused).Reason))
			return
		}
		s.credential.Store(e.Credential)
		s.conn.Last(s.lasts(expiry(i.Expires)))
		s.conn.Answer(receipt(id, "", ""))
	}) == nil
}
