package httphead

import (
	"bytes"
	"net/http"
	"strconv"
)

// Scan looks for the end of the head in what has been received so far: the
// index behind the empty line, or 0 where it is not there yet. The caller then
// calls again with more, and with from: how many bytes Scan has seen already.
//
// What can't become a head of limit bytes is refused at once: it does not begin
// as a request line does, holds a CR or LF that is not part of a CR LF (RFC 9112
// section 2.2), or is too long. How the bytes were split does not matter.
func Scan(b []byte, from, limit int) (end int, refusal *Response) {
	head := b[:min(len(b), limit)]
	if !beginsRequest(head) {
		return 0, BadRequest(malformedLine)
	}
	at := min(from, len(head))
	if at > 0 && head[at-1] == '\r' {
		at-- // what follows it is known only now
	}
	for {
		line, _, _ := bytes.Cut(head[at:], []byte("\r"))
		cr := at + len(line)
		switch {
		case bytes.IndexByte(line, '\n') >= 0, cr+1 < len(head) && head[cr+1] != '\n':
			return 0, BadRequest("a line must end with CR LF")
		case cr+1 < len(head):
			at = cr + 2
			if bytes.HasSuffix(head[:cr], []byte("\r\n")) {
				return at, nil
			}
		case len(b) >= limit:
			return 0, &Response{Status: http.StatusRequestHeaderFieldsTooLarge, Error: "too_large", Reason: "the request's head is over " + strconv.Itoa(limit) + " bytes"}
		default:
			return 0, nil
		}
	}
}

// maxMethod is longer than all methods that are registered with IANA.
const maxMethod = 32

// beginsRequest reports whether b is the beginning of a request line: a method,
// then a space (RFC 9112 section 3).
func beginsRequest(b []byte) bool {
	for i, c := range b[:min(len(b), maxMethod+1)] {
		if c == ' ' {
			return i > 0
		}
		if !isTokenByte(c) {
			return false
		}
	}
	return len(b) <= maxMethod
}
