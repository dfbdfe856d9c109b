package hub

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"pushpod/conn"
	"pushpod/internal/json"
	"pushpod/presence"
)

// Limits bounds what is let in; 0 means no bound.
type Limits struct {
	Connections         int // on this pod
	PerIP               int // of one address, on this pod
	HandshakesPerSecond int // on this pod
}

// gate counts what is in, and what comes in.
type gate struct {
	limits Limits

	mu    sync.Mutex // protects following; taken inside a loop's lock
	total int
	perIP map[netip.Addr]int // only where that is limited
	level float64            // handshakes that may come now
	at    time.Time
}

func newGate(l Limits) *gate {
	return &gate{limits: l, perIP: map[netip.Addr]int{}, level: float64(l.HandshakesPerSecond), at: time.Now()}
}

// enter asks for one more connection from an address. Without hold it only
// says what would be said.
func (g *gate) enter(ip netip.Addr, hold bool) *conn.Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if rate := float64(g.limits.HandshakesPerSecond); rate > 0 {
		now := time.Now()
		g.level = min(rate, g.level+now.Sub(g.at).Seconds()*rate)
		g.at = now
		if g.level < 1 {
			return &conn.Refusal{Status: http.StatusTooManyRequests, Error: "rate", Reason: "too many handshakes on this pod", RetryAfter: 1}
		}
		g.level--
	}
	if g.limits.Connections > 0 && g.total >= g.limits.Connections {
		return &conn.Refusal{Status: http.StatusServiceUnavailable, Error: "unavailable", Reason: "this pod holds as many connections as it may", RetryAfter: 5}
	}
	if g.limits.PerIP > 0 && g.perIP[ip] >= g.limits.PerIP {
		return &conn.Refusal{Status: http.StatusTooManyRequests, Error: "too_many", Reason: "too many connections from this address", RetryAfter: 5}
	}
	if hold {
		g.total++
		if g.limits.PerIP > 0 {
			g.perIP[ip]++
		}
	}
	return nil
}

func (g *gate) leave(ip netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.limits.PerIP > 0 {
		if g.perIP[ip]--; g.perIP[ip] <= 0 {
			delete(g.perIP, ip)
		}
	}
}

// Check says whether a request would be let in; see conn.Handler.
func (h *Hub) Check(r *conn.Request) *conn.Refusal {
	_, refusal := h.who(r)
	if refusal == nil {
		refusal = h.open()
	}
	if refusal == nil {
		refusal = h.gate.enter(r.Remote, false)
	}
	return refusal
}

// Handshake registers a new connection; see conn.Handler.
func (h *Hub) Handshake(c *conn.Conn, r *conn.Request) *conn.Refusal {
	user, refusal := h.who(r)
	if refusal != nil {
		return refusal
	}
	if refusal := h.open(); refusal != nil {
		return refusal
	}
	if refusal := h.gate.enter(r.Remote, true); refusal != nil {
		return refusal
	}
	c.Identify(h.pods.NewUUID(), user)
	// It is in the registry before it is in Redis, so that no push misses it.
	h.registry.add(c)
	h.presence.Register(entryOf(c), func(r presence.Registered) { h.registered(c, r) })
	return nil
}

// registered is called by the store once Redis has answered.
func (h *Hub) registered(c *conn.Conn, r presence.Registered) {
	if r.Err != nil {
		h.rejectedBy(r.Err, c)
	} else {
		h.welcomes.add(c, h.appendWelcome)
	}
	if !r.More || h.welcomes.full() {
		h.welcomes.send(h.server)
	}
	for _, old := range r.Excess {
		h.uplink.publish(old.Channel, replaced(c.User(), old.UUID))
	}
}

// rejectedBy refuses a connection that is not registered.
func (h *Hub) rejectedBy(err error, c *conn.Conn) {
	h.registry.remove(c)
	if errors.Is(err, presence.ErrTooMany) {
		c.Refuse(&conn.Refusal{Status: http.StatusTooManyRequests, Error: "too_many", Reason: "this user has too many connections", RetryAfter: 5})
		return
	}
	h.registerLog.Warn().Err(err).Str("uuid", presence.FormatUUID(c.UUID())).Msg("connection not registered")
	c.Refuse(unavailable("presence can't be written"))
}

