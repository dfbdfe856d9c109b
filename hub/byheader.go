package hub

import (
	"strings"

	"pushpod/auth"
	"pushpod/conn"
)

// forwardedFor is the header field in which proxies say where a client is.
const forwardedFor = "X-Forwarded-For"

// HeaderFields are the header fields that a hub looks at, where users are named in the
// field userHeader; "": in none.
func HeaderFields(userHeader string) []string {
	fields := append(auth.HeaderFields(), forwardedFor, fetchSite, fetchMode, fetchDest)
	if userHeader != "" {
		fields = append(fields, userHeader)
	}
	return fields
}

// whoByHeader says whose connection a request asks for by the header field that a
// proxy sets.
func (h *Hub) whoByHeader(r *conn.Request, by *Settings) (claim, *conn.Refusal) {
	user := r.Field(h.opts.Header)
	switch {
	case !by.Proxies.Trust(r.From):
		return claim{}, unauthorized("a proxy must say who connects, and this peer is none that is trusted")
	case user == "":
		return claim{}, unauthorized("the header field that says who connects is missing or empty")
	case strings.Contains(user, ","):
		// Fields of one name are one list (RFC 9110 section 5.3): a proxy that adds its
		// own to the client's makes no doubt which of them is meant.
		return claim{}, badRequest("the header field that says who connects stands twice, or holds a comma")
	}
	return whoIs(user)
}

// whoByCertificate says whose connection a request asks for by the client's certificate.
func (h *Hub) whoByCertificate(r *conn.Request) (claim, *conn.Refusal) {
	user, err := h.opts.Certificate(r.Peer)
	if err != nil {
		return claim{}, unauthorized(err.Error())
	}
	return whoIs(user)
}
