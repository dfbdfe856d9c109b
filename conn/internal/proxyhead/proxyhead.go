// Package proxyhead reads the header of the PROXY protocol, versions 1 and 2, by which
// a proxy says at the beginning of a connection whose it is
// (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). Headers are parsed by
// go-proxyproto, which needs all of one; [Scan] says where one ends, so that nobody has
// to wait for the rest of it.
package proxyhead

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Why a connection's first bytes are no header.
var (
	errNone    = errors.New("it does not begin with a PROXY header")
	errTooLong = errors.New("its PROXY header is too long")
	errWrong   = errors.New("its PROXY header is malformed")
)

const (
	longestV1 = 107 // bytes, CR LF included (section 2.1)
	fixedV2   = 16  // bytes, to which the header's length is added (section 2.2)
)

// Scan returns the size of the header with which b begins, or 0 where the end of it is
// not there yet. The error says that b is not the beginning of a header, whatever
// follows.
func Scan(b []byte) (size int, err error) {
	switch {
	case begins(b, "PROXY "):
		return scanV1(b)
	case begins(b, string(proxyproto.SIGV2)):
		return scanV2(b)
	}
	return 0, errNone
}

// begins reports whether b begins with s, as far as it goes.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

func scanV1(b []byte) (size int, err error) {
	rest := b[min(len(b), len("PROXY ")):]
	if !begins(rest, "TCP4 ") && !begins(rest, "TCP6 ") && !begins(rest, "UNKNOWN") {
		return 0, errWrong
	}
	line := b[:min(len(b), longestV1)]
	cr := bytes.IndexByte(line, '\r')
	switch end := bytes.IndexByte(line, '\n'); {
	case end >= 0:
		return end + 1, nil
	case cr >= 0 && cr < len(line)-1:
		return 0, errWrong
	case len(line) == longestV1:
		return 0, errTooLong
	}
	return 0, nil
}

func scanV2(b []byte) (size int, err error) {
	const command, length = 12, 14 // where they stand
	if len(b) > command && b[command] != byte(proxyproto.LOCAL) && b[command] != byte(proxyproto.PROXY) {
		return 0, errWrong
	}
	if len(b) < fixedV2 {
		return 0, nil
	}
	n := binary.BigEndian.Uint16(b[length:])
	switch size = fixedV2 + int(n); {
	case n > proxyproto.MaxV2HeaderSize:
		return 0, errTooLong
	case size > len(b):
		return 0, nil
	}
	return size, nil
}

// Source returns the address that a header tells, as [Scan] found it. It is not valid
// where the header tells none (LOCAL, UNKNOWN, an address of another kind): then the
// connection is the proxy's own. Of what stands behind the addresses (TLVs) a checksum
// must be right; the rest is passed over.
func Source(head []byte) (netip.Addr, error) {
	if tellsNone(head) {
		return netip.Addr{}, nil
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(head), longestV1+1))
	if err != nil {
		return netip.Addr{}, errWrong
	}
	ip, _, ok := h.IPs()
	if h.Command.IsLocal() || !ok {
		return netip.Addr{}, nil
	}
	if !sound(head) {
		return netip.Addr{}, errWrong
	}
	source, _ := netip.AddrFromSlice(ip)
	return source.Unmap(), nil
}

// sound reports whether what stands behind the addresses of IP is well formed, and the
// header's checksum, where there is one (PP2_TYPE_CRC32C, section 2.2.4), is right: that
// of the whole header with zeros in the checksum's place. The library drops what pads, so
// that it does not say where that is.
func sound(head []byte) bool {
	const family, v4, v6, before = 13, 12, 36, 3
	if head[0] != proxyproto.SIGV2[0] {
		return true
	}
	at := fixedV2 + v4
	if head[family]>>4 == byte(proxyproto.TCPv6)>>4 {
		at = fixedV2 + v6
	}
	for at < len(head) {
		if len(head) < at+before {
			return false
		}
		value := at + before
		next := value + int(binary.BigEndian.Uint16(head[at+1:]))
		if next > len(head) || head[at] == byte(proxyproto.PP2_TYPE_CRC32C) && !rightSum(head, value, next) {
			return false
		}
		at = next
	}
	return true
}

// rightSum reports whether head[from:to] is the header's checksum.
func rightSum(head []byte, from, to int) bool {
	if to-from != crc32.Size {
		return false
	}
	zeroed := bytes.Clone(head)
	clear(zeroed[from:to])
	return crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli)) == binary.BigEndian.Uint32(head[from:])
}

// tellsNone reports whether a header of version 2 has the family UNSPEC, which the
// library refuses together with PROXY: "the receiver is free to accept the connection
// anyway and use the real endpoint addresses" (section 2.2).
func tellsNone(head []byte) bool {
	return head[0] == proxyproto.SIGV2[0] && head[13] == byte(proxyproto.UNSPEC)
}
