package httphead

import "strings"

// The header fields that a parser knows, by their place in its table. Those that
// its owner wants follow.
const (
	host = iota
	origin
	upgrade
	connection
	contentLength
	transferEncoding
	webSocketKey
	webSocketVersion
	webSocketProtocol
)

// fields are the header fields that matter, and their values in one head.
type fields []field

type field struct {
	name   string
	twice  string // why a head is refused where it stands twice; "": it may
	values []string
}

func newFields(wanted []string) fields {
	once := func(name string) field {
		return field{name: name, twice: "the header field " + name + " stands twice"}
	}
	f := fields{
		host:              once("Host"),
		origin:            once("Origin"),
		upgrade:           once("Upgrade"),
		connection:        {name: "Connection"},
		contentLength:     once("Content-Length"),
		transferEncoding:  once("Transfer-Encoding"),
		webSocketKey:      once("Sec-WebSocket-Key"),
		webSocketVersion:  once("Sec-WebSocket-Version"),
		webSocketProtocol: {name: "Sec-WebSocket-Protocol"},
	}
	for _, name := range wanted {
		if f.find(name) == nil {
			f = append(f, field{name: name})
		}
	}
	return f
}

func (f fields) reset() {
	for i := range f {
		f[i].values = f[i].values[:0]
	}
}

func (f fields) find(name string) *field {
	for i := range f {
		if sameInAnyCase(f[i].name, name) {
			return &f[i]
		}
	}
	return nil
}

// parse reads the lines behind the request line (RFC 9112 section 5). It reads on
// where one of them is wrong: whose page it is, and of what host, decides who may
// read the refusal.
func (f fields) parse(lines string) *Response {
	first := ""
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		if wrong := f.parseLine(line); first == "" {
			first = wrong
		}
	}
	if first != "" {
		return BadRequest(first)
	}
	return nil
}

// parseLine returns what is wrong with a line, or "".
func (f fields) parseLine(line string) string {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) {
		return "malformed header field"
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "a header field holds a control character"
		}
	}
	known := f.find(name)
	if known == nil {
		return ""
	}
	if known.values = append(known.values, value); len(known.values) > 1 {
		return known.twice
	}
	return ""
}

// value returns the value of a field that may stand once: "" where it doesn't.
func (f *field) value() string {
	if len(f.values) != 1 {
		return ""
	}
	return f.values[0]
}

// joined returns all values as one (RFC 9110 section 5.3; for cookies RFC 9113
// section 8.2.3).
func (f *field) joined() string {
	if len(f.values) == 1 {
		return f.values[0]
	}
	if sameInAnyCase(f.name, "Cookie") {
		return strings.Join(f.values, "; ")
	}
	return strings.Join(f.values, ", ")
}

// lists looks through the values as comma-separated lists: does one hold the
// token, as same compares, and is there any element at all (RFC 9110 section
// 5.6.1: empty ones don't count)?
func (f *field) lists(token string, same func(a, b string) bool) (found, some bool) {
	for _, list := range f.values {
		for one := range strings.SplitSeq(list, ",") {
			one = strings.Trim(one, " \t")
			found = found || same(one, token)
			some = some || one != ""
		}
	}
	return found, some
}

func exactly(a, b string) bool { return a == b }

// sameInAnyCase compares with ASCII, one of which a must be: of the same length,
// no other letter folds to it.
func sameInAnyCase(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