// welcomes gathers the connections that are registered, so that many are accepted
// at once. Owned by the goroutine that calls registered.
type welcomes struct {
	list  []conn.Welcome
	texts []byte
}

// welcomesAtOnce bounds what is kept for the next ones.
const welcomesAtOnce = 64

func (w *welcomes) full() bool { return len(w.list) == welcomesAtOnce }

func (w *welcomes) add(c *conn.Conn, text func([]byte, *conn.Conn) []byte) {
	from := len(w.texts)
	w.texts = text(w.texts, c)
	w.list = append(w.list, conn.Welcome{Conn: c, Text: w.texts[from:]})
}

func (w *welcomes) send(s *conn.Server) {
	s.AcceptAll(w.list)
	clear(w.list)
	w.list, w.texts = w.list[:0], w.texts[:0]
}

// replaced is the envelope that closes a user's oldest connection.
func replaced(user string, u conn.UUID) []byte {
	b := append([]byte(`{"to":"`), presence.FormatUUID(u)...)
	b = json.AppendString(append(b, `","of":`...), user)
	b = strconv.AppendInt(append(b, `,"close":{"code":`...), int64(conn.CodeReplaced), 10)
	return append(b, `,"reason":"replaced by a newer connection"}}`...)
}

// appendWelcome appends a connection's first frame.
func (h *Hub) appendWelcome(b []byte, c *conn.Conn) []byte {
	b = append(b, `{"type":"welcome","uuid":"`...)
	b = presence.AppendUUID(b, c.UUID())
	b = append(b, `","user":`...)
	b = json.AppendString(b, c.User())
	b = append(b, `,"ping":`...)
	b = strconv.AppendInt(b, int64(c.Ping()/time.Second), 10)
	b = append(b, `,"max_message":`...)
	b = strconv.AppendInt(b, int64(h.opts.MaxMessage), 10)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, h.pods.NowMs(), 10)
	return append(b, '}')
}

// who says whose connection a request asks for.
func (h *Hub) who(r *conn.Request) (user string, _ *conn.Refusal) {
	if r.Origin != "" && !r.AllowOrigin {
		return "", &conn.Refusal{Status: http.StatusForbidden, Error: "forbidden", Reason: "pages of this origin may not connect"}
	}
	user, given := r.Query.Get("user")
	if !given {
		return "", &conn.Refusal{Status: http.StatusUnauthorized, Error: "unauthorized", Reason: "who connects? ?user=ID is missing"}
	}
	if err := presence.ValidUser(user); err != nil {
		return "", &conn.Refusal{Status: http.StatusBadRequest, Error: "bad_request", Reason: err.Error()}
	}
	return user, nil
}

// AllowOrigin allows the pages of the host itself; see conn.Handler.
func (h *Hub) AllowOrigin(origin, host string) bool { return sameHost(origin, host) }

// sameHost reports whether a page's origin has the host that it connects to,
// on whatever port.
func sameHost(origin, host string) bool {
	o, err := url.Parse(origin)
	if err != nil || o.Scheme != "http" && o.Scheme != "https" {
		return false
	}
	h, err := url.Parse("//" + host)
	return err == nil && o.Hostname() != "" && strings.EqualFold(o.Hostname(), h.Hostname())
}

// open says whether new connections are taken now.
func (h *Hub) open() *conn.Refusal {
	if p := h.status.refusing(); p != "" {
		return unavailable(p)
	}
	return nil
}

func unavailable(reason string) *conn.Refusal {
	return &conn.Refusal{Status: http.StatusServiceUnavailable, Error: "unavailable", Reason: reason, RetryAfter: 2}
}

// Renew renews a connection's presence; see conn.Handler.
func (h *Hub) Renew(c *conn.Conn) { h.presence.Renew(entryOf(c)) }

// Closed forgets a connection; see conn.Handler.
func (h *Hub) Closed(c *conn.Conn, why conn.Cause) {
	h.gate.leave(c.Remote())
	if h.registry.remove(c) {
		h.presence.Unregister(entryOf(c), nil)
	}
	if e := h.log.Debug(); e.Enabled() {
		e.Str("uuid", presence.FormatUUID(c.UUID())).Stringer("reason", why).Msg("connection closed")
	}
}

func entryOf(c *conn.Conn) presence.Entry { return presence.Entry{User: c.User(), UUID: c.UUID()} }
