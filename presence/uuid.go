package presence

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
)

// A UUID names one connection. Those of pods are of version 7 (RFC 9562,
// section 5.7): they begin with the Unix milliseconds at which they were made,
// so that their order is that of their age; of one pod's, exactly.
type UUID = [16]byte

const (
	uuidText  = 36 // bytes of the text form
	hexDigits = "0123456789abcdef"
)

// NewUUID returns a UUID of version 7 with these Unix milliseconds and 74
// random bits. A pod that makes many uses Pods.NewUUID, which reads randomness
// in batches.
func NewUUID(ms int64) UUID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	return makeUUID(ms, random)
}

// UUIDTime returns the Unix milliseconds in a UUID of version 7.
func UUIDTime(u UUID) int64 {
	return int64(binary.BigEndian.Uint64(u[:8]) >> 16)
}

func makeUUID(ms int64, random [10]byte) UUID {
	var u UUID
	binary.BigEndian.PutUint64(u[:8], uint64(ms)<<16)
	copy(u[6:], random[:])
	u[6] = u[6]&0x0f | 0x70 // version 7
	u[8] = u[8]&0x3f | 0x80 // variant of RFC 9562
	return u
}

// uuidSource makes UUIDs from randomness that it reads in batches: a system
// call for each would cost more than the rest of the UUID. Each is greater than
// the one before, also within a millisecond, and where the clock goes back: the
// 12 bits behind the time count (RFC 9562, section 6.2, method 1).
type uuidSource struct {
	mu   sync.Mutex // protects what follows
	buf  [64 * 10]byte
	left int // unused bytes at the end of buf

	ms    int64  // of the last UUID
	count uint16 // of those made in it, from a random beginning; 12 bits
}

const mostCount = 1<<12 - 1

func (s *uuidSource) make(ms int64) UUID {
	var random [10]byte
	s.mu.Lock()
	if s.left < len(random) {
		_, _ = rand.Read(s.buf[:])
		s.left = len(s.buf)
	}
	used := s.buf[len(s.buf)-s.left:]
	copy(random[:], used)
	clear(used[:len(random)]) // no copy of a UUID's random bits stays in memory
	s.left -= len(random)
	if ms > s.ms {
		s.ms = ms
		s.count = binary.BigEndian.Uint16(random[:]) & (mostCount / 2) // half of it is left to count
	} else if s.count++; s.count > mostCount {
		s.ms, s.count = s.ms+1, 0
	}
	ms = s.ms
	binary.BigEndian.PutUint16(random[:], s.count)
	s.mu.Unlock()
	return makeUUID(ms, random)
}

// FormatUUID returns the 36 characters of a UUID, in lower case.
func FormatUUID(u UUID) string {
	var buf [uuidText]byte
	return string(AppendUUID(buf[:0], u))
}

// AppendUUID appends the 36 characters of a UUID, in lower case.
func AppendUUID(dst []byte, u UUID) []byte {
	for i, b := range u {
		switch i {
		case 4, 6, 8, 10:
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[b>>4], hexDigits[b&0x0f])
	}
	return dst
}

// ParseUUID reads the 36 characters of a UUID. It takes any version, but only
// lower case, and nothing before, behind or around it.
func ParseUUID[T string | []byte](s T) (u UUID, ok bool) {
	if len(s) != uuidText {
		return UUID{}, false
	}
	at := 0
	for i := range u {
		switch i {
		case 4, 6, 8, 10:
			if s[at] != '-' {
				return UUID{}, false
			}
			at++
		}
		high, low := unhex(s[at]), unhex(s[at+1])
		if high|low > 0x0f {
			return UUID{}, false
		}
		u[i] = high<<4 | low
		at += 2
	}
	return u, true
}

// unhex returns a value above 15 for what is no lower-case hexadecimal digit.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
