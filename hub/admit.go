package hub

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"pushpod/conn"
	"pushpod/internal/json"
	"pushpod/presence"
)

// Limits bounds what is let in; 0 means no bound.
type Limits struct {
	Connections         int // on this pod
	PerIP               int // of one address, or one /64 of IPv6, on this pod
	HandshakesPerSecond int // on this pod
}

// gate counts what is in, and what comes in.
type gate struct {
	mu     sync.Mutex // protects following; taken inside a loop's lock
	limits Limits
	total  int
	perIP  map[netip.Addr]int // by network, only where that is limited

	handshakes *rate.Limiter // those that come now; nil: no bound
}

func newGate(l Limits) *gate {
	return &gate{limits: l, perIP: map[netip.Addr]int{}, handshakes: newRate(l.HandshakesPerSecond)}
}

// newRate is a bound of so many a second; nil: none.
func newRate(n int) *rate.Limiter {
	if n <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(n), n)
}

// tooMany is the error of who is refused for limits.per_ip or limits.per_user.
const tooMany = "too_many"

// enter asks for one more connection from an address.
func (g *gate) enter(ip netip.Addr) *conn.Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.handshakes != nil && !g.handshakes.Allow() {
		return &conn.Refusal{Status: http.StatusTooManyRequests, Error: "rate", Reason: "too many handshakes on this pod", RetryAfter: 1}
	}
	if g.limits.Connections > 0 && g.total >= g.limits.Connections {
		return &conn.Refusal{Status: http.StatusServiceUnavailable, Error: "unavailable", Reason: "this pod holds as many connections as it may", RetryAfter: 5}
	}
	if g.limits.PerIP > 0 && g.perIP[Network(ip)] >= g.limits.PerIP {
		return &conn.Refusal{Status: http.StatusTooManyRequests, Error: tooMany, Reason: "too many connections from this address", RetryAfter: 5}
	}
	g.total++
	if g.limits.PerIP > 0 {
		g.perIP[Network(ip)]++
	}
	return nil
}

func (g *gate) leave(ip netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.limits.PerIP > 0 {
		n := Network(ip)
		if g.perIP[n]--; g.perIP[n] <= 0 {
			delete(g.perIP, n)
		}
	}
}

// Network is what counts as one address: one of IPv4, or the 64 bits that one subscriber
// has at least of IPv6 (RFC 6177).
func Network(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap(); ip.Is4() {
		return ip
	}
	n, _ := ip.Prefix(64) // an IPv6 address has as many bits
	return n.Addr()
}

// claim says whose a connection shall be.
type claim struct {
	user    string
	expires uint32 // Unix seconds; 0: never
	token   string // not verified yet, in place of a user; "": none
	once    bool   // the token stands in the query

	credential *presence.Credential // of a token that is verified; nil: none
}

// Admit decides about a handshake, and registers a new session; see
// conn.Admitter.
func (h *Hub) Admit(c *conn.Conn, r *conn.Request) (conn.Owner, *conn.Refusal) {
	by := h.settings.Load()
	r.Remote = by.Proxies.Client(r.From, r.Field(forwardedFor))
	r.AllowOrigin = r.Origin != "" && by.Origins.Allow(r.Origin, r.Host)
	if r.Problem != nil {
		return nil, r.Problem
	}
	claim, refusal := h.who(r, by)
	var replaces presence.UUID
	if refusal == nil {
		replaces, refusal = readReplaces(r)
	}
	if refusal == nil {
		refusal = h.open()
	}
	if refusal == nil {
		refusal = h.gate.enter(r.Remote)
		h.lookForProxy(r, refusal)
	}
	if refusal != nil {
		refusal.User = strings.Clone(claim.user) // which is part of the request
		return nil, refusal
	}
	claim.user = strings.Clone(claim.user) // which is part of the request
	s := newSession(h, c, claim, r.Remote)
	if h.decidesLater(claim) {
		refusal = h.decideLater(s, claim, r, replaces)
	} else {
		refusal = h.ask(s, opens(r), replaces)
	}
	if refusal != nil {
		h.gate.leave(r.Remote)
		refusal.User = s.user
		return nil, refusal
	}
	return s, nil
}

// opens reports whether a request is one for a connection, of whatever kind.
func opens(r *conn.Request) bool { return r.Upgrade || r.Events }

// ask asks Redis about a session, which answers later: it registers it where it opens, else
// it only says what would be said. replaces is the connection whose place it takes, if it is its
// user's. Its connection's loop is locked.
func (h *Hub) ask(s *session, opens bool, replaces presence.UUID) *conn.Refusal {
	e := s.entry()
	e.Replaces = replaces
	if opens {
		return h.register(s, e)
	}
	return h.check(s, e)
}

// register makes a session known, here and in Redis, which answers later. Its
// connection's loop is locked.
func (h *Hub) register(s *session, e presence.Entry) *conn.Refusal {
	// It is in the registry before it is in Redis, so that no push misses it.
	h.registry.add(s)
	if err := h.presence.Register(e, func(r presence.Registered) { h.registered(s, r) }); err != nil {
		h.registry.remove(s)
		return unavailable("this pod is leaving")
	}
	return nil
}

// Ready reports whether the pod is ready; see conn.Admitter.
func (h *Hub) Ready() bool { return len(h.Problems()) == 0 }

