package hub

import (
	"unicode/utf8"

	"pushpod/conn"
	"pushpod/internal/json"
	"pushpod/presence"
)

// envelope is one pub/sub message: whom it is for, and what is to be delivered.
// Its byte slices are parts of the message, and valid as long as that is.
type envelope struct {
	to       []presence.UUID
	of       []byte // nil: not given
	users    [][]byte
	all      bool
	data     []byte // nil: not given
	id       []byte // as it stands, with its quotes; nil: not given
	at       int64  // 0: not given
	expires  int64  // 0: not given
	collapse string // "": not given; else "=" and the key
	close    bool
	code     conn.Code
	reason   string
	probe    []byte // nil: not given
	replaced presence.UUID

	seen    uint16   // members that have been read, by bit
	unknown int      // members that are not known, and ignored
	names   [][]byte // of the first of these
}

const (
	maxIDBytes     = 256  // of a message's and a frame's id
	maxCloseReason = 123  // RFC 6455 section 5.5: 125 less the code
	maxNames       = 4    // of unknown members, for the log
	minExpires     = 1e11 // Unix ms: in 1973; as a duration, three years
)

// Bits of envelope.seen.
const (
	hasTo = 1 << iota
	hasOf
	hasUser
	hasAll
	hasData
	hasID
	hasAt
	hasExpires
	hasCollapse
	hasClose
	hasProbe
	hasReplaced
)

// parse reads a message. A reason says what is wrong with it, never with its
// data in it; "": it is good.
func (e *envelope) parse(b []byte) (reason string) {
	*e = envelope{to: e.to[:0], users: e.users[:0], names: e.names[:0]}
	if !utf8.Valid(b) {
		return "not valid UTF-8"
	}
	reason, ok := json.Members(b, e.member)
	switch {
	case !ok:
		e.unknown = 0
		return "not a JSON object, or nested too deep"
	case reason != "":
		return reason
	case e.isProbe(), e.isReplacement():
		e.unknown = 0 // a later version's may say more
		return ""
	case e.seen&(hasTo|hasUser|hasAll) == 0:
		return "no target: to, user or all"
	case e.seen&(hasData|hasClose) == 0:
		return "neither data nor close"
	}
	return ""
}

// isProbe reports whether this is a pod's probe of its own subscription.
func (e *envelope) isProbe() bool {
	return e.probe != nil && e.seen&^hasProbe == 0
}

// isReplacement reports whether another pod says that a connection of this one, and of its
// user, has been replaced in presence.
func (e *envelope) isReplacement() bool { return e.seen == hasReplaced|hasOf }

// member reads one member of the envelope.
func (e *envelope) member(name, value []byte) (reason string) {
	var bit uint16
	var read func([]byte) string
	switch string(name) {
	case "to":
		bit, read = hasTo, e.readTo
	case "of":
		bit, read = hasOf, e.readOf
	case "user":
		bit, read = hasUser, e.readUser
	case "all":
		bit, read = hasAll, e.readAll
	case "data":
		bit, read = hasData, e.readData
	case "id":
		bit, read = hasID, e.readID
	case "at":
		bit, read = hasAt, e.readAt
	case "expires":
		bit, read = hasExpires, e.readExpires
	case "collapse":
		bit, read = hasCollapse, e.readCollapse
	case "close":
		bit, read = hasClose, e.readClose
	case "probe":
		if text, ok := json.String(value); ok && e.probe == nil {
			e.probe = text
			e.seen |= hasProbe
		}
		return e.ignore(name) // a probe is an envelope of its own
	case "replaced":
		text, _ := json.String(value)
		if u, ok := presence.ParseUUID(text); ok && e.seen&hasReplaced == 0 {
			e.replaced = u
			e.seen |= hasReplaced
		}
		return e.ignore(name) // likewise
	default:
		return e.ignore(name)
	}
	if e.seen&bit != 0 {
		return string(name) + " stands twice"
	}
	e.seen |= bit
	return read(value)
}

