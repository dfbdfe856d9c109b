package hub

import "pushpod/internal/json"

// What a rejected receipt and an error frame say in `error`.
const (
	errorBadFrame    = "bad_frame"
	errorUnknownType = "unknown_type"
	errorRate        = "rate"
	errorNotAllowed  = "not_allowed"
	errorUnavailable = "unavailable"
)

// clientFrame is one text message of a client. Its byte slices are parts of
// the message.
type clientFrame struct {
	kind []byte
	id   []byte // as it stands, with its quotes; nil: none, or not a good one
	data []byte // nil: none

	token []byte // nil: none

	hasKind, hasID, hasData bool
}

// parse reads a frame; reason says what is wrong with it, "": nothing. The id
// is there also for a frame that is otherwise wrong, so that it can be answered.
func (f *clientFrame) parse(b []byte) (reason string) {
	*f = clientFrame{}
	reason, ok := json.Members(b, f.member)
	switch {
	case !ok:
		*f = clientFrame{}
		return "not a JSON object, or nested too deep"
	case reason != "":
		return reason
	case !f.hasKind:
		return "type is missing"
	}
	return ""
}

func (f *clientFrame) member(name, value []byte) (reason string) {
	switch string(name) {
	case "type":
		if f.hasKind || value[0] != '"' {
			return "type must be a string, once"
		}
		f.hasKind = true
		f.kind, _ = json.String(value)
	case "id":
		if f.hasID || !shortString(value) {
			f.hasID, f.id = true, nil
			return "id must be a string of 1 to 256 bytes, once"
		}
		f.hasID, f.id = true, value
	case "data":
		if f.hasData {
			return "data stands twice"
		}
		f.hasData, f.data = true, value
	case "token":
		text, ok := json.String(value)
		if f.token != nil || !ok {
			return "token must be a string, once"
		}
		f.token = text
	}
	return ""
}

// Message handles a client's message; see conn.Owner.
func (s *session) Message(text []byte, limited bool) {
	var f clientFrame
	reason := f.parse(text)
	switch {
	case limited:
		s.reject(f.id, errorRate, "too many frames")
	case reason != "":
		s.reject(f.id, errorBadFrame, reason)
	case string(f.kind) == "request":
		s.request(&f)
	case string(f.kind) == "ping":
		if f.id != nil {
			s.conn.SendLocked(receipt(f.id, "", ""))
		}
	case string(f.kind) == "token" && s.hub().tokens() != nil:
		s.refresh(&f)
	case string(f.kind) == "pong": // conn knows already that the peer is alive
	default:
		s.reject(f.id, errorUnknownType, s.hub().frameTypes())
	}
}

// frameTypes names what a client may send.
func (h *Hub) frameTypes() string {
	if h.tokens() != nil {
		return "the types are request, ping, pong and token"
	}
	return "the types are request, ping and pong"
}

func (s *session) request(f *clientFrame) {
	switch {
	case f.id == nil:
		s.reject(nil, errorBadFrame, "a request needs an id")
	case f.data == nil:
		s.reject(f.id, errorBadFrame, "a request needs data")
	case !s.hub().uplink.add(s, f.id, f.data):
		s.reject(f.id, errorUnavailable, "too many requests wait")
	default:
		s.conn.OweLocked() // the uplink answers
	}
}

// reject says in a receipt, or where there is no id in an error frame, why a
// frame was not taken. The connection's loop is locked.
func (s *session) reject(id []byte, code, reason string) {
	s.hub().rejected.Add(1)
	s.conn.SendLocked(receipt(id, code, reason))
}

// receipt makes a receipt: accepted where code is "". Without an id it is an
// error frame.
func receipt(id []byte, code, reason string) []byte {
	b := make([]byte, 0, 96+len(id)+len(reason))
	if id != nil {
		b = append(b, `{"type":"receipt","id":`...)
		b = append(b, id...)
		if code == "" {
			return append(b, `,"status":"accepted"}`...)
		}
		b = append(b, `,"status":"rejected"`...)
	} else {
		b = append(b, `{"type":"error"`...)
	}
	b = append(b, `,"error":"`...)
	b = append(b, code...)
	b = append(b, `","reason":`...)
	b = json.AppendString(b, reason)
	return append(b, '}')
}
