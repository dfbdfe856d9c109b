package httphead

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Response is an HTTP answer, behind which the connection is closed. Where there
// is no Error, all is well. 204 answers a [Request.Preflight].
type Response struct {
	Status     int
	Error      string // for programs: one word
	Reason     string // for people
	RetryAfter int    // seconds; 0: no such header field

	User string // whose request it was, for the log alone; "": that is not known
}

// BadRequest is the answer to a request that is malformed.
func BadRequest(reason string) *Response {
	return &Response{Status: http.StatusBadRequest, Error: "bad_request", Reason: reason}
}

// Append appends the answer. Pages of the origin may read it; "" is none
// (RFC 9110, and the CORS protocol of the Fetch standard).
func (r *Response) Append(dst []byte, origin string) []byte {
	if r.Status == http.StatusNoContent {
		return appendPreflight(dst, origin)
	}
	body := r.body()
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(r.Status)...)
	dst = append(dst, "\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nVary: Origin\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	if r.RetryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64(r.RetryAfter), 10)
	}
	switch r.Status {
	case http.StatusUpgradeRequired: // RFC 9110 sections 7.8 and 15.5.22, RFC 6455 section 4.4
		dst = append(dst, "\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"...)
	case http.StatusMethodNotAllowed:
		dst = append(dst, "\r\nConnection: close\r\nAllow: GET"...)
	default:
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = appendReaders(dst, origin)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

func (r *Response) body() []byte {
	if r.Error == "" {
		return []byte(`{"status":"ok"}`)
	}
	body, _ := json.Marshal(struct { // strings alone: there is no error
		Error  string `json:"error"`
		Reason string `json:"reason"`
	}{r.Error, r.Reason})
	return body
}
