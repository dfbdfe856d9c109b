package auth

import "strings"

// Place is where a token stands in a request.
type Place uint8

const (
	Nowhere Place = iota
	InAuthorization
	InCookie
	InSubprotocol
	InQuery
)

// Places are the parts of a request in which a token may stand.
type Places struct {
	Authorization string // the header field; "": absent
	Cookie        string // the header field; "": absent
	CookieName    string // which of the cookies; "": none
	Subprotocols  string // Sec-WebSocket-Protocol
	Query         string // the value of ?token=
	HasQuery      bool   // there is one
}

// Find returns the token of a request, and where it stands: in Authorization as
// Bearer (RFC 6750 section 2.1), in a cookie, among the subprotocols as
// bearer.TOKEN, in ?token=. The first of them that is there decides, whatever the
// others say. Its token is "" where it can't be one.
func Find(p Places) (token string, _ Place) {
	if token, ok := bearer(p.Authorization); ok {
		return token, InAuthorization
	}
	if token, ok := cookie(p.Cookie, p.CookieName); ok {
		return token, InCookie
	}
	if token, ok := subprotocol(p.Subprotocols); ok {
		return token, InSubprotocol
	}
	if p.HasQuery {
		return p.Query, InQuery
	}
	return "", Nowhere
}

// bearer finds the credentials of the scheme Bearer, in any case. Other schemes are
// for others.
func bearer(field string) (string, bool) {
	scheme, token, _ := strings.Cut(field, " ")
	return strings.TrimLeft(token, " "), strings.EqualFold(scheme, "Bearer")
}

// cookie finds a cookie (RFC 6265 section 5.4). One that is empty was deleted. Of two
// that differ, one may be planted by another host of the domain: neither is a token.
func cookie(field, name string) (value string, found bool) {
	if name == "" {
		return "", false
	}
	for pair := range strings.SplitSeq(field, ";") {
		n, v, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if n != name || v == "" {
			continue
		}
		if found && v != value {
			return "", true
		}
		value, found = v, true
	}
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value, found
}

func subprotocol(field string) (string, bool) {
	for one := range strings.SplitSeq(field, ",") {
		if token, ok := strings.CutPrefix(strings.Trim(one, " \t"), "bearer."); ok {
			return token, true
		}
	}
	return "", false
}

// HeaderFields are the header fields that Find looks at.
func HeaderFields() []string {
	return []string{"Authorization", "Cookie", "Sec-WebSocket-Protocol"}
}
