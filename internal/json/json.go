// Package json walks JSON (RFC 8259) strictly and builds nothing: it finds members,
// elements and scalars where they stand. It takes any valid UTF-8; whether a text is
// that, its callers check first. Names may stand twice; callers decide what that means.
package json

import (
	"bytes"
	"encoding/binary"
	stdjson "encoding/json"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// MaxLevels is how deep arrays and objects may be nested.
const MaxLevels = 1000

// In what follows a position of -1 means: not JSON.

// plain reports whether a byte stands for itself in a string.
func plain(c byte) bool { return c >= ' ' && c != '"' && c != '\\' }

// skipPlain returns the position of the next byte that is not plain, or the
// end. It looks at eight bytes at once: most of a message is plain.
func skipPlain(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, escape := w^(ones*'"'), w^(ones*'\\')
		// A subtraction borrows into the top bit of a byte that is below what
		// is subtracted; bytes above 0x7f, which have that bit, are plain.
		special := ((w - ones*' ') | (quote - ones) | (escape - ones)) &^ w & tops
		if special != 0 {
			return i + bits.TrailingZeros64(special)/8 // borrows go upwards: the lowest is right
		}
	}
	for i < len(b) && plain(b[i]) {
		i++
	}
	return i
}

// AppendString appends a string of valid UTF-8 as JSON.
func AppendString(b []byte, s string) []byte {
	from := len(b) + 1
	b = append(append(b, '"'), s...)
	if skipPlain(b, from) == len(b) {
		return append(b, '"')
	}
	quoted, _ := stdjson.Marshal(s) // a string can be marshalled
	return append(b[:from-1], quoted...)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the position behind the string that begins at i.
func skipString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; ; {
		if i = skipPlain(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			if i = skipEscape(b, i+1); i < 0 {
				return -1
			}
		default:
			return -1
		}
	}
}

func skipEscape(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	if b[i] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, b[i]) < 0 {
			return -1
		}
		return i + 1
	}
	if i+5 > len(b) {
		return -1
	}
	for _, c := range b[i+1 : i+5] {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return -1
		}
	}
	return i + 5
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// skipNumber returns the position behind the number that begins at i.
func skipNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	default:
		j := skipDigits(b, i)
		if j == i {
			return -1
		}
		i = j
	}
	if i < len(b) && b[i] == '.' {
		j := skipDigits(b, i+1)
		if j == i+1 {
			return -1
		}
		i = j
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		j := skipDigits(b, i)
		if j == i {
			return -1
		}
		i = j
	}
	return i
}

func skipWord(b []byte, i int, word string) int {
	if i+len(word) > len(b) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// skipScalar returns the position behind the value at i, which is no array and
// no object.
func skipScalar(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	}
	return skipNumber(b, i)
}

// levels remembers, for each level of nesting, whether it is an object.
type levels struct {
	bits  [(MaxLevels + 63) / 64]uint64
	depth int
}

func (v *levels) push(object bool) bool {
	if v.depth == MaxLevels {
		return false
	}
	word, bit := v.depth/64, uint64(1)<<(v.depth%64)
	if object {
		v.bits[word] |= bit
	} else {
		v.bits[word] &^= bit
	}
	v.depth++
	return true
}

func (v *levels) object() bool {
	d := v.depth - 1
	return v.bits[d/64]>>(d%64)&1 != 0
}

// skipValue returns the position behind the value that begins at i.
func skipValue(b []byte, i int) int {
	if i < len(b) && b[i] != '{' && b[i] != '[' {
		return skipScalar(b, i)
	}
	var v levels
	for {
		// A value begins at i.
		if i >= len(b) {
			return -1
		}
		if b[i] == '{' || b[i] == '[' {
			object := b[i] == '{'
			if !v.push(object) {
				return -1
			}
			i = skipSpace(b, i+1)
			if i < len(b) && (object && b[i] == '}' || !object && b[i] == ']') {
				v.depth--
				i++
			} else {
				if object {
					if i = skipName(b, i); i < 0 {
						return -1
					}
				}
				continue
			}
		} else if i = skipScalar(b, i); i < 0 {
			return -1
		}
		// A value ends before i: what comes next closes levels or goes on.
		for {
			if v.depth == 0 {
				return i
			}
			i = skipSpace(b, i)
			if i >= len(b) {
				return -1
			}
			if b[i] == ',' {
				i = skipSpace(b, i+1)
				if v.object() {
					if i = skipName(b, i); i < 0 {
						return -1
					}
				}
				break
			}
			if v.object() && b[i] != '}' || !v.object() && b[i] != ']' {
				return -1
			}
			v.depth--
			i++
		}
	}
}

