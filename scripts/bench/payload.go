//go:build linux

package main

import (
	"bytes"
	"math/rand/v2"
	"strconv"
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

	// minSize is what the stamp takes: {"t":<19 digits>,"k":0}
	minSize = 31
)

// payloads makes the data of messages: a JSON object of a given size, which
// begins with the time, so that whoever receives it knows its age.
type payloads struct {
	tail [kinds][]byte
}

// newPayloads makes payloads of size bytes, or of minSize where size is less.
func newPayloads(size int, r *rand.Rand) *payloads {
	size = max(size, minSize)
	var p payloads
	for k := range kinds {
		tail := append([]byte(kindKey), '0'+byte(k))
		const around = len(`,"p":""`)
		fill := size - minSize
		if fill < around { // no room for a member: JSON lets spaces stand there
			tail = append(tail, bytes.Repeat([]byte{' '}, fill)...)
		} else {
			tail = append(tail, `,"p":"`...)
			for range fill - around {
				tail = append(tail, 'a'+byte(r.IntN(26)))
			}
			tail = append(tail, '"')
		}
		p.tail[k] = append(tail, '}')
	}
	return &p
}

// append appends the data of one message that is published now, in Unix
// nanoseconds.
func (p *payloads) append(dst []byte, k kind, now int64) []byte {
	dst = append(dst, `{`+stampKey...)
	dst = strconv.AppendInt(dst, now, 10)
	return append(dst, p.tail[k]...)
}

// stamp finds the time, and the kind, in a frame; t is 0 where there is none.
func stamp(frame []byte) (t int64, k kind) {
	at := bytes.Index(frame, []byte(stampKey))
	if at < 0 {
		return 0, 0
	}
	frame = frame[at+len(stampKey):]
	n := 0
	for n < len(frame) && n < 19 && '0' <= frame[n] && frame[n] <= '9' {
		t = t*10 + int64(frame[n]-'0')
		n++
	}
	if t < 0 { // beyond 2^63: not ours
		return 0, 0
	}
	if rest, ok := bytes.CutPrefix(frame[n:], []byte(kindKey)); ok && len(rest) > 0 && rest[0] == '1' {
		k = broadcast
	}
	return t, k
}
