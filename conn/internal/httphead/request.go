package httphead

import (
	"net/http"
	"strings"
)

// Request is what a client asked for. It and its strings are parts of the head
// and valid until the parser's next call.
type Request struct {
	Path   string // Path, EventsPath or HealthPath
	Host   string
	Origin string // "": none was sent
	Query  Query

	Events      bool   // it asks for server-sent events
	Preflight   bool   // a page asks whether it may, in the right form: it is refused, unless by who knows its origin
	Upgrade     bool   // it asks for a WebSocket, in the right form
	Key         string // Sec-WebSocket-Key: 24 characters
	Subprotocol bool   // it was offered: the answer confirms it

	fields fields
}

// Field returns the value of a header field that the parser was told to keep,
// "" where it is absent. Where it stands several times, the values are joined.
func (r *Request) Field(name string) string {
	if f := r.fields.find(name); f != nil {
		return f.joined()
	}
	return ""
}

// Parser reads one head after the other. It is not safe for concurrent use.
type Parser struct{ request Request }

// NewParser makes a parser that also keeps the header fields of these names, in
// any case, for [Request.Field].
func NewParser(wanted ...string) *Parser {
	return &Parser{Request{fields: newFields(wanted)}}
}

// Parse reads a head as [Scan] found it (RFC 9112 sections 2 to 5, RFC 6455
// section 4.2.1). No refusal means that it is well-formed; where there is one,
// the request holds what could be read, Origin and Host at least where they are
// in no doubt.
func (p *Parser) Parse(head string) (*Request, *Response) {
	r := &p.request
	*r = Request{Query: r.Query[:0], fields: r.fields}
	r.fields.reset()
	line, rest, _ := strings.Cut(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	refusal := r.parseLine(line)
	wrong := r.fields.parse(rest)
	if wrong == nil {
		wrong = r.checkFraming()
	}
	if wrong != nil {
		r.Preflight = false
	}
	if refusal == nil {
		refusal = wrong
	}
	r.Origin = r.fields[origin].value()
	if r.Host == "" {
		r.Host = r.fields[host].value()
	}
	if refusal == nil {
		refusal = r.checkUpgrade()
	}
	return r, refusal
}

// parseLine reads the request line (RFC 9112 section 3).
func (r *Request) parseLine(line string) *Response {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	if !isToken(method) || !isVisible(target) || !isVersion(version) {
		return BadRequest(malformedLine)
	}
	path, query, ok := r.splitTarget(target)
	r.Path = path
	if version != "HTTP/1.1" && (version != "HTTP/1.0" || path != HealthPath && path != EventsPath) {
		return &Response{Status: http.StatusHTTPVersionNotSupported, Error: "bad_version", Reason: "only HTTP/1.1 is supported"}
	}
	if refusal := checkMethod(method); refusal != nil {
		r.Preflight = method == "OPTIONS" && path == EventsPath
		return refusal
	}
	if !ok {
		return BadRequest("the request target must be a path or an http URL")
	}
	if path != Path && path != EventsPath && path != HealthPath {
		return &Response{Status: http.StatusNotFound, Error: "not_found", Reason: "clients connect to " + Path + " or " + EventsPath}
	}
	return r.Query.parse(query)
}

const malformedLine = "malformed request line"

func isVersion(s string) bool {
	return len(s) == 8 && strings.HasPrefix(s, "HTTP/") && isDigit(s[5]) && s[6] == '.' && isDigit(s[7])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

func checkMethod(method string) *Response {
	switch method {
	case "GET":
		return nil
	case "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return &Response{Status: http.StatusMethodNotAllowed, Error: "bad_method", Reason: "only GET is allowed"}
	}
	return &Response{Status: http.StatusNotImplemented, Error: "bad_method", Reason: "unknown method; only GET is allowed"}
}

// splitTarget reads a target in origin-form or in absolute-form, whose authority
// takes the place of the header field Host (RFC 9112 section 3.2.2).
func (r *Request) splitTarget(target string) (path, query string, ok bool) {
	if target[0] != '/' {
		scheme, rest, _ := strings.Cut(target, "://")
		end := strings.IndexAny(rest+"/", "/?")
		if !isScheme(scheme) || !isHost(rest[:end]) {
			return "", "", false
		}
		r.Host, target = rest[:end], rest[end:]
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query, true
}

func isScheme(s string) bool {
	for _, scheme := range [...]string{"http", "https", "ws", "wss"} {
		if sameInAnyCase(scheme, s) {
			return true
		}
	}
	return false
}

// isHost reports whether s has the form of a host and port, without looking at
// its parts (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
func isHost(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("-._~!$&'()*+,;=%:[]", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// checkFraming looks at what a request of any kind must have, and must not.
func (r *Request) checkFraming() *Response {
	f := r.fields
	length := &f[contentLength]
	switch {
	case !isHost(f[host].value()) && (r.Path != HealthPath || f[host].value() != ""):
		return BadRequest("the header field Host is missing or malformed")
	case len(f[transferEncoding].values) > 0 || len(length.values) > 0 && length.value() != "0":
		return BadRequest("the request must not have a body")
	}
	return nil
}

// checkUpgrade looks whether a request asks for events, or for a WebSocket in the right
// form.
func (r *Request) checkUpgrade() *Response {
	f := r.fields
	if r.Events = r.Path == EventsPath; r.Events {
		return nil
	}
	if asked, _ := f[upgrade].lists("websocket", sameInAnyCase); !asked || r.Path == HealthPath {
		return nil
	}
	return r.checkWebSocket()
}

// checkWebSocket looks at what an upgrade needs (RFC 6455 section 4.2.1).
func (r *Request) checkWebSocket() *Response {
	f := r.fields
	asked, _ := f[connection].lists("upgrade", sameInAnyCase)
	version, key := f[webSocketVersion].value(), f[webSocketKey].value()
	// A subprotocol's case matters, unlike that of most tokens (section 4.1).
	spoken, offered := f[webSocketProtocol].lists(Subprotocol, exactly)
	switch {
	case !asked:
		return BadRequest("the header field Connection must hold Upgrade")
	case version == "":
		return BadRequest("the header field Sec-WebSocket-Version is missing")
	case version != "13":
		return &Response{Status: http.StatusUpgradeRequired, Error: "bad_version", Reason: "only version 13 of the WebSocket protocol is supported"}
	case !validKey(key):
		return BadRequest("the header field Sec-WebSocket-Key must be 16 bytes in base64")
	case offered && !spoken:
		return BadRequest("none of the subprotocols is supported; " + Subprotocol + " is")
	}
	r.Upgrade, r.Key, r.Subprotocol = true, key, spoken
	return nil
}
