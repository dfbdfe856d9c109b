package conn

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Request is what a client asked for. It and its strings are valid only during
// the call of the [Handler] that is given it.
type Request struct {
	Remote netip.Addr
	Host   string
	Origin string // "": none was sent
	Query  Query

	AllowOrigin bool // what Handler.AllowOrigin said; false where there is no Origin

	upgrade  bool // it asks for a WebSocket
	key      string
	protocol bool // the subprotocol was offered
}

// Query is a request's query: each name once.
type Query []Parameter

// Parameter is one of a query, unescaped.
type Parameter struct{ Name, Value string }

// Get returns the value of a parameter, and whether it is there.
func (q Query) Get(name string) (value string, given bool) {
	for _, p := range q {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Subprotocol is the one that is spoken.
const Subprotocol = "pushpod.v1"

// Path is where clients connect.
const Path = "/ws"

func badRequest(reason string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Error: "bad_request", Reason: reason}
}

// requestReader reads one request after the other. It belongs to a loop.
type requestReader struct {
	request Request
	headers headers
}

// read reads a request's header, up to and without the empty line (RFC 9112
// sections 2 to 5, RFC 6455 section 4.2.1). It is stricter than an ordinary
// server: what could be understood in two ways is refused. The request, whose
// strings are parts of text, is valid until the next call.
func (q *requestReader) read(text string) (*Request, *Refusal) {
	r, h := &q.request, &q.headers
	*r = Request{Query: r.Query[:0]}
	*h = headers{connection: h.connection[:0], protocol: h.protocol[:0]}
	line, rest, _ := strings.Cut(text, "\r\n")
	first := r.requestLine(line)
	// The header is read all the same: whose page it is decides who may read
	// the refusal.
	f := h.parse(rest)
	r.Origin, r.Host = h.origin.value, h.host.value
	if first == nil {
		first = f
	}
	if first == nil {
		first = r.check(h)
	}
	return r, first
}

func (r *Request) requestLine(line string) *Refusal {
	method, rest, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || method == "" || !isToken(method) || strings.IndexFunc(target, notVisible) >= 0 {
		return badRequest("malformed request line")
	}
	if version != "HTTP/1.1" {
		if len(version) == 8 && strings.HasPrefix(version, "HTTP/") && version[6] == '.' {
			return &Refusal{Status: http.StatusHTTPVersionNotSupported, Error: "bad_version", Reason: "only HTTP/1.1 is supported"}
		}
		return badRequest("malformed request line")
	}
	switch method {
	case "GET":
	case "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return &Refusal{Status: http.StatusMethodNotAllowed, Error: "bad_method", Reason: "only GET is allowed"}
	default:
		return &Refusal{Status: http.StatusNotImplemented, Error: "bad_method", Reason: "unknown method; only GET is allowed"}
	}
	path, query, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(path, "/") {
		return badRequest("the request target must begin with /")
	}
	if path != Path {
		return &Refusal{Status: http.StatusNotFound, Error: "not_found", Reason: "clients connect to " + Path}
	}
	return r.parseQuery(query)
}

// maxParameters bounds a query's parameters; two are known.
const maxParameters = 32

func notVisible(c rune) bool { return c <= ' ' || c >= 0x7f }

func (r *Request) parseQuery(query string) *Refusal {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || strings.Contains(pair, "#") {
			return badRequest("malformed query")
		}
		if _, double := r.Query.Get(name); double {
			return badRequest("a query parameter stands twice")
		}
		if len(r.Query) == maxParameters {
			return badRequest("too many query parameters")
		}
		r.Query = append(r.Query, Parameter{name, value})
	}
	return nil
}

// headers are the fields that matter. A field that may stand once only is
// refused where it stands twice.
type headers struct {
	host, upgrade, version, key, origin, length, encoding header1
	connection, protocol                                  []string
}

// header1 is a field that may stand once.
type header1 struct {
	value string
	given bool
}

func (h *headers) parse(s string) *Refusal {
	for s != "" {
		var line string
		line, s, _ = strings.Cut(s, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return badRequest("malformed header field")
		}
		value = strings.Trim(value, " \t")
		for i := range len(value) {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return badRequest("a header field holds a control character")
			}
		}
		if f := h.field(name, value); f != nil {
			return f
		}
	}
	return nil
}

func (h *headers) field(name, value string) *Refusal {
	var once *header1
	switch len(name) {
	case 4:
		if strings.EqualFold(name, "Host") {
			once = &h.host
		}
	case 6:
		if strings.EqualFold(name, "Origin") {
			once = &h.origin
		}
	case 7:
		if strings.EqualFold(name, "Upgrade") {
			once = &h.upgrade
		}
	case 10:
		if strings.EqualFold(name, "Connection") {
			h.connection = append(h.connection, value)
		}
	case 14:
		if strings.EqualFold(name, "Content-Length") {
			once = &h.length
		}
	case 17:
		switch {
		case strings.EqualFold(name, "Sec-WebSocket-Key"):
			once = &h.key
		case strings.EqualFold(name, "Transfer-Encoding"):
			once = &h.encoding
		}
	case 21:
		if strings.EqualFold(name, "Sec-WebSocket-Version") {
			once = &h.version
		}
	case 22:
		if strings.EqualFold(name, "Sec-WebSocket-Protocol") {
			h.protocol = append(h.protocol, value)
		}
	}
	if once == nil {
		return nil
	}
	if once.given {
		return badRequest("the header field " + name + " stands twice")
	}
	*once = header1{value, true}
	return nil
}

// check looks at the header fields (RFC 6455 section 4.2.1).
func (r *Request) check(h *headers) *Refusal {
	switch {
	case h.host.value == "" || strings.ContainsAny(h.host.value, " /?#@\\"):
		return badRequest("the header field Host is missing or malformed")
	case h.encoding.given || h.length.given && h.length.value != "0":
		return badRequest("a handshake has no body")
	}
	if !lists([]string{h.upgrade.value}, "websocket", strings.EqualFold) {
		return nil // no WebSocket is asked for
	}
	r.upgrade = true
	switch {
	case !lists(h.connection, "upgrade", strings.EqualFold):
		return badRequest("the header field Connection must hold Upgrade")
	case h.version.value == "":
		return badRequest("the header field Sec-WebSocket-Version is missing")
	case h.version.value != "13":
		return &Refusal{Status: http.StatusUpgradeRequired, Error: "bad_version", Reason: "only version 13 of the WebSocket protocol is supported"}
	case !validKey(h.key.value):
		return badRequest("the header field Sec-WebSocket-Key must be 16 bytes in base64")
	}
	r.key = h.key.value
	if len(h.protocol) > 0 {
		if !lists(h.protocol, Subprotocol, exactly) {
			return badRequest("none of the subprotocols is supported; " + Subprotocol + " is")
		}
		r.protocol = true
	}
	return nil
}

func validKey(key string) bool {
	var nonce [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], []byte(key))
	return err == nil && n == 16
}

// lists reports whether one of the comma-separated lists holds the token, as
// same compares: most tokens are the same in any case (RFC 9110), but a
// subprotocol is not (RFC 6455 section 4.1, 10).
func lists(all []string, token string, same func(a, b string) bool) bool {
	for _, list := range all {
		for one := range strings.SplitSeq(list, ",") {
			if same(strings.Trim(one, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func exactly(a, b string) bool { return a == b }

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
