//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// maxReply bounds a reply: it is the largest envelope that a pod takes by
// default, and room for what stands around it.
const maxReply = 2 << 20

var errReply = errors.New("bench: Redis sent something that is not RESP 2, or longer than 2 MiB")

// reply is one reply in RESP 2, flattened: the elements of an array are
// fields, and so is a single string. They are parts of the buffer that was
// parsed.
type reply struct {
	kind   byte // + - : $ *
	number int64
	fields [][]byte
}

// parseReply parses the first reply in b, and returns how many bytes it took:
// 0 where b ends before the reply does. The fields reuse the array of r.
func parseReply(b []byte, r *reply) (int, error) {
	line, n, err := takeLine(b)
	if n == 0 || err != nil {
		return 0, err
	}
	r.kind, r.number, r.fields = line[0], 0, r.fields[:0]
	switch r.kind {
	case '+', '-':
		r.fields = append(r.fields, line[1:])
		return n, nil
	case ':', '*', '$':
	default:
		return 0, errReply
	}
	if r.number, err = strconv.ParseInt(string(line[1:]), 10, 64); err != nil {
		return 0, errReply
	}
	switch r.kind {
	case '$':
		return r.takeBulk(b, n, r.number)
	case '*':
		return r.takeArray(b, n)
	}
	return n, nil
}

func (r *reply) takeArray(b []byte, n int) (int, error) {
	if r.number > maxReply {
		return 0, errReply
	}
	for range r.number {
		line, taken, err := takeLine(b[n:])
		if taken == 0 || err != nil {
			return 0, err
		}
		n += taken
		switch line[0] {
		case ':', '+':
			r.fields = append(r.fields, line[1:])
			continue
		case '$':
		default:
			return 0, errReply // a nested array: no command here answers so
		}
		size, err := strconv.ParseInt(string(line[1:]), 10, 64)
		if err != nil {
			return 0, errReply
		}
		if n, err = r.takeBulk(b, n, size); n == 0 || err != nil {
			return 0, err
		}
	}
	return n, nil
}

// takeBulk takes size bytes and their line end at b[n:].
func (r *reply) takeBulk(b []byte, n int, size int64) (int, error) {
	if size < 0 {
		r.fields = append(r.fields, nil)
		return n, nil
	}
	if size > maxReply {
		return 0, errReply
	}
	end := n + int(size)
	if len(b) < end+2 {
		return 0, nil
	}
	r.fields = append(r.fields, b[n:end])
	return end + 2, nil
}

// takeLine takes a line of at least one byte, without its end.
func takeLine(b []byte) (line []byte, n int, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > maxReply {
			err = errReply
		}
		return nil, 0, err
	}
	if end < 2 || b[end-1] != '\r' {
		return nil, 0, errReply
	}
	return b[:end-1], end + 1, nil
}

// err is the error that Redis answered, or nil.
func (r *reply) err(command string) error {
	if r.kind != '-' {
		return nil
	}
	return fmt.Errorf("bench: Redis answered %s with: %s", command, r.fields[0])
}

// appendCommand appends a command as an array of strings.
func appendCommand(dst []byte, args ...string) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(len(args)), 10)
	dst = append(dst, "\r\n"...)
	for _, arg := range args {
		dst = appendBulk(dst, arg)
	}
	return dst
}

func appendBulk[T string | []byte](dst []byte, b T) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(b)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, b...)
	return append(dst, "\r\n"...)
}

// appendPublish appends PUBLISH of a message to a channel.
func appendPublish(dst []byte, channel string, message []byte) []byte {
	dst = append(dst, "*3\r\n$7\r\nPUBLISH\r\n"...)
	return appendBulk(appendBulk(dst, channel), message)
}
