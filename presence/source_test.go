package presence

import (
	"encoding/binary"
	"testing"
)

func TestUUIDsAreLaidOutAsInRFC9562(t *testing.T) {
	for random, want := range map[[10]byte]string{
		{0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f}: "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", // its own example
		{}: "017f22e2-79b0-7000-8000-000000000000",
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}: "017f22e2-79b0-7fff-bfff-ffffffffffff",
	} {
		u := makeUUID(0x017f22e279b0, random)
		if got := FormatUUID(u); got != want || UUIDTime(u) != 0x017f22e279b0 {
			t.Errorf("%s, made at %x; want %s", got, UUIDTime(u), want)
		}
	}
}

func TestUUIDsOfASourceCountWithinAMillisecond(t *testing.T) {
	count := func(u UUID) uint16 { return binary.BigEndian.Uint16(u[6:]) & mostCount }
	var s uuidSource
	var seen uint16
	for ms := int64(1); ms <= 10_000; ms++ {
		u := s.make(ms)
		if UUIDTime(u) != ms || count(u) > mostCount/2 {
			t.Fatalf("made at %d: %s", ms, FormatUUID(u))
		}
		seen |= count(u)
	}
	if seen != mostCount/2 {
		t.Errorf("the count does not begin anywhere below a half: %x", seen)
	}
	s.ms, s.count = 1000, mostCount-1
	for i, want := range []struct {
		ms    int64
		count uint16
	}{{1000, mostCount}, {1001, 0}, {1001, 1}} {
		if u := s.make(500); UUIDTime(u) != want.ms || count(u) != want.count {
			t.Errorf("%d: %s, want %d and a count of %x", i, FormatUUID(u), want.ms, want.count)
		}
	}
}

func TestRandomBitsOfAUUIDAreUsedOnceAndNotKept(t *testing.T) {
	var s uuidSource
	s.make(1)
	if s.left != len(s.buf)-10 || [10]byte(s.buf[:10]) != [10]byte{} {
		t.Errorf("%d bytes are left of %d, behind %x", s.left, len(s.buf), s.buf[:10])
	}
}