// ignore counts a member that is not known. It may be a known one misspelt.
func (e *envelope) ignore(name []byte) (reason string) {
	if e.unknown++; len(e.names) < maxNames {
		e.names = append(e.names, name)
	}
	return ""
}

func (e *envelope) readTo(v []byte) string {
	const bad = "to must be a UUID in lower case, or an array of them"
	one := func(v []byte) string {
		text, _ := json.String(v)
		u, ok := presence.ParseUUID(text)
		if !ok {
			return bad
		}
		e.to = append(e.to, u)
		return ""
	}
	return oneOrMany(v, one, bad)
}

func (e *envelope) readUser(v []byte) string {
	const bad = "user must be a user id, or an array of them"
	one := func(v []byte) string {
		id, ok := userID(v)
		if !ok {
			return bad
		}
		e.users = append(e.users, id)
		return ""
	}
	return oneOrMany(v, one, bad)
}

// oneOrMany reads a string, or an array of at least one.
func oneOrMany(v []byte, one func([]byte) string, bad string) string {
	if v[0] != '[' {
		return one(v)
	}
	n := 0
	if reason := json.Elements(v, func(v []byte) string { n++; return one(v) }); reason != "" {
		return reason
	}
	if n == 0 {
		return bad
	}
	return ""
}

func (e *envelope) readOf(v []byte) string {
	id, ok := userID(v)
	if !ok {
		return "of must be a user id"
	}
	e.of = id
	return ""
}

func (e *envelope) readAll(v []byte) string {
	if string(v) != "true" {
		return "all must be true"
	}
	e.all = true
	return ""
}

func (e *envelope) readData(v []byte) string {
	e.data = v
	return ""
}

func (e *envelope) readID(v []byte) string {
	if !shortString(v) {
		return "id must be a string of 1 to 256 bytes"
	}
	e.id = v
	return ""
}

func (e *envelope) readAt(v []byte) string {
	n, ok := json.Integer(v)
	if !ok {
		return "at must be an integer below 2^53"
	}
	e.at = max(n, 0)
	return ""
}

func (e *envelope) readExpires(v []byte) string {
	n, ok := json.Integer(v)
	if !ok || n < minExpires {
		return "expires must be a time, not a duration: Unix milliseconds, an integer from 10^11 to 2^53"
	}
	e.expires = n
	return ""
}

func (e *envelope) readCollapse(v []byte) string {
	key, ok := json.String(v)
	if !ok {
		return "collapse must be a string without lone surrogates"
	}
	e.collapse = "=" + string(key)
	return ""
}

func (e *envelope) readClose(v []byte) string {
	const bad = "close must have a code (4000, 4500, 4501, 4100-4499 or 4600-4999) and may have a reason of at most 123 bytes"
	if v[0] != '{' {
		return bad
	}
	var code, why bool
	reason, _ := json.Members(v, func(name, value []byte) string {
		switch string(name) {
		case "code":
			n, ok := json.Integer(value)
			if code || !ok || !producersCode(n) {
				return bad
			}
			code, e.code = true, conn.Code(n)
		case "reason":
			text, ok := json.String(value)
			if why || !ok || len(text) > maxCloseReason {
				return bad
			}
			why, e.reason = true, string(text)
		default:
			e.ignore(name)
		}
		return ""
	})
	if reason == "" && !code {
		reason = bad
	}
	e.close = true
	return reason
}

// producersCode reports whether a producer may close with this code.
func producersCode(n int64) bool {
	return n == 4000 || n == 4500 || n == 4501 || n >= 4100 && n <= 4499 || n >= 4600 && n <= 4999
}

// userID reads a user id.
func userID(v []byte) ([]byte, bool) {
	id, _ := json.String(v) // nil is no user id
	return id, presence.ValidUser(id) == nil
}

// shortString reports whether v is a string of 1 to 256 bytes.
func shortString(v []byte) bool {
	text, ok := json.String(v)
	return ok && len(text) >= 1 && len(text) <= maxIDBytes
}
