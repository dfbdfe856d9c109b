package proxyhead

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

const (
	v1    = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n"
	sigV2 = "\r\n\r\n\x00\r\nQUIT\n"
	v2    = sigV2 + "\x21\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x00\x50"
)

func TestAHeaderEndsWhereTheRestBegins(t *testing.T) {
	for _, head := range []string{v1, v2, "PROXY UNKNOWN\r\n", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", sigV2 + "\x20\x00\x00\x00", sigV2 + "\x21\x00\x00\x00"} {
		for _, rest := range []string{"", "\n", "GET /", v1, strings.Repeat("\x16", 5000)} {
			if size, err := Scan([]byte(head + rest)); size != len(head) || err != nil {
				t.Errorf("%q before %.10q: %d, %v; want %d", head, rest, size, err, len(head))
			}
		}
		for i := range head {
			if size, err := Scan([]byte(head[:i])); size != 0 || err != nil {
				t.Errorf("%q: %d, %v; it is not whole", head[:i], size, err)
			}
		}
	}
}

func TestSourceIsTheClient(t *testing.T) {
	for head, want := range map[string]string{
		v1:                            "203.0.113.7",
		v2:                            "203.0.113.7",
		"PROXY UNKNOWN\r\n":           "invalid IP",
		sigV2 + "\x21\x00\x00\x00":    "invalid IP",
		sigV2 + "\x20" + v2[13:]:      "invalid IP",
		sigV2 + "\x21\x12" + v2[14:]:  "203.0.113.7", // datagrams
		"PROXY TCP6 ::1 ::2 1 2\r\n":  "::1",
		sigV2 + "\x20\x11\x00\x01x":   "invalid IP",
		sigV2 + "\x20\x00\x00\x03abc": "invalid IP",
	} {
		if ip, err := Source([]byte(head)); err != nil || ip.String() != want {
			t.Errorf("%q: %v, %v; want %s", head, ip, err, want)
		}
	}
}

// The checksum was made by another program.
func TestAWrongChecksumIsNoHeader(t *testing.T) {
	const sum, noop = "\xcd\x2b\x2c\x4e", "\x04\x00\x01x"
	with := func(sum, behind string) []byte {
		rest := v2[16:] + "\x03\x00" + string(rune(len(sum))) + sum + behind
		return []byte(sigV2 + "\x21\x11\x00" + string(rune(len(rest))) + rest)
	}
	if ip, err := Source(with(sum, noop)); err != nil || ip.String() != "203.0.113.7" {
		t.Errorf("%v, %v", ip, err)
	}
	for name, head := range map[string][]byte{
		"another sum":     with("\x00"+sum[1:], noop),
		"a byte changed":  with(sum, "\x04\x00\x01y"),
		"a short sum":     with(sum[:3], noop),
		"no sum":          with("", noop),
		"a cut extension": with(sum, "\x04\x00\x05x"),
	} {
		if ip, err := Source(head); err == nil {
			t.Errorf("%s: %v, no error", name, ip)
		}
	}
}

// FuzzScan holds Scan against the library: where that finds a header, Scan finds its
// end, and nothing before it is wrong; where Scan finds one, nothing that follows
// changes it.
func FuzzScan(f *testing.F) {
	for _, s := range []string{v1, v2, "PROXY UNKNOWN x\r\n", sigV2 + "\x20\x00\x00\x03abc", sigV2 + "\x21\x31\x00\xd8" + strings.Repeat("x", 216), "GET / HTTP/1.1\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n"} {
		f.Add([]byte(s+"rest"), uint16(5))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		size, err := Scan(b)
		if size < 0 || size > len(b) || err != nil && size != 0 {
			t.Fatalf("%q: %d, %v", b, size, err)
		}
		part := b[:min(int(cut), len(b))]
		partSize, partErr := Scan(part)
		switch {
		case partErr != nil && err == nil:
			t.Fatalf("%q: %v, but of %q it is %d", part, partErr, b, size)
		case partSize > 0 && partSize != size:
			t.Fatalf("%q: %d, but of %q it is %d, %v", part, partSize, b, size, err)
		case len(part) < size && partSize != 0:
			t.Fatalf("%q: %d, and the header has %d", part, partSize, size)
		}
		r := bufio.NewReaderSize(bytes.NewReader(b), 8192)
		h, theirs := proxyproto.Read(r)
		rest, _ := io.ReadAll(r)
		if theirs == nil && (size != len(b)-len(rest) || err != nil) {
			t.Fatalf("%q: %d, %v; the library reads %d", b, size, err, len(b)-len(rest))
		}
		if size == 0 {
			return
		}
		source, err := Source(bytes.Clone(b[:size]))
		if theirs == nil && err != nil || theirs == nil && source.IsValid() && h.Command.IsLocal() {
			t.Fatalf("%q: %v, %v; the library says %+v", b, source, err, h)
		}
		if theirs != nil && source.IsValid() {
			t.Fatalf("%q: %v; the library says %v", b, source, theirs)
		}
	})
}
