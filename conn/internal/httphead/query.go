package httphead

import (
	"net/url"
	"strings"
)

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

// maxParameters bounds how long a look for one that stands twice takes.
const maxParameters = 32

// parse appends the parameters of a query to q.
func (q *Query) parse(query string) *Response {
	for query != "" {
		var pair string
		if pair, query, _ = strings.Cut(query, "&"); pair == "" {
			continue
		}
		if refusal := q.add(pair); refusal != nil {
			return refusal
		}
	}
	return nil
}

func (q *Query) add(pair string) *Response {
	name, value, _ := strings.Cut(pair, "=")
	name, err1 := url.QueryUnescape(name)
	value, err2 := url.QueryUnescape(value)
	if err1 != nil || err2 != nil || strings.Contains(pair, "#") {
		return BadRequest("malformed query")
	}
	if _, double := q.Get(name); double {
		return BadRequest("a query parameter stands twice")
	}
	if len(*q) == maxParameters {
		return BadRequest("too many query parameters")
	}
	*q = append(*q, Parameter{name, value})
	return nil
}
