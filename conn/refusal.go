package conn

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Refusal is an HTTP answer to a handshake that is not let in.
type Refusal struct {
	Status     int
	Error      string // for programs: one word
	Reason     string // for people
	RetryAfter int    // seconds; 0: no such header
}

// append appends the answer, which the pages of origin may read: "" is none
// (RFC 9110, RFC 6455 section 4.2.2).
func (f *Refusal) append(dst []byte, origin string) []byte {
	body, _ := json.Marshal(struct {
		Error  string `json:"error"`
		Reason string `json:"reason"`
	}{f.Error, f.Reason})
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(f.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(f.Status)...)
	dst = append(dst, "\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	if f.RetryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64(f.RetryAfter), 10)
	}
	switch f.Status {
	case http.StatusUpgradeRequired:
		dst = append(dst, "\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"...)
	case http.StatusMethodNotAllowed:
		dst = append(dst, "\r\nAllow: GET"...)
	}
	if origin != "" {
		dst = append(dst, "\r\nAccess-Control-Allow-Origin: "...)
		dst = append(dst, origin...)
		dst = append(dst, "\r\nAccess-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: Retry-After"...)
	}
	dst = append(dst, "\r\nVary: Origin\r\n\r\n"...)
	return append(dst, body...)
}

// refuse sends the answer and ends the connection once the peer has read it,
// or after 2 s.
func (c *Conn) refuse(f *Refusal) {
	l := c.loop
	origin := ""
	if c.in != nil {
		origin = c.in.asked.origin
	}
	l.pending--
	c.forfeit()
	c.discard(resultClosed, false)
	c.state = stateRefused
	c.dropHalf()
	l.handshakes[f.Status]++
	c.pingAt, c.renewAt = 0, 0
	c.endAt = l.wheel.now + ticksOf(refuseTimeout)
	c.schedule()
	c.push(&Message{frame: f.append(nil, origin), control: true})
	c.flush()
}