// registered is called by the store once Redis has answered.
func (h *Hub) registered(s *session, r presence.Registered) {
	if r.Err != nil {
		h.answers.add(conn.Answer{Conn: s.conn, Refusal: h.notRegistered(s, r.Err)})
	} else {
		h.answers.welcome(s, h.appendWelcome)
	}
	if !r.More || h.answers.full() {
		h.answers.send(h.server)
	}
	if r.Unheard != (presence.Located{}) {
		h.unheard.add(h.Replacement(s.user, r.Unheard))
	}
	for _, old := range r.Excess {
		h.uplink.publish(h.closing(old.Channel), replaced(s.user, old.UUID))
	}
}

const cannotRegister = "presence can't be written"

// notRegistered forgets a session that could not be registered, and says how it
// is refused.
func (h *Hub) notRegistered(s *session, err error) *conn.Refusal {
	h.registry.remove(s)
	refusal := h.refusal(s, err)
	refusal.User = s.user
	return refusal
}

// refusal says how a session is refused of which presence has said err.
func (h *Hub) refusal(s *session, err error) *conn.Refusal {
	var refused *presence.Refused
	if errors.As(err, &refused) {
		return refusedBy(refused)
	}
	if errors.Is(err, presence.ErrTooMany) {
		return &conn.Refusal{Status: http.StatusTooManyRequests, Error: tooMany, Reason: "this user has too many connections", RetryAfter: 5}
	}
	h.lines.notRegistered.Event().Str("user", s.user).Str("uuid", presence.FormatUUID(s.uuid)).Err(err).Send()
	return unavailable(cannotRegister)
}

// answers gathers the answers to handshakes, so that many are sent at once. Owned
// by the goroutine that calls registered.
type answers struct {
	list  []conn.Answer
	texts []byte // of welcomes
}

// answersAtOnce bounds what is kept for the next ones.
const answersAtOnce = 64

func (a *answers) full() bool { return len(a.list) == answersAtOnce }

func (a *answers) add(one conn.Answer) { a.list = append(a.list, one) }

func (a *answers) welcome(s *session, text func([]byte, *session) []byte) {
	from := len(a.texts)
	a.texts = text(a.texts, s)
	a.add(conn.Answer{Conn: s.conn, Welcome: a.texts[from:], Lasts: s.lasts(s.expires)})
}

func (a *answers) send(s *conn.Server) {
	s.Answer(a.list...)
	clear(a.list)
	a.list, a.texts = a.list[:0], a.texts[:0]
}

// replaced is the envelope that closes a user's oldest connection.
func replaced(user string, u presence.UUID) []byte {
	b := append([]byte(`{"to":"`), presence.FormatUUID(u)...)
	b = json.AppendString(append(b, `","of":`...), user)
	b = strconv.AppendInt(append(b, `,"close":{"code":`...), int64(conn.CodeReplaced), 10)
	return append(b, `,"reason":"replaced by a newer connection"}}`...)
}

// appendWelcome appends a connection's first frame.
func (h *Hub) appendWelcome(b []byte, s *session) []byte {
	b = append(b, `{"type":"welcome","uuid":"`...)
	b = presence.AppendUUID(b, s.uuid)
	b = append(b, `","user":`...)
	b = json.AppendString(b, s.user)
	b = append(b, `,"ping":`...)
	b = strconv.AppendInt(b, int64(s.conn.Ping()/time.Second), 10)
	b = append(b, `,"max_message":`...)
	b = strconv.AppendInt(b, int64(h.server.Settings().MaxMessage), 10)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, h.pods.NowMs(), 10)
	return append(b, '}')
}

// who says whose connection a request asks for.
func (h *Hub) who(r *conn.Request, by *Settings) (claim, *conn.Refusal) {
	switch {
	case r.Origin != "" && !r.AllowOrigin:
		return claim{}, forbidden("pages of this origin may not connect")
	case isForeign(r):
		return claim{}, forbidden("a page of another origin asks in a way that does not name it")
	}
	switch {
	case by.Tokens != nil:
		return h.whoByToken(r, by)
	case h.opts.Header != "":
		return h.whoByHeader(r, by)
	case h.opts.Certificate != nil:
		return h.whoByCertificate(r)
	}
	user, given := r.Query.Get("user")
	if !given {
		return claim{}, unauthorized("who connects? ?user=ID is missing")
	}
	return whoIs(user)
}

// whoIs is the claim of a user who needs no proof.
func whoIs(user string) (claim, *conn.Refusal) {
	if err := presence.ValidUser(user); err != nil {
		return claim{}, badRequest(err.Error())
	}
	return claim{user: user}, nil
}

// open says whether new connections are taken now.
func (h *Hub) open() *conn.Refusal {
	if p := h.status.refusing(); p != "" {
		return unavailable(p)
	}
	return nil
}

// wouldBeLetIn is the answer to a plain GET against which nothing speaks here.
func (h *Hub) wouldBeLetIn() *conn.Refusal {
	if h.presence.Err() != nil {
		return unavailable(cannotRegister)
	}
	return &conn.Refusal{Status: http.StatusUpgradeRequired, Error: "upgrade_required", Reason: "this request would be let in: connect with a WebSocket"}
}

func badRequest(reason string) *conn.Refusal {
	return &conn.Refusal{Status: http.StatusBadRequest, Error: "bad_request", Reason: reason}
}

func forbidden(reason string) *conn.Refusal {
	return &conn.Refusal{Status: http.StatusForbidden, Error: "forbidden", Reason: reason}
}

func unauthorized(reason string) *conn.Refusal {
	return &conn.Refusal{Status: http.StatusUnauthorized, Error: "unauthorized", Reason: reason}
}

func unavailable(reason string) *conn.Refusal {
	return &conn.Refusal{Status: http.StatusServiceUnavailable, Error: "unavailable", Reason: reason, RetryAfter: 2}
}
