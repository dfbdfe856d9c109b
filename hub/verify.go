package hub

import (
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
	token, _ := auth.Find(auth.Places{
		Authorization: r.Field("Authorization"), Cookie: r.Field("Cookie"), CookieName: h.opts.Cookie,
		Subprotocols: r.Field("Sec-WebSocket-Protocol"), Query: query, HasQuery: inQuery,
	})
	if !h.opts.Tokens.Cheap(token) {
		return claim{token: token}, nil
	}
	identity, err := h.opts.Tokens.Verify(context.Background(), token) // does not wait
	if err != nil {
		return claim{}, notVerified(err)
	}
	return claim{user: identity.User, expires: expiry(identity.Expires)}, nil
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

// unverified is a handshake whose token takes long to verify. Its session has no user
// yet and is not in the registry.
type unverified struct {
	session *session
	token   string
	upgrade bool
}

// verifyLater has a token verified off the loops.
func (h *Hub) verifyLater(s *session, token string, upgrade bool) *conn.Refusal {
	select {
	case h.unverified <- unverified{s, strings.Clone(token), upgrade}:
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
				h.verify(ctx, u)
				<-slots
			})
		}
	}
}

// verify verifies a token, and goes on with the handshake.
func (h *Hub) verify(ctx context.Context, u unverified) {
	identity, err := h.opts.Tokens.Verify(ctx, u.token)
	var refusal *conn.Refusal
	s := u.session
	switch {
	case err != nil:
		refusal = notVerified(err)
	case !u.upgrade:
		refusal = wouldBeLetIn()
	default:
		// The connection may have ended: then it must not come into presence.
		s.conn.Decide(func() {
			s.user, s.expires = identity.User, expiry(identity.Expires)
			refusal = h.register(s)
		})
	}
	if refusal != nil {
		h.server.Answer(conn.Answer{Conn: s.conn, Refusal: refusal})
	}
}
