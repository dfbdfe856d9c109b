package auth

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"pushpod/internal/json"
)

// MaxToken bounds a token in bytes. Larger ones are refused unread.
const MaxToken = 8 << 10

const (
	maxParameters = 32  // in a header, which anyone may write
	maxKeyID      = 256 // bytes
)

// token is a token as it stands, of which only the header was read.
type token struct {
	algorithm algorithm
	kid       string // "": it names no key
	signed    string // what the signature is for
	claims    string // base64url
	signature string // base64url
}

// parse reads a token in compact form (RFC 7515 section 7.1) up to its header.
func parse(text string) (token, error) {
	switch {
	case text == "":
		return token{}, ErrMissing
	case len(text) > MaxToken:
		return token{}, ErrTooLarge
	case !isCompact(text):
		return token{}, ErrMalformed
	}
	head, rest, _ := strings.Cut(text, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	t := token{signed: text[:len(head)+1+len(claims)], claims: claims, signature: signature}
	return t, t.readHeader(head)
}

// isCompact reports whether text has three parts of the alphabet of base64url. The
// decoder alone would pass over line breaks.
func isCompact(text string) bool {
	dots := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '.':
			dots++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return dots == 2
}

// decode decodes base64url without padding, and with no bits left over.
func decode(part string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, ErrMalformed // err shows where, which is nobody's concern
	}
	return b, nil
}

// decodeObject decodes a part that must be JSON in UTF-8.
func decodeObject(part string) ([]byte, error) {
	b, err := decode(part)
	if err == nil && !utf8.Valid(b) {
		err = ErrMalformed
	}
	return b, err
}

// readHeader reads the header (RFC 7515 section 4). What is said there about keys is
// passed over, but for the name of one.
func (t *token) readHeader(part string) error {
	b, err := decodeObject(part)
	if err != nil {
		return err
	}
	var seen names
	alg := ""
	reason, ok := json.Members(b, func(name, value []byte) string {
		if len(seen) == maxParameters || seen.twice(name) {
			return string(ErrMalformed)
		}
		valid := true
		switch string(name) {
		case "alg":
			alg, valid = text(value, 16)
		case "kid":
			t.kid, valid = text(value, maxKeyID)
		case "crit":
			return string(ErrCritical)
		}
		if !valid {
			return string(ErrMalformed)
		}
		return ""
	})
	switch {
	case !ok:
		return ErrMalformed
	case reason != "":
		return Refused(reason)
	}
	if t.algorithm, ok = algorithmOf(alg); !ok {
		return ErrAlgorithm
	}
	return nil
}

// text returns what a JSON string of 1 to limit bytes stands for.
func text(value []byte, limit int) (string, bool) {
	b, ok := json.String(value)
	return string(b), ok && len(b) > 0 && len(b) <= limit
}
