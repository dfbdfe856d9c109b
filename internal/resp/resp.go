// Package resp reads what Redis sends in RESP 2, out of a buffer of the
// caller's, and writes commands. It allocates nothing once it is warm.
//
// Protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
package resp

import (
	"bytes"
	"errors"
	"strconv"
)

// ErrMalformed says that what came is not RESP 2, or beyond a bound. What
// follows it on the connection can't be understood.
var ErrMalformed = errors.New("malformed reply of Redis")

// maxLine bounds a line, and a string that is not the last one of its reply, in
// bytes: these are names, numbers and errors.
const maxLine = 64 << 10

// Reader parses replies, one after the other. One goroutine uses it at a time.
type Reader struct {
	MaxString int // of the last string of a reply, in bytes; what is longer is skipped
	MaxFields int // elements of an array; more are malformed

	// What Parse has found. Fields are parts of its buffer.
	Kind   byte     // '+', '-', ':', '$' or '*'
	Int    int64    // of ':'
	Fields [][]byte // the elements of '*'; the one line or string of '+', '-' and '$'; nil: null
	Skip   int      // the last string is too long: this many bytes of it and its line end follow
	Need   int      // the reply is incomplete: at least this many bytes are needed in all
}

// Parse parses the reply at the start of b and returns how many bytes it took;
// 0: it is incomplete. Where the last string is too long, the reply ends before
// it; Fields hold what stands before it, and Skip bytes must be thrown away.
// Arrays in arrays are malformed.
func (r *Reader) Parse(b []byte) (n int, err error) {
	r.Kind, r.Int, r.Fields, r.Skip, r.Need = 0, 0, r.Fields[:0], 0, len(b)+1
	if len(b) == 0 {
		return 0, nil
	}
	count, at := int64(1), 0
	switch r.Kind = b[0]; r.Kind {
	case ':':
		r.Int, n, err = number(b, 1)
		return n, err
	case '*':
		if count, at, err = number(b, 1); at == 0 || err != nil {
			return 0, err
		}
		if count < -1 || count > int64(r.MaxFields) {
			return 0, ErrMalformed
		}
	}
	return r.elements(b, at, count)
}

// Err is the error that Redis has answered; nil: it is none.
func (r *Reader) Err() error {
	if r.Kind != '-' {
		return nil
	}
	return errors.New("Redis answered: " + string(r.Fields[0]))
}

// elements makes fields of the elements at b[at:], and returns where they end.
func (r *Reader) elements(b []byte, at int, count int64) (end int, err error) {
	fields := r.Fields
	for ; count > 0; count-- {
		var field []byte
		field, end, err = r.element(b, at, count == 1)
		if end == 0 || err != nil {
			return 0, err
		}
		if at = end; r.Skip == 0 {
			fields = append(fields, field)
		}
	}
	r.Fields = fields
	return at, nil
}

// element returns the element at b[at:], and where it ends; 0: it is incomplete.
func (r *Reader) element(b []byte, at int, last bool) (field []byte, end int, err error) {
	if at == len(b) {
		return nil, 0, nil
	}
	switch b[at] {
	case '$':
		return r.text(b, at+1, last)
	case ':':
		_, end, err = number(b, at+1)
	case '+', '-':
		end, err = line(b, at)
	default:
		err = ErrMalformed
	}
	if end > 0 {
		field = b[at+1 : end-2]
	}
	return field, end, err
}

// text returns the string whose length is at b[at:] (a "bulk string").
func (r *Reader) text(b []byte, at int, last bool) (field []byte, end int, err error) {
	size, at, err := number(b, at)
	if at == 0 || err != nil {
		return nil, 0, err
	}
	switch {
	case size == -1:
		return nil, at, nil
	case last && size > int64(r.MaxString):
		r.Skip = int(size) + 2
		return nil, at, nil
	case size < 0 || !last && size > maxLine:
		return nil, 0, ErrMalformed
	}
	end = at + int(size)
	if len(b) < end+2 {
		r.Need = end + 2
		return nil, 0, nil
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return nil, 0, ErrMalformed
	}
	return b[at:end:end], end + 2, nil
}

// line returns the end of the line at b[at:]; 0: it is incomplete.
func line(b []byte, at int) (next int, err error) {
	n := bytes.IndexByte(b[at:], '\n')
	switch {
	case n > maxLine || n < 0 && len(b)-at > maxLine:
		return 0, ErrMalformed
	case n < 0:
		return 0, nil
	case b[at+n-1] != '\r':
		return 0, ErrMalformed
	}
	return at + n + 1, nil
}

// number reads an integer of at most 15 digits and its line end at b[at:]; next
// is 0 where it is incomplete.
func number(b []byte, at int) (n int64, next int, err error) {
	negative := at < len(b) && b[at] == '-'
	if negative {
		at++
	}
	start := at
	for ; at < len(b) && b[at] >= '0' && b[at] <= '9'; at++ {
		if at-start >= 15 {
			return 0, 0, ErrMalformed
		}
		n = n*10 + int64(b[at]-'0')
	}
	switch {
	case at == len(b):
		return 0, 0, nil
	case at == start || b[at] != '\r' || at+1 < len(b) && b[at+1] != '\n':
		return 0, 0, ErrMalformed
	case at+1 == len(b):
		return 0, 0, nil
	}
	if negative {
		n = -n
	}
	return n, at + 2, nil
}

// AppendCommand appends a command.
func AppendCommand(dst []byte, args ...string) []byte {
	dst = AppendArray(dst, len(args))
	for _, arg := range args {
		dst = AppendString(dst, arg)
	}
	return dst
}

// AppendArray appends the head of an array of n elements, which follow it.
func AppendArray(dst []byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, '*'), int64(n), 10), "\r\n"...)
}

// AppendString appends a string (a "bulk string").
func AppendString[T string | []byte](dst []byte, s T) []byte {
	dst = strconv.AppendInt(append(dst, '$'), int64(len(s)), 10)
	dst = append(append(dst, "\r\n"...), s...)
	return append(dst, "\r\n"...)
}
