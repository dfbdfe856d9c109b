//go:build linux

package main

import (
	"bytes"
	"strconv"
	"strings"
)

// kind tells apart what is measured at the same time.
type kind uint8

const (
	single    kind = iota // pushes to one user each
	broadcast             // to all connections
	kinds
)

const (
	stampKey = `"t":`
	kindKey  = `,"k":`
	minSize  = len(`{"t":1234567890123456789,"k":0,"p":""}`)
)

// payload makes the data of messages: JSON objects of a given size that begin with
// the time, so that whoever receives one knows its age.
type payload struct {
	rest [kinds]string // what follows the time
}

// newPayload makes data of size bytes, minSize or more.
func newPayload(size int) payload {
	fill := strings.Repeat("abcdefghijklmnopqrstuvwxyz", size/26+1)[:size-minSize]
	var p payload
	for k := range kinds {
		p.rest[k] = kindKey + strconv.Itoa(int(k)) + `,"p":"` + fill + `"}`
	}
	return p
}

// append appends the data of one message that is published now, in Unix
// nanoseconds.
func (p payload) append(dst []byte, k kind, now int64) []byte {
	dst = append(dst, `{`+stampKey...)
	dst = strconv.AppendInt(dst, now, 10)
	return append(dst, p.rest[k]...)
}

// stamp finds the time, and the kind, in a frame; t is 0 where there is none.
func stamp(frame []byte) (t int64, k kind) {
	_, frame, _ = bytes.Cut(frame, []byte(stampKey))
	n := 0
	for n < len(frame) && n < 19 && '0' <= frame[n] && frame[n] <= '9' {
		t = t*10 + int64(frame[n]-'0')
		n++
	}
	if t < 0 { // beyond 2^63: not ours
		return 0, 0
	}
	if bytes.HasPrefix(frame[n:], []byte(kindKey+"1")) {
		k = broadcast
	}
	return t, k
}
