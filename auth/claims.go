package auth

import (
	"time"

	"pushpod/internal/json"
)

// Identity is what a good token says.
type Identity struct {
	User     string
	Expires  time.Time // from then on the token is good no more, leeway included; zero: never
	IssuedAt time.Time // zero: it does not say
	ID       string    // jti; "": it has none
	Topics   []string  // nil: it does not say
}

const (
	maxClaims = 256
	ahead     = time.Minute // by which a token's iat may lie in the future: it decides nothing by itself
)

// claims are those that are read (RFC 7519 section 4.1). Times are Unix seconds.
type claims struct {
	subject, issuer, id    string
	expires, notBefore, at int64
	hasExpires             bool
	forUs                  bool // one of the audiences is
	topics                 []string
}

// readClaims reads what a token says, whose signature is good.
func (v *Verifier) readClaims(t *token) (Identity, error) {
	b, err := decodeObject(t.claims)
	if err != nil {
		return Identity{}, err
	}
	var c claims
	var seen names
	reason, ok := json.Members(b, func(name, value []byte) string {
		if len(seen) == maxClaims || seen.twice(name) {
			return string(ErrMalformed)
		}
		return string(v.readClaim(&c, string(name), value))
	})
	switch {
	case !ok:
		return Identity{}, ErrMalformed
	case reason != "":
		return Identity{}, Refused(reason)
	}
	if refused := v.check(&c); refused != "" {
		return Identity{}, refused
	}
	return v.identity(&c), nil
}

// readClaim returns what is wrong with one claim, or "".
func (v *Verifier) readClaim(c *claims, name string, value []byte) Refused {
	ok, refused := true, ErrTime
	switch name {
	case "exp":
		c.expires, ok = seconds(value)
		c.hasExpires = true
	case "nbf":
		c.notBefore, ok = seconds(value)
	case "iat":
		c.at, ok = seconds(value)
	case "sub":
		c.subject, ok = text(value, MaxToken)
		refused = ErrUser
	case "iss":
		c.issuer, ok = text(value, MaxToken)
		refused = ErrIssuer
	case "aud":
		c.forUs, ok = v.readAudience(value)
		refused = ErrAudience
	case "jti":
		c.id, ok = text(value, MaxToken)
		ok = ok && v.opts.ValidID(c.id)
		refused = ErrID
	case "topics":
		c.topics, ok = texts(value)
		refused = ErrTopics
	}
	if ok {
		return ""
	}
	return refused
}

// seconds reads Unix seconds: an integer from 0 to below 2^53.
func seconds(value []byte) (int64, bool) {
	n, ok := json.Integer(value)
	return n, ok && n >= 0
}

// readAudience says whether one of a token's audiences is accepted: it has one, or
// a list of them (RFC 7519 section 4.1.3).
func (v *Verifier) readAudience(value []byte) (forUs, ok bool) {
	all, ok := texts(value)
	if value[0] != '[' {
		all = make([]string, 1)
		all[0], ok = text(value, MaxToken)
	}
	for _, one := range all {
		for _, ours := range v.opts.Audience {
			forUs = forUs || one == ours
		}
	}
	return forUs, ok
}

// texts reads a list of strings, none of them empty.
func texts(value []byte) (all []string, ok bool) {
	if value[0] != '[' {
		return nil, false
	}
	all = []string{}
	wrong := json.Elements(value, func(value []byte) string {
		one, ok := text(value, MaxToken)
		if !ok {
			return "no text"
		}
		all = append(all, one)
		return ""
	})
	return all, wrong == ""
}

// check holds the claims against what is asked for. It returns what is wrong, or "".
func (v *Verifier) check(c *claims) Refused {
	now, leeway := v.opts.Now(), v.opts.Leeway
	switch {
	case !c.hasExpires && v.opts.RequireExp:
		return ErrNoExpiry
	case c.hasExpires && !now.Before(time.Unix(c.expires, 0).Add(leeway)):
		return ErrExpired
	case now.Add(leeway).Before(time.Unix(c.notBefore, 0)), now.Add(leeway + ahead).Before(time.Unix(c.at, 0)):
		return ErrNotYet
	case v.opts.Issuer != "" && c.issuer != v.opts.Issuer:
		return ErrIssuer
	case len(v.opts.Audience) > 0 && !c.forUs:
		return ErrAudience
	case c.subject == "" || !v.opts.ValidID(c.subject):
		return ErrUser
	}
	return ""
}

func (v *Verifier) identity(c *claims) Identity {
	i := Identity{User: c.subject, ID: c.id, Topics: c.topics}
	if c.hasExpires {
		i.Expires = time.Unix(c.expires, 0).Add(v.opts.Leeway)
	}
	if c.at > 0 {
		i.IssuedAt = time.Unix(c.at, 0)
	}
	return i
}
