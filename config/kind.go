package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A kind reads what the YAML decoder, a variable or a flag gave for a key.
type kind[T any] struct {
	name    string   // shown by --help behind the flag
	allowed string   // completes "allowed: …"
	words   []string // of which the value may be one
	// parse turns a raw value into a T within bounds. Its error says what is
	// wrong; errNotAllowed leaves that to allowed.
	parse func(raw any) (T, error)
	// schema says the same to editors, as far as JSON Schema can.
	schema node
}

// as returns the kind with its schema.
func (k kind[T]) as(schema node) kind[T] { k.schema = schema; return k }

// errNotAllowed is returned by a kind's parse where naming what is allowed says
// all there is to say.
var errNotAllowed = errors.New("config: not allowed")

// onOff reads YAML's booleans and the words on and off.
func onOff() kind[bool] {
	return kind[bool]{name: "switch", allowed: "on or off (true or false)", words: []string{"on", "off"}, parse: func(raw any) (bool, error) {
		switch v := raw.(type) {
		case bool:
			return v, nil
		case string:
			switch strings.ToLower(v) {
			case "on", "true":
				return true, nil
			case "off", "false":
				return false, nil
			}
		}
		return false, errNotAllowed
	}}.as(wordSchema(true, false, "on", "off"))
}

// oneOf reads a word. later holds words of later versions, with the reason to
// give for each.
func oneOf(words []string, later map[string]string) kind[string] {
	return kind[string]{name: "word", allowed: list(words, "or"), words: words, parse: func(raw any) (string, error) {
		// YAML 1.1 tools write a plain off as false.
		text, ok := raw.(string)
		if !ok {
			return "", errNotAllowed
		}
		for _, w := range words {
			if text == w {
				return w, nil
			}
		}
		if why, ok := later[text]; ok {
			return "", errors.New(why)
		}
		return "", errNotAllowed
	}}.as(wordSchema(anys(words)...))
}

// number reads a whole number from low to high. Where off, the word off and 0
// stand for 0, whatever low is.
func number[T int | int64](low, high T, off bool) kind[T] {
	allowed := fmt.Sprintf("a whole number from %s to %s", grouped(int64(low)), grouped(int64(high)))
	if off {
		allowed = "off (or 0), or " + allowed
	}
	return kind[T]{name: "number", allowed: allowed, words: offIf(off), parse: func(raw any) (T, error) {
		if off && isOff(raw) {
			return 0, nil
		}
		n, ok := whole(raw)
		if off && ok && n == 0 {
			return 0, nil
		}
		if !ok || n < int64(low) || n > int64(high) {
			return 0, errNotAllowed
		}
		return T(n), nil
	}}.as(orOff(off, numberSchema(int64(low), int64(high))))
}

// size reads a Size from low to high.
func size(low, high Size) kind[Size] {
	return kind[Size]{
		name:    "size",
		allowed: fmt.Sprintf("a size from %s to %s, as a whole number of bytes or with B, KiB, MiB or GiB", low, high),
		parse: func(raw any) (Size, error) {
			s, ok := Size(0), false
			if text, is := raw.(string); is {
				parsed, err := ParseSize(text)
				s, ok = parsed, err == nil
			} else if n, is := whole(raw); is {
				s, ok = Size(n), true
			}
			if !ok || s < low || s > high {
				return 0, errNotAllowed
			}
			return s, nil
		},
	}.as(sizeSchema(low, high))
}

// sizeOrOff is size where the word off and 0 stand for 0.
func sizeOrOff(low, high Size) kind[Size] {
	k := size(low, high)
	parse := k.parse
	k.allowed, k.words = "off (or 0), or "+k.allowed, offIf(true)
	k.schema = orOff(true, k.schema)
	k.parse = func(raw any) (Size, error) {
		if n, is := whole(raw); isOff(raw) || is && n == 0 {
			return 0, nil
		}
		return parse(raw)
	}
	return k
}

// duration reads a time.Duration from low to high, which has a unit unless it
// is 0. Where off, the word off and 0 stand for 0, whatever low is.
func duration(low, high time.Duration, off bool) kind[time.Duration] {
	allowed := fmt.Sprintf("a duration with its unit, such as 30s, from %s to %s", short(low), short(high))
	if off {
		allowed = "off (or 0), or " + allowed
	}
	return kind[time.Duration]{name: "duration", allowed: allowed, words: offIf(off), parse: func(raw any) (time.Duration, error) {
		if off && isOff(raw) {
			return 0, nil
		}
		text, ok := raw.(string)
		if n, is := whole(raw); is && n == 0 {
			text, ok = "0s", true
		}
		d, err := time.ParseDuration(text)
		switch {
		case ok && err == nil && d == 0 && off:
			return 0, nil
		case !ok || err != nil || d < low || d > high:
			return 0, errNotAllowed
		}
		return d, nil
	}}.as(orOff(off, durationSchema(low)))
}

// text reads a string of at most limit bytes without control characters and
// without any of the characters in never.
func text(limit int, never string) kind[string] {
	allowed := fmt.Sprintf("text of at most %d bytes, UTF-8 without control characters", limit)
	if never != "" {
		allowed += " and without " + list(strings.Split(never, ""), "or")
	}
	return kind[string]{name: "text", allowed: allowed, parse: func(raw any) (string, error) {
		s, ok := raw.(string)
		switch {
		case !ok:
			return "", errors.New("not text; put it in quotes")
		case strings.ContainsFunc(s, unicode.IsControl):
			return "", errors.New("holds a control character (often a line break at its end)")
		case len(s) > limit, !utf8.ValidString(s), strings.ContainsAny(s, never):
			return "", errNotAllowed
		}
		return s, nil
	}}.as(textSchema(limit, never))
}

// offIf is the word off, where it is allowed.
func offIf(off bool) []string {
	if off {
		return []string{"off"}
	}
	return nil
}

// isOff takes false too: YAML 1.1 tools (Helm, Ansible) write a plain off so.
func isOff(raw any) bool {
	s, ok := raw.(string)
	return raw == false || ok && strings.EqualFold(s, "off")
}

func whole(raw any) (int64, bool) {
	switch v := raw.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

// short writes a duration without the zero units that time.Duration adds: 1h,
// not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// grouped writes a number as people do: 100,000.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// list writes words as a sentence does: "a, b or c".
func list(words []string, and string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " " + and + " " + words[last]
}
