package tlsloop

import (
	"errors"
	"fmt"
)

const (
	recordHandshake = 22
	recordHeader    = 5
	maxPlaintext    = 16 << 10            // of one record
	maxRecord       = maxPlaintext + 2048 // as it comes, TLS 1.2 (RFC 5246 section 6.2.3)
	clientHello     = 1

	// maxHello bounds a ClientHello. Those of browsers have 0.5 to 2 KiB.
	maxHello = 16 << 10
)

// Errors of what can't be the beginning of TLS.
var (
	errHTTP   = errors.New("the client speaks HTTP without TLS")
	errNotTLS = errors.New("the client does not speak TLS")
	errHello  = fmt.Errorf("the ClientHello has more than %d bytes", maxHello)
)

// hello follows the ClientHello as it comes, in one or several records (RFC 8446
// section 5.1).
type hello struct {
	at   int     // where in the input the next record begins
	have int     // bytes of the message so far
	head [4]byte // type and length of the message
}

// look looks at all that has come so far, and reports whether the message is whole.
// What is wrong with it beyond its size is crypto/tls's to say.
func (h *hello) look(b []byte) (whole bool, err error) {
	for {
		record := b[h.at:]
		if err := checkRecord(record); err != nil {
			return false, err
		}
		if len(record) < recordHeader {
			return false, nil
		}
		n := int(record[3])<<8 | int(record[4])
		switch {
		case n == 0 || n > maxPlaintext:
			return false, errNotTLS
		case len(record) < recordHeader+n:
			return false, nil
		}
		h.take(record[recordHeader : recordHeader+n])
		if h.have < len(h.head) {
			continue
		}
		size := len(h.head) + (int(h.head[1])<<16 | int(h.head[2])<<8 | int(h.head[3]))
		switch {
		case h.head[0] != clientHello:
			return true, nil
		case size > maxHello:
			return false, errHello
		case h.have >= size:
			return true, nil
		}
	}
}

// checkRecord looks at what has come of a record's header: a client that speaks
// something else may wait for an answer after a few bytes.
func checkRecord(b []byte) error {
	switch {
	case len(b) == 0:
	case b[0] >= 'A' && b[0] <= 'Z':
		return errHTTP
	case b[0] != recordHandshake, len(b) > 1 && b[1] != 3:
		return errNotTLS
	}
	return nil
}

func (h *hello) take(part []byte) {
	if h.have < len(h.head) {
		copy(h.head[h.have:], part)
	}
	h.have += len(part)
	h.at += recordHeader + len(part)
}
