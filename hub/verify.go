package hub

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"pushpod/auth"
	"pushpod/conn"
)

const (
	maxUnverified = 1024 // handshakes that wait for their token's turn
	maxVerifying  = 512  // whose token is being verified: more than may wait for an endpoint
)

// whoByToken says whose connection a request asks for by its token, where that can be
// verified at once.
func (h *Hub) whoByToken(r *conn.Request) (claim, *conn.Refusal) {
	query, inQuery := r.Query.Get("token")
	token, place := auth.Find(auth.Places{
		Authorization: r.Field("Authorization"), Cookie: r.Field("Cookie"), CookieName: h.opts.Cookie,
		Subprotocols: r.Field("Sec-WebSocket-Protocol"), Query: query, HasQuery: inQuery,
	})
	once := place == auth.InQuery // it stands in logs and histories
	if !h.opts.Tokens.Cheap(token) {
		return claim{token: token, once: once}, nil
	}
	identity, err := h.opts.Tokens.Verify(context.Background(), token) // does not wait
	if err != nil {
		return claim{}, notVerified(err)
	}
	return claim{user: identity.User, expires: expiry(identity.Expires), credential: h.credential(identity, once)}, nil
}

// expiry is t in Unix seconds, 0 where there is none within them.
func expiry(t time.Time) uint32 {
	if s := t.Unix(); !t.IsZero() && s <= math.MaxUint32 {
		return uint32(s)
	}
	return 0
}

func notVerified(err error) *conn.Refusal {
	if errors.Is(err, auth.ErrUnavailable) {
		return unavailable(err.Error())
	}
	return unauthorized(err.Error())
}

// unverified is a token that takes long to verify: of a handshake, whose session has no
// user yet and is not in the registry, or of a frame.
type unverified struct {
	session *session
	token   string
	upgrade bool   // of a handshake: it asks for a WebSocket
	once    bool   // of a handshake: it stands where others may see it
	id      []byte // of a frame; nil: of a handshake
}

// verifyLater has a token verified off the loops.
func (h *Hub) verifyLater(s *session, token string, upgrade, once bool) *conn.Refusal {
	select {
	case h.unverified <- unverified{session: s, token: strings.Clone(token), upgrade: upgrade, once: once}:
		return nil
	default:
		return unavailable("too many tokens wait to be verified")
	}
}

// verifyTokens verifies tokens until ctx ends, and waits for those that it has begun.
func (h *Hub) verifyTokens(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, maxVerifying)
	for {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		select {
		case <-ctx.Done():
			return
		case u := <-h.unverified:
			all.Go(func() {
				h.verified(ctx, u)
				<-slots
			})
		}
	}
}

// verified verifies a token, and goes on with what it is for.
func (h *Hub) verified(ctx context.Context, u unverified) {
	identity, err := h.opts.Tokens.Verify(ctx, u.token)
	if u.id == nil {
		h.handshake(u, identity, err)
		return
	}
	code, reason := u.session.mayRefresh(identity, err)
	if code == "" {
		if u.session.exchange(identity, u.id) {
			return
		}
		code, reason = errorUnavailable, "this pod is leaving"
	}
	h.rejected.Add(1)
	u.session.conn.Answer(receipt(u.id, code, reason))
}

// handshake goes on with a handshake whose token was verified.
func (h *Hub) handshake(u unverified, identity auth.Identity, err error) {
	var refusal *conn.Refusal
	s := u.session
	switch {
	case err != nil:
		refusal = notVerified(err)
	default:
		// The connection may have ended: then it must not come into presence.
		s.conn.Decide(func() {
			s.user, s.expires = identity.User, expiry(identity.Expires)
			s.credential.Store(h.credential(identity, u.once))
			refusal = h.ask(s, u.upgrade)
		})
	}
	if refusal != nil {
		h.server.Answer(conn.Answer{Conn: s.conn, Refusal: refusal})
	}
}

// refresh takes a fresh token of the connection's user. Its loop is locked.
func (s *session) refresh(f *clientFrame) {
	h, token := s.hub(), string(f.token)
	switch {
	case f.id == nil || f.token == nil:
		s.reject(f.id, errorBadFrame, "a token frame needs an id and a token")
	case h.opts.Tokens.Cheap(token):
		identity, err := h.opts.Tokens.Verify(context.Background(), token) // does not wait
		if code, reason := s.mayRefresh(identity, err); code != "" {
			s.reject(f.id, code, reason)
			return
		}
		if !s.exchange(identity, bytes.Clone(f.id)) {
			s.reject(f.id, errorUnavailable, "this pod is leaving")
			return
		}
		s.conn.OweLocked()
	case len(h.unverified) < maxUnverified/2: // the others are for handshakes
		select {
		case h.unverified <- unverified{session: s, token: token, id: bytes.Clone(f.id)}:
			s.conn.OweLocked()
			return
		default:
		}
		fallthrough
	default:
		s.reject(f.id, errorUnavailable, "too many tokens wait to be verified")
	}
}

// mayRefresh says why a token is not taken in place of the one before, as a receipt
// does; "": it is.
func (s *session) mayRefresh(identity auth.Identity, err error) (code, reason string) {
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		return errorUnavailable, err.Error()
	case err != nil:
		return errorNotAllowed, err.Error()
	case identity.User != s.user:
		return errorNotAllowed, "the token is of another user"
	}
	return "", ""
}
