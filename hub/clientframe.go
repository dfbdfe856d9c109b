package hub

import (
	"pushpod/conn"
	"pushpod/internal/json"
)

// What a rejected receipt and an error frame say in `error`.
const (
	errorBadFrame    = "bad_frame"
	errorUnknownType = "unknown_type"
	errorRate        = "rate"
	errorUnavailable = "unavailable"
)

// clientFrame is one text message of a client. Its byte slices are parts of
// the message.
type clientFrame struct {
	kind []byte
	id   []byte // as it stands, with its quotes; nil: none, or not a good one
	data []byte // nil: none

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
	}
	return ""
}

// Receive handles a client's message; see conn.Handler.
func (h *Hub) Receive(c *conn.Conn, message []byte, limited bool) {
	var f clientFrame
	reason := f.parse(message)
	switch {
	case limited:
		h.reject(c, f.id, errorRate, "too many frames")
	case reason != "":
		h.reject(c, f.id, errorBadFrame, reason)
	case string(f.kind) == "request":
		h.request(c, &f)
	case string(f.kind) == "ping":
		if f.id != nil {
			c.Reply(receipt(f.id, "", ""))
		}
	case string(f.kind) == "pong": // conn knows already that the peer is alive
	default:
		h.reject(c, f.id, errorUnknownType, "the types are request, ping and pong")
	}
}

func (h *Hub) request(c *conn.Conn, f *clientFrame) {
	switch {
	case f.id == nil:
		h.reject(c, nil, errorBadFrame, "a request needs an id")
	case f.data == nil:
		h.reject(c, f.id, errorBadFrame, "a request needs data")
	default:
		if !h.uplink.add(c, f.id, f.data) {
			h.reject(c, f.id, errorUnavailable, "too many requests wait")
		}
	}
}

// reject says in a receipt, or where there is no id in an error frame, why a
// frame was not taken. For use in a conn.Handler.
func (h *Hub) reject(c *conn.Conn, id []byte, code, reason string) {
	h.rejected.Add(1)
	c.Reply(receipt(id, code, reason))
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
