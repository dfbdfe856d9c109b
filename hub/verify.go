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

// findToken returns the token of a request, or "", and where it stands.
func findToken(r *conn.Request, cookie string) (string, auth.Place) {
	query, inQuery := r.Query.Get("token")
	token, place := auth.Find(auth.Places{
		Authorization: r.Field("Authorization"), Cookie: r.Field("Cookie"), CookieName: cookie,
		Subprotocols: r.Field("Sec-WebSocket-Protocol"), Query: query, HasQuery: inQuery,
	})
	return token, place
}

// whoByToken says whose connection a request asks for by its token, where that can be
// verified at once.
func (h *Hub) whoByToken(r *conn.Request, by *Settings) (claim, *conn.Refusal) {
	token, place := findToken(r, by.Cookie)
	once := place == auth.InQuery // it stands in logs and histories
	if !by.Tokens.Cheap(token) {
		return claim{token: token, once: once}, nil
	}
	identity, err := by.Tokens.Verify(context.Background(), token) // does not wait
	if err != nil {
		return claim{}, notVerified(err)
	}
	return h.claimOf(identity, once), nil
}

// claimOf is the claim of a token that is good. once: it is to let in one connection.
func (h *Hub) claimOf(i auth.Identity, once bool) claim {
	return claim{user: i.User, expires: expiry(i.Expires), credential: h.credential(i, once)}
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

// unverified is a token that takes long to verify: of a handshake, or of a frame.
type unverified struct {
	session   *session
	token     string
	handshake *undecided // nil: of a frame
	id        []byte     // of a frame
}

// verifyLater has the token of a handshake verified off the loops.
func (h *Hub) verifyLater(u undecided) *conn.Refusal {
	select {
	case h.unverified <- unverified{session: u.session, token: strings.Clone(u.claim.token), handshake: &u}:
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
	identity, err := h.tokens().Verify(ctx, u.token)
	if u.handshake != nil {
		h.tokenVerified(*u.handshake, identity, err)
		return
	}
	h.refreshing.end(u.session) // before the client is told: it may have another one
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

// tokenVerified goes on with a handshake whose token was verified.
func (h *Hub) tokenVerified(u undecided, identity auth.Identity, err error) {
	if err != nil {
		h.refuse(u.session, notVerified(err))
		return
	}
	u.claim = h.claimOf(identity, u.claim.once)
	if h.opts.Hook == nil {
		h.letIn(u, auth.Verdict{})
	} else if refusal := h.askHook(u); refusal != nil {
		h.refuse(u.session, refusal)
	}
}

// refresh takes a fresh token of the connection's user. Its loop is locked.
func (s *session) refresh(f *clientFrame) {
	h, token := s.hub(), string(f.token)
	switch {
	case f.id == nil || f.token == nil:
		s.reject(f.id, errorBadFrame, "a token frame needs an id and a token")
	case h.tokens().Cheap(token):
		identity, err := h.tokens().Verify(context.Background(), token) // does not wait
		if code, reason := s.mayRefresh(identity, err); code != "" {
			s.reject(f.id, code, reason)
			return
		}
		if !s.exchange(identity, bytes.Clone(f.id)) {
			s.reject(f.id, errorUnavailable, "this pod is leaving")
			return
		}
		s.conn.OweLocked()
	case !h.refreshing.begin(s):
		s.reject(f.id, errorRate, "the token before is still being verified")
	case !h.refreshLater(unverified{session: s, token: token, id: bytes.Clone(f.id)}):
		h.refreshing.end(s)
		s.reject(f.id, errorUnavailable, "too many tokens wait to be verified")
	default:
		s.conn.OweLocked()
	}
}

// refreshLater has the token of a frame verified off the loops. Half of the room for
// those that wait is left to handshakes.
func (h *Hub) refreshLater(u unverified) bool {
	if len(h.unverified) >= maxUnverified/2 {
		return false
	}
	select {
	case h.unverified <- u:
		return true
	default:
		return false
	}
}

// refreshing are the sessions of which a token is being verified off the loops: one of
// each, so that none of them keeps the others from it.
type refreshing struct {
	mu  sync.Mutex // protects all; taken inside a loop's lock
	all map[*session]struct{}
}

// begin returns false where one of the session's is already.
func (r *refreshing) begin(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, is := r.all[s]; is {
		return false
	}
	if r.all == nil {
		r.all = map[*session]struct{}{}
	}
	r.all[s] = struct{}{}
	return true
}

func (r *refreshing) end(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
}

// mayRefresh says why a token is not taken in place of the one before, as a receipt
// does; "": it is.
func (s *session) mayRefresh(identity auth.Identity, err error) (code, reason string) {
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		return errorUnavailable, err.Error()
	case err != nil:
		return errorNotAllowed, err.Error()
	case identity.User != s.tokenUser():
		return errorNotAllowed, "the token is of another user"
	}
	return "", ""
}
