package presence_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pushpod/presence"
)

func TestUUIDsCarryTheirTimeVersionAndVariant(t *testing.T) {
	for _, ms := range []int64{0, 1, 1_700_000_000_123, 1<<48 - 1} {
		u := presence.NewUUID(ms)
		if got := presence.UUIDTime(u); got != ms {
			t.Errorf("time of %x is %d, want %d", u, got, ms)
		}
		text := presence.FormatUUID(u)
		if text[14] != '7' || !strings.ContainsRune("89ab", rune(text[19])) {
			t.Errorf("%s is not of version 7 and the variant of RFC 9562", text)
		}
	}
}

func TestUUIDsAreDistinctAndSortByAge(t *testing.T) {
	pods := presence.NewPods(presence.PodsOptions{})
	seen := make(map[presence.UUID]bool)
	for range 10_000 {
		for _, u := range []presence.UUID{pods.NewUUID(), presence.NewUUID(1)} {
			if seen[u] {
				t.Fatalf("%x twice", u)
			}
			seen[u] = true
		}
	}
	var texts []string
	for ms := range int64(1000) {
		texts = append(texts, presence.FormatUUID(presence.NewUUID(ms)))
	}
	if !slices.IsSorted(texts) {
		t.Error("older UUIDs do not sort before newer ones")
	}
}

// Nobody can tell the next one from those before: 62 bits are random.
func TestUUIDsCannotBeGuessed(t *testing.T) {
	pods := presence.NewPods(presence.PodsOptions{})
	seen := make(map[[8]byte]bool)
	for range 10_000 {
		u := pods.NewUUID()
		random := [8]byte(u[8:])
		if seen[random] {
			t.Fatalf("the bits of %x stand in two UUIDs", u)
		}
		seen[random] = true
	}
}

func TestUUIDsOfAPodSortByAgeWithinAMillisecondToo(t *testing.T) {
	pods := presence.NewPods(presence.PodsOptions{})
	last, together := pods.NewUUID(), 0
	for range 100_000 { // more than are counted in a millisecond
		u := pods.NewUUID()
		if bytes.Compare(u[:], last[:]) <= 0 {
			t.Fatalf("%x after %x", u, last)
		}
		if presence.UUIDTime(u) == presence.UUIDTime(last) {
			together++
		}
		if text := presence.FormatUUID(u); text[14] != '7' || !strings.ContainsRune("89ab", rune(text[19])) {
			t.Fatalf("%s is not of version 7 and the variant of RFC 9562", text)
		}
		last = u
	}
	if together == 0 {
		t.Error("no two of them were made in the same millisecond")
	}
}

func TestOnlyWellFormedUUIDsAreRead(t *testing.T) {
	const good = "018f1b2c-3d4e-7f60-8a9b-0c1d2e3f4a5b"
	u, ok := presence.ParseUUID(good)
	if !ok || presence.FormatUUID(u) != good {
		t.Fatalf("%s read as %x, %v", good, u, ok)
	}
	if v, ok := presence.ParseUUID([]byte(good)); !ok || v != u {
		t.Fatalf("as bytes: %x, %v", v, ok)
	}
	for _, s := range []string{
		"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "018f1b2c-3d4e-4f60-0a9b-0c1d2e3f4a5b",
	} {
		if _, ok := presence.ParseUUID(s); !ok {
			t.Errorf("%s is well-formed", s)
		}
	}
	for c := range 256 {
		digit := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
		for _, at := range []int{0, 35} {
			text := []byte(good)
			text[at] = byte(c)
			if _, ok := presence.ParseUUID(text); ok != digit {
				t.Errorf("%q: read as a UUID: %v", text, ok)
			}
		}
	}
	for _, s := range []string{
		"", "x", strings.ToUpper(good), good[:35], good + "0", " " + good[1:], "{" + good + "}", good[:8] + "_" + good[9:],
		strings.ReplaceAll(good, "-", ""), strings.Replace(good, "0", "g", 1), strings.Replace(good, "0", "\x00", 1),
		strings.Replace(good, "0", "-", 1), good[:23] + "0" + good[24:], strings.Repeat("-", 36), strings.Repeat("é", 18),
	} {
		if _, ok := presence.ParseUUID(s); ok {
			t.Errorf("%q is read as a UUID", s)
		}
	}
}

func TestUUIDsCostNoAllocation(t *testing.T) {
	pods := presence.NewPods(presence.PodsOptions{})
	var buf [36]byte
	if n := testing.AllocsPerRun(1000, func() {
		u := pods.NewUUID()
		text := presence.AppendUUID(buf[:0], u)
		if v, ok := presence.ParseUUID(text); !ok || v != u {
			t.Fatal("not read back")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseUUID(f *testing.F) {
	f.Add("018f1b2c-3d4e-7f60-8a9b-0c1d2e3f4a5b")
	f.Add("018F1b2c-3d4e-7f60-8a9b-0c1d2e3f4a5b")
	f.Fuzz(func(t *testing.T, s string) {
		u, ok := presence.ParseUUID(s)
		if ok && presence.FormatUUID(u) != s {
			t.Fatalf("%q read as %x", s, u)
		}
		v, also := presence.ParseUUID([]byte(s))
		if ok != also || !bytes.Equal(u[:], v[:]) {
			t.Fatalf("%q differs as bytes", s)
		}
	})
}