// skipName returns the position of the value behind a member's name at i.
func skipName(b []byte, i int) int {
	if i = skipString(b, i); i < 0 {
		return -1
	}
	i = skipSpace(b, i)
	if i >= len(b) || b[i] != ':' {
		return -1
	}
	return skipSpace(b, i+1)
}

// Members calls f with the name (decoded) and the value (as it stands) of each
// member of the object that is the whole of b. It returns false where b is no JSON
// object, and the first reason of f that is not "". A name with a lone surrogate is
// the byte 0xff.
func Members(b []byte, f func(name, value []byte) (reason string)) (reason string, ok bool) {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return "", false
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return "", skipSpace(b, i+1) == len(b)
	}
	for {
		end := skipString(b, i)
		if end < 0 {
			return "", false
		}
		name := b[i:end]
		start := skipSpace(b, end)
		if start >= len(b) || b[start] != ':' {
			return "", false
		}
		start = skipSpace(b, start+1)
		if i = skipValue(b, start); i < 0 {
			return "", false
		}
		if r := f(unquote(name), b[start:i]); r != "" && reason == "" {
			reason = r // but it must be JSON throughout: go on
		}
		i = skipSpace(b, i)
		switch {
		case i >= len(b):
			return "", false
		case b[i] == '}':
			return reason, skipSpace(b, i+1) == len(b)
		case b[i] != ',':
			return "", false
		}
		i = skipSpace(b, i+1)
	}
}

// Elements calls f with each element of b, which is an array that Members or Elements
// has found, up to the first reason that is not "", and returns that.
func Elements(b []byte, f func(value []byte) (reason string)) (reason string) {
	i := skipSpace(b, 1)
	for i < len(b) && b[i] != ']' {
		end := skipValue(b, i)
		if r := f(b[i:end]); r != "" {
			return r
		}
		i = skipSpace(b, end)
		if i < len(b) && b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	return ""
}

// notText is what unquote makes of a string with a lone surrogate. No valid
// UTF-8 begins with it.
const notText = 0xff

// String returns what the JSON string v stands for: a part of v where nothing is
// escaped, else new memory. ok is false where v is another value, or has a lone
// surrogate: two of those would not be the same only because UTF-8 can write neither.
func String(v []byte) (text []byte, ok bool) {
	if v[0] != '"' {
		return nil, false
	}
	text = unquote(v)
	return text, len(text) == 0 || text[0] != notText
}

func unquote(s []byte) []byte {
	in := s[1 : len(s)-1]
	if bytes.IndexByte(in, '\\') >= 0 {
		return unescape(s)
	}
	return in
}

func unescape(s []byte) []byte {
	var text string
	if stdjson.Unmarshal(s, &text) != nil {
		return []byte{notText}
	}
	// Unmarshal writes U+FFFD for a lone surrogate, which may also be meant.
	if strings.ContainsRune(text, utf8.RuneError) && strings.Count(text, "\ufffd") != countReplacement(s) {
		return []byte{notText}
	}
	return []byte(text)
}

// countReplacement counts how often U+FFFD is really written in s.
func countReplacement(s []byte) int {
	t := string(s)
	n := strings.Count(t, "\ufffd")
	for i := 0; i < len(t); i++ {
		if t[i] == '\\' {
			if i+6 <= len(t) && strings.EqualFold(t[i:i+6], `\ufffd`) {
				n++
			}
			i++
		}
	}
	return n
}

// Integer reads an integer without fraction or exponent, between -2^53 and 2^53.
func Integer(b []byte) (int64, bool) {
	digits, negative := b, false
	if len(b) > 0 && b[0] == '-' {
		digits, negative = b[1:], true
	}
	if len(digits) == 0 || len(digits) > 16 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if n >= 1<<53 || negative && n == 0 { // -0 is a number that no integer has
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}
