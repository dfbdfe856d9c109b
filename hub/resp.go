package hub

import (
	"bytes"
	"errors"
	"fmt"
)

// published is one message of a subscription (Redis: Pub/Sub, RESP2 pushes).
type published struct {
	kind    respKind
	channel []byte
	payload []byte
	size    int // of the payload, also where it is too large and not there
}

type respKind uint8

const (
	respIncomplete respKind = iota // more bytes are needed
	respMessage
	respTooLarge   // a message beyond the bound: skip skips it
	respSubscribed // SUBSCRIBE is confirmed
	respOther      // anything else that is well-formed: a pong
)

var errRESP = errors.New("hub: malformed reply of Redis")

// maxChannel bounds what is a name, in bytes: beyond it something is wrong.
const maxChannel = 64 << 10

// parsePublished reads the message at the start of b. n is how many bytes it
// takes, or, for respIncomplete, how many at least are needed in all; for
// respTooLarge, the bytes up to the payload.
func parsePublished(b []byte, maxPayload int) (p published, n int, err error) {
	if len(b) == 0 {
		return p, 1, nil
	}
	switch b[0] {
	case '*':
	case '-':
		line, n, err := respLine(b)
		if err != nil || line == nil {
			return p, n, err
		}
		return p, 0, fmt.Errorf("hub: Redis answered: %s", line[1:])
	case '+', ':':
		line, n, err := respLine(b)
		if line != nil {
			p.kind = respOther
		}
		return p, n, err
	default:
		return p, 0, errRESP
	}
	count, at, err := respCount(b, '*')
	if at == 0 || err != nil || count < 1 || count > 4 {
		return p, len(b) + 1, respError(at != 0, err)
	}
	var part [4][]byte
	for i := range count {
		if at < len(b) && b[at] == ':' {
			line, n, err := respLine(b[at:])
			if line == nil || err != nil {
				return p, len(b) + 1, err
			}
			at += n
			continue
		}
		size, skip, err := respCount(b[at:], '$')
		if skip == 0 || err != nil || size < -1 {
			return p, len(b) + 1, respError(skip != 0, err)
		}
		at += skip
		if size < 0 {
			continue
		}
		last := i == 2 && count == 3 && string(part[0]) == "message"
		if last && size > maxPayload {
			return published{kind: respTooLarge, channel: part[1], size: size}, at, nil
		}
		if !last && size > maxChannel {
			return p, 0, errRESP
		}
		if len(b) < at+size+2 {
			return p, at + size + 2, nil
		}
		if b[at+size] != '\r' || b[at+size+1] != '\n' {
			return p, 0, errRESP
		}
		part[i] = b[at : at+size : at+size]
		at += size + 2
	}
	switch string(part[0]) {
	case "message":
		if count != 3 || part[2] == nil {
			return p, 0, errRESP
		}
		return published{kind: respMessage, channel: part[1], payload: part[2], size: len(part[2])}, at, nil
	case "subscribe":
		return published{kind: respSubscribed, channel: part[1]}, at, nil
	}
	return published{kind: respOther}, at, nil
}

func respError(whole bool, err error) error {
	if err == nil && whole {
		err = errRESP
	}
	return err
}

// respLine returns the line at the start of b; nil: it is not complete.
func respLine(b []byte) (line []byte, n int, err error) {
	i := bytes.IndexByte(b, '\n')
	switch {
	case i < 0 && len(b) > maxChannel:
		return nil, 0, errRESP
	case i < 0:
		return nil, len(b) + 1, nil
	case i == 0 || b[i-1] != '\r':
		return nil, 0, errRESP
	}
	return b[:i-1], i + 1, nil
}

// respCount reads a line of a mark and a number; at 0: it is not complete.
func respCount(b []byte, mark byte) (n, at int, err error) {
	if len(b) == 0 {
		return 0, 0, nil
	}
	if b[0] != mark {
		return 0, 0, errRESP
	}
	i, negative := 1, false
	if i < len(b) && b[i] == '-' {
		i, negative = i+1, true
	}
	for start := i; ; i++ {
		if i-start > 15 {
			return 0, 0, errRESP
		}
		if i >= len(b) {
			return 0, 0, nil
		}
		if c := b[i]; c >= '0' && c <= '9' {
			n = n*10 + int(c-'0')
			continue
		}
		if i == start || b[i] != '\r' {
			return 0, 0, errRESP
		}
		break
	}
	if i+1 >= len(b) {
		return 0, 0, nil
	}
	if b[i+1] != '\n' {
		return 0, 0, errRESP
	}
	if negative {
		n = -n
	}
	return n, i + 2, nil
}
