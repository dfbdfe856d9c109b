package auth

import (
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pushpod/internal/json"
)

const (
	maxMembers = 64   // of an answer
	maxReason  = 256  // bytes of a refusal's reason
	leastUnix  = 1e11 // Unix milliseconds below are a duration by mistake
)

// readVerdict reads the answer that lets a client in: an object of which all members are
// optional, and unknown ones are passed over.
func (h *Hook) readVerdict(body []byte) (v Verdict, _ error) {
	var seen names
	if !utf8.Valid(body) {
		return v, oddAnswer("its answer is not UTF-8")
	}
	wrong, ok := json.Members(body, func(name, value []byte) string {
		if len(seen) == maxMembers {
			return "has too many members"
		}
		if seen.twice(name) {
			return "has a member twice"
		}
		return h.readMemberOf(&v, string(name), value)
	})
	switch {
	case !ok:
		return Verdict{}, oddAnswer("its answer is not a JSON object: {} would let in")
	case wrong != "":
		return Verdict{}, oddAnswer("its answer " + wrong)
	case !v.Expires.IsZero() && !h.opts.Now().Before(v.Expires):
		return Verdict{}, &Denied{Status: http.StatusUnauthorized, Reason: "the time for which the client is accepted is over"}
	}
	return v, nil
}

// readMemberOf returns what is wrong with a member of an answer, or "".
func (h *Hook) readMemberOf(v *Verdict, name string, value []byte) string {
	var ok bool
	switch name {
	case "user":
		if v.User, ok = text(value, maxVerdict); !ok || !h.opts.ValidID(v.User) {
			return "has a user that is no user id"
		}
	case "expires":
		ms, ok := json.Integer(value)
		if !ok || ms < leastUnix {
			return "has an expires that is no Unix time in milliseconds"
		}
		v.Expires = time.UnixMilli(ms)
	case "topics":
		if v.Topics, ok = texts(value); !ok {
			return "has topics that are no list of text"
		}
	}
	return ""
}

// readMember returns a member of an object that is a string without control characters,
// of 1 to limit bytes. There is none where the object is not well-formed.
func readMember(body []byte, member string, limit int) (found string, ok bool) {
	var seen names
	if !utf8.Valid(body) {
		return "", false
	}
	wrong, isObject := json.Members(body, func(name, value []byte) string {
		if len(seen) == maxMembers || seen.twice(name) {
			return "a member stands twice"
		}
		if string(name) == member {
			found, ok = text(value, limit)
		}
		return ""
	})
	return found, ok && isObject && wrong == "" && !strings.ContainsFunc(found, unicode.IsControl)
}
