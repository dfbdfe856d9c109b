package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// gate decides who is answered. It knows of each route who may ask for it.
type gate struct {
	mux    *http.ServeMux
	access map[string]access // by the mux's pattern; what matches none is for readers

	token   [sha256.Size]byte // its hash
	given   bool              // there is a token
	name    string            // of the host that was configured
	byName  bool              // requests must name this host
	refused func(reason string, remote netip.Addr)

	over     chan struct{} // closed once another gate has taken this one's place
	sessions sessions
	tries    tries
	pages    pages
}

// newGate makes the gate of all routes, and of those that list adds.
func newGate(o Options, list func(Options, *gate) []route) *gate {
	name, _, _ := net.SplitHostPort(o.Listen)
	g := &gate{
		mux:     http.NewServeMux(),
		access:  map[string]access{},
		given:   o.Token != "",
		name:    strings.ToLower(name),
		byName:  o.Token == "" || isLoopback(name),
		refused: o.Refused,
		over:    make(chan struct{}),
		tries:   newTries(),
		pages:   newPages(),
	}
	g.token = sha256.Sum256([]byte(o.Token))
	g.sessions = newSessions(g.token)
	for _, r := range list(o, g) {
		pattern := r.access.method() + " " + r.path
		g.access[pattern] = r.access
		g.mux.HandleFunc(pattern, r.handler)
	}
	return g
}

// asks reports whether readers must show a token.
func (g *gate) asks() bool { return g.given }

// ServeHTTP answers those who may ask.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	harden(w.Header())
	_, pattern := g.mux.Handler(r)
	if a := g.access[pattern]; a == open || g.lets(w, r, a) {
		g.mux.ServeHTTP(w, r)
	}
}

// lets reports whether a request may go on; else it has answered.
func (g *gate) lets(w http.ResponseWriter, r *http.Request, a access) bool {
	switch {
	case g.byName && !g.isNamed(r.Host):
		g.refuse(w, r, http.StatusForbidden, "the Host of the request does not name this pod: use an IP address, localhost or the host of admin.listen")
	case isForeign(r):
		g.refuse(w, r, http.StatusForbidden, "a page of another site asks")
	case a == entering || !g.given:
		return true
	default:
		return g.knows(w, r)
	}
	return false
}

// isNamed reports whether a request's Host is one that no stranger can have lead
// here. Under a name of his own, a page of his would be of the same origin as ours
// (DNS rebinding).
func (g *gate) isNamed(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	_, err = netip.ParseAddr(name)
	return err == nil || isLoopback(name) || name != "" && name == g.name
}

// isForeign reports whether a page of another site asks, as far as the browser says
// so. Following a link is no such thing.
func isForeign(r *http.Request) bool {
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !read {
		return http.NewCrossOriginProtection().Check(r) != nil
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		_, host, _ := strings.Cut(r.Header.Get("Origin"), "://")
		return r.Header.Get("Origin") != "" && !strings.EqualFold(host, r.Host)
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// knows reports whether the request shows the token, or a session; else it has
// answered with the form in which to give it.
func (g *gate) knows(w http.ResponseWriter, r *http.Request) bool {
	if g.sessions.has(r) {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		g.pages.unauthorized(w, r, "")
		return false
	}
	return g.try(w, r, strings.TrimSpace(token))
}

// try reports whether a token is the right one; else it has answered. From one
// address only a few wrong ones are looked at.
func (g *gate) try(w http.ResponseWriter, r *http.Request, token string) bool {
	remote := remoteOf(r)
	right, looked := g.tries.try(remote, func() bool {
		hash := sha256.Sum256([]byte(token)) // of one length, whatever was given
		return subtle.ConstantTimeCompare(hash[:], g.token[:]) == 1
	})
	switch {
	case right:
		return true
	case !looked:
		g.tell("too many wrong tokens", remote)
		w.Header().Set("Retry-After", "5")
		const reason = "Too many wrong tokens came from this address; wait a few seconds."
		if wantsJSON(r) {
			g.refuse(w, r, http.StatusTooManyRequests, reason)
			return false
		}
		g.pages.form(w, r, http.StatusTooManyRequests, reason)
	default:
		g.tell("wrong token", remote)
		g.pages.unauthorized(w, r, "This is not the token.")
	}
	return false
}

func (g *gate) tell(reason string, remote netip.Addr) {
	if g.refused != nil {
		g.refused(reason, remote)
	}
}

// refuse answers with a reason.
func (g *gate) refuse(w http.ResponseWriter, r *http.Request, status int, reason string) {
	if wantsJSON(r) {
		answer(w, status, map[string]any{"status": "refused", "reason": reason})
		return
	}
	http.Error(w, reason, status)
}

// wantsJSON reports whether a program asks, not a person.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

// harden forbids browsers what our pages do not need.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", policy(""))
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// remoteOf is the address of the peer; the zero one where there is none.
func remoteOf(r *http.Request) netip.Addr {
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	return remote.Addr().Unmap().WithZone("")
}

func isLoopback(name string) bool {
	ip, err := netip.ParseAddr(name)
	name = strings.ToLower(name)
	return err == nil && ip.Unmap().IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost")
}
