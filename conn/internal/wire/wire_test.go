package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// raw is the header of a frame as a careless or hostile client might make it.
func raw(first byte, masked bool, length ...byte) []byte {
	b := append([]byte{first}, length...)
	if masked {
		b[1] |= 0x80
		b = append(b, 1, 2, 3, 4)
	}
	return b
}

func in16(n uint16) []byte { return binary.BigEndian.AppendUint16([]byte{126}, n) }

func in64(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{127}, n) }

func parse(t *testing.T, b []byte) Header {
	t.Helper()
	h, ok := ParseHeader(b)
	if !ok || h.Size != len(b) {
		t.Fatalf("% x: size %d, %v; want the whole", b, h.Size, ok)
	}
	return h
}

func TestHeadersAreTheShortestThatHoldTheLength(t *testing.T) {
	for n, size := range map[int]int{0: 2, 125: 2, 126: 4, 65535: 4, 65536: 10, math.MaxInt: 10} {
		b := AppendHeader([]byte("x"), OpText, n)[1:]
		if len(b) != size || HeaderSize(n) != size {
			t.Errorf("%d bytes: a header of %d, HeaderSize %d, want %d", n, len(b), HeaderSize(n), size)
		}
		want := ws.Header{Fin: true, OpCode: ws.OpText, Length: int64(n)}
		if h, err := ws.ReadHeader(bytes.NewReader(b)); err != nil || h != want {
			t.Errorf("%d bytes: read as %+v %v, want %+v", n, h, err, want)
		}
	}
}

// read reads one final, unmasked frame as another implementation does.
func read(t *testing.T, frame []byte) (Op, string) {
	t.Helper()
	r := bytes.NewReader(frame)
	h, err := ws.ReadHeader(r)
	if err != nil || !h.Fin || h.Masked || h.Length != int64(r.Len()) {
		t.Fatalf("%+v %v, with %d bytes behind it", h, err, r.Len())
	}
	return h.OpCode, string(frame[len(frame)-r.Len():])
}

func TestFramesAreReadByAnother(t *testing.T) {
	payload := strings.Repeat("x", 300)
	if op, got := read(t, AppendFrame(nil, OpPong, []byte(payload))); op != OpPong || got != payload {
		t.Errorf("read as %v %q", op, got)
	}
}

func TestCloseFramesHoldWhatMayStandInThem(t *testing.T) {
	long := strings.Repeat("x", 122)
	for _, test := range []struct {
		code         Code
		reason, want string // want: the payload
	}{
		{CodeNormal, "", "\x03\xe8"},
		{CodeReplaced, "bye é", "\x11\x95bye é"},
		{CodeNormal, long + "yz", "\x03\xe8" + long + "y"},
		{CodeNormal, long + "é", "\x03\xe8" + long},
		{CodeNormal, "a\xffb", "\x03\xe8a"},
		{CodeNone, "not said", ""},
	} {
		if op, got := read(t, AppendClose(nil, test.code, test.reason)); op != OpClose || got != test.want {
			t.Errorf("%d %q: %v %q, want %q", test.code, test.reason, op, got, test.want)
		}
	}
}

func TestHeadersAreParsedAsTheyAre(t *testing.T) {
	for _, masked := range []bool{true, false} {
		for _, length := range []int64{0, 125, 126, 65535, 65536, math.MaxInt64} {
			want := ws.Header{Rsv: 5, OpCode: ws.OpBinary, Masked: masked, Length: length}
			if masked {
				want.Mask = [4]byte{1, 2, 3, 4}
			}
			var b bytes.Buffer
			if err := ws.WriteHeader(&b, want); err != nil {
				t.Fatal(err)
			}
			h := parse(t, b.Bytes())
			if h.Header != want {
				t.Errorf("parsed as %+v, want %+v", h.Header, want)
			}
			if total := uint64(b.Len()) + uint64(length); h.Total() != total {
				t.Errorf("%+v: total %d, want %d", want, h.Total(), total)
			}
			for i := range b.Len() {
				if _, ok := ParseHeader(b.Bytes()[:i]); ok {
					t.Errorf("%d of %d bytes are taken for a whole header", i, b.Len())
				}
			}
		}
	}
}

func TestGoodHeadersAreTaken(t *testing.T) {
	const room = 100_000
	for name, test := range map[string]struct {
		head       []byte
		fragmented bool
	}{
		"text":                    {raw(0x81, true, 1), false},
		"empty text":              {raw(0x81, true, 0), false},
		"fragment":                {raw(0x01, true, 1), false},
		"continuation":            {raw(0x00, true, 1), true},
		"last continuation":       {raw(0x80, true, 1), true},
		"ping of 125 bytes":       {raw(0x89, true, 125), false},
		"pong between fragments":  {raw(0x8a, true, 0), true},
		"close between fragments": {raw(0x88, true, 2), true},
		"126 bytes":               {raw(0x81, true, in16(126)...), false},
		"65535 bytes":             {raw(0x81, true, in16(65535)...), false},
		"65536 bytes":             {raw(0x81, true, in64(65536)...), false},
		"all the room":            {raw(0x81, true, in64(room)...), false},
	} {
		h := parse(t, test.head)
		if v := h.Check(test.fragmented, room); v.Found() {
			t.Errorf("%s: %+v, want none", name, v)
		}
	}
	ping := parse(t, raw(0x89, true, 125))
	if v := ping.Check(true, 0); v.Found() {
		t.Errorf("a ping needs no room of the message: %+v", v)
	}
}

func TestWrongHeadersHaveTheRightCode(t *testing.T) {
	type wrong struct {
		head       []byte
		fragmented bool
		code       Code
	}
	cases := map[string]wrong{
		"not masked":                  {raw(0x81, false, 1), false, CodeProtocol},
		"empty and not masked":        {raw(0x81, false, 0), false, CodeProtocol},
		"ping that is not masked":     {raw(0x89, false, 0), false, CodeProtocol},
		"fragmented ping":             {raw(0x09, true, 0), false, CodeProtocol},
		"fragmented pong":             {raw(0x0a, true, 1), false, CodeProtocol},
		"fragmented close":            {raw(0x08, true, 2), false, CodeProtocol},
		"ping of 126 bytes":           {raw(0x89, true, in16(126)...), false, CodeProtocol},
		"pong of 126 bytes":           {raw(0x8a, true, in16(126)...), false, CodeProtocol},
		"close of 126 bytes":          {raw(0x88, true, in16(126)...), false, CodeProtocol},
		"ping of 64 KiB":              {raw(0x89, true, in64(64<<10)...), false, CodeProtocol},
		"ping of 2^63-1 bytes":        {raw(0x89, true, in64(1<<63-1)...), false, CodeProtocol},
		"continuation of nothing":     {raw(0x80, true, 1), false, CodeProtocol},
		"and it is not the last":      {raw(0x00, true, 1), false, CodeProtocol},
		"text within fragments":       {raw(0x81, true, 1), true, CodeProtocol},
		"fragment within fragments":   {raw(0x01, true, 1), true, CodeProtocol},
		"text of 125 bytes in 16 bit": {raw(0x81, true, in16(125)...), false, CodeProtocol},
		"text of 125 bytes in 64 bit": {raw(0x81, true, in64(125)...), false, CodeProtocol},
		"text of 65535 in 64 bit":     {raw(0x81, true, in64(65535)...), false, CodeProtocol},
		"ping of 0 bytes in 16 bit":   {raw(0x89, true, in16(0)...), false, CodeProtocol},
		"close of 2 bytes in 64 bit":  {raw(0x88, true, in64(2)...), false, CodeProtocol},
		"continuation in 16 bit":      {raw(0x80, true, in16(1)...), true, CodeProtocol},
		"length with its top bit":     {raw(0x81, true, in64(1<<63)...), false, CodeProtocol},
		"length -1":                   {raw(0x81, true, in64(1<<64-1)...), false, CodeProtocol},
		"binary":                      {raw(0x82, true, 1), false, CodeUnsupported},
		"empty binary":                {raw(0x82, true, 0), false, CodeUnsupported},
		"binary fragment":             {raw(0x02, true, 1), false, CodeUnsupported},
		"length 2^63-1":               {raw(0x81, true, in64(1<<63-1)...), false, CodeTooLarge},
		"length 2^32":                 {raw(0x81, true, in64(1<<32)...), false, CodeTooLarge},
		"length room+1":               {raw(0x81, true, in16(1001)...), false, CodeTooLarge},
		"fragments beyond the room":   {raw(0x80, true, in16(1001)...), true, CodeTooLarge},
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		cases[fmt.Sprintf("opcode %#x", op)] = wrong{raw(0x80|op, true, 1), false, CodeProtocol}
		cases[fmt.Sprintf("opcode %#x within fragments", op)] = wrong{raw(0x80|op, true, 0), true, CodeProtocol}
	}
	for bits := byte(0x10); bits < 0x80; bits += 0x10 {
		for _, op := range []byte{1, 8, 9} {
			cases[fmt.Sprintf("bits %#x of opcode %d", bits, op)] = wrong{raw(0x80|bits|op, true, 2), false, CodeProtocol}
		}
	}
	for name, test := range cases {
		h := parse(t, test.head)
		if v := h.Check(test.fragmented, 1000); v.Code != test.code || v.Reason == "" || len(v.Reason) > MaxReason {
			t.Errorf("%s: %+v, want %d and a reason", name, v, test.code)
		}
	}
}

func TestUnmaskGivesThePayload(t *testing.T) {
	var b bytes.Buffer
	_ = ws.WriteFrame(&b, ws.MaskFrameInPlaceWith(ws.NewTextFrame([]byte("hello, world")), [4]byte{9, 8, 7, 6}))
	h, _ := ParseHeader(b.Bytes())
	payload := b.Bytes()[h.Size:h.Total()]
	if h.Unmask(payload); string(payload) != "hello, world" {
		t.Errorf("got %q", payload)
	}
}

func TestCloseCodesAreThoseOfTheRFC(t *testing.T) {
	good := func(c Code) bool {
		switch c {
		case 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014:
			return true
		}
		return c >= 3000 && c <= 4999
	}
	for c := range Code(math.MaxUint16) {
		code, v := ParseClose(binary.BigEndian.AppendUint16(nil, uint16(c)))
		if code != c || v.Found() == good(c) || v.Found() && v.Code != CodeProtocol {
			t.Errorf("%d: %d %+v", c, code, v)
		}
	}
}

func TestPayloadsOfClosesAreChecked(t *testing.T) {
	for payload, want := range map[string]struct{ code, violation Code }{
		"":                  {CodeNone, CodeNone},
		"\x03":              {CodeNone, CodeProtocol},
		"\x03\xe8":          {CodeNormal, CodeNone},
		"\x03\xe8bye é":     {CodeNormal, CodeNone},
		"\x03\xe8\xff":      {CodeNormal, CodeBadText},
		"\x03\xe8\xc3":      {CodeNormal, CodeBadText},
		"\x03\xe8\xed\xa0A": {CodeNormal, CodeBadText},
	} {
		if code, v := ParseClose([]byte(payload)); code != want.code || v.Code != want.violation {
			t.Errorf("%q: %d %+v, want %+v", payload, code, v, want)
		}
	}
}

func TestUTF8IsValidWhereverItIsCut(t *testing.T) {
	const whole = "aé€😀z"
	for i := range len(whole) + 1 {
		for j := i; j <= len(whole); j++ {
			checked := 0
			for _, upTo := range []int{i, j} {
				n, ok := ValidPrefix([]byte(whole)[checked:upTo], false)
				if checked += n; !ok || checked > upTo || upTo-checked > 3 {
					t.Fatalf("cut at %d and %d: %d of %d, %v", i, j, checked, upTo, ok)
				}
			}
			if n, ok := ValidPrefix([]byte(whole)[checked:], true); !ok || checked+n != len(whole) {
				t.Fatalf("cut at %d and %d, the end: %d, %v", i, j, checked+n, ok)
			}
		}
	}
}

func TestWhatIsNotUTF8IsFoundAsEarlyAsItCan(t *testing.T) {
	for text, ok := range map[string]struct{ start, whole bool }{
		"a\xe2\x82":         {true, false}, // cut
		"\xf0\x9f\x98":      {true, false},
		"\xff":              {},
		"a\xffa":            {},
		"\xc0\xaf":          {}, // overlong
		"\xe0\x80":          {}, // overlong, as soon as its second byte is there
		"\xed\xa0":          {}, // half a surrogate pair
		"\xf4\x90":          {}, // beyond U+10FFFF
		"\xf5":              {},
		"\x80":              {}, // a continuation of nothing
		"\xe2\x82\xacz\x82": {},
		"\xff\xe2\x82":      {}, // wrong, then cut
	} {
		for whole, want := range map[bool]bool{false: ok.start, true: ok.whole} {
			if n, got := ValidPrefix([]byte(text), whole); got != want || n > len(text) {
				t.Errorf("%q, whole %v: %d, %v, want %v", text, whole, n, got, want)
			}
		}
	}
}

func TestRetryIsDrawnEvenly(t *testing.T) {
	const from, to = 2 * time.Second, 2*time.Second + 4*time.Millisecond
	seen := map[int]bool{}
	for range 1000 {
		n, err := strconv.Atoi(strings.TrimPrefix(Retry(from, to), "retry_ms="))
		if err != nil || n < 2000 || n >= 2004 {
			t.Fatalf("%d %v", n, err)
		}
		seen[n] = true
	}
	if len(seen) != 4 {
		t.Errorf("drawn: %v, want all of them", seen)
	}
	if got := Retry(time.Second, time.Second); got != "retry_ms=1000" {
		t.Errorf("nothing to draw from: %q", got)
	}
}

// Whatever comes, what is found in it is in it, and a header that passes the
// check is one that another implementation reads the same way.
func FuzzHeader(f *testing.F) {
	for _, head := range [][]byte{
		raw(0x81, true, 1), raw(0x81, false, 1), raw(0x01, true, in16(126)...), raw(0x89, true, in16(1)...),
		raw(0x81, true, in64(1<<63-1)...), raw(0x88, true, in64(1<<63)...), raw(0xff, true, in64(70_000)...), {0x81},
	} {
		f.Add(head, true, 1000)
	}
	f.Fuzz(func(t *testing.T, b []byte, fragmented bool, room int) {
		h, ok := ParseHeader(b)
		if !ok {
			if len(b) >= MaxHeader {
				t.Fatalf("% x: no whole header in %d bytes", b, len(b))
			}
			return
		}
		if h.Size < 2 || h.Size > min(MaxHeader, len(b)) {
			t.Fatalf("% x: a header of %d bytes", b, h.Size)
		}
		peer, err := ws.ReadHeader(bytes.NewReader(b))
		if (err == nil) != (h.Length >= 0) || err == nil && peer != h.Header {
			t.Fatalf("% x: %+v, another reads %+v %v", b, h.Header, peer, err)
		}
		if v := h.Check(fragmented, room); v.Found() {
			return
		}
		if most := uint64(MaxHeader + max(MaxControl, room)); h.Total() < uint64(h.Size) || h.Total() > most {
			t.Fatalf("% x: a frame of %d bytes, want %d at most", b, h.Total(), most)
		}
		if h.Size != HeaderSize(int(h.Length))+maskSize {
			t.Fatalf("% x: a header of %d bytes for a length of %d", b, h.Size, h.Length)
		}
	})
}

func FuzzClose(f *testing.F) {
	f.Add([]byte("\x03\xe8bye"))
	f.Add([]byte("\x03"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		code, v := ParseClose(payload)
		if v.Found() || len(payload) > MaxControl {
			return
		}
		var reason string
		if len(payload) > 2 {
			reason = string(payload[2:])
		}
		if got := AppendClose(nil, code, reason)[2:]; string(got) != string(payload) {
			t.Fatalf("%q is made anew as %q", payload, got)
		}
	})
}

func FuzzValidPrefix(f *testing.F) {
	f.Add([]byte("aé€😀z"), 5)
	f.Add([]byte("a\xe2\xff"), 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if cut < 0 || cut > len(b) {
			return
		}
		n, ok := ValidPrefix(b[:cut], false)
		if n < 0 || n > cut {
			t.Fatalf("%q: %d of %d", b, n, cut)
		}
		_, rest := ValidPrefix(b[n:], true)
		if _, whole := ValidPrefix(b, true); whole != (ok && rest) {
			t.Fatalf("%q cut at %d: %v and %v, the whole is %v", b, cut, ok, rest, whole)
		}
	})
}

func TestTheWayOfAFrameAllocatesNothing(t *testing.T) {
	dst, frame := make([]byte, 0, 1000), raw(0x81, true, in16(200)...)
	payload := bytes.Repeat([]byte("x"), 200)
	if n := testing.AllocsPerRun(100, func() {
		dst = AppendFrame(dst[:0], OpText, payload)
		h, _ := ParseHeader(frame)
		h.Unmask(payload)
		if v := h.Check(false, 1000); v.Found() {
			t.Error(v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHeader(b *testing.B) {
	for _, size := range []int{100, 1_000, 100_000} {
		dst := make([]byte, 0, MaxHeader)
		b.Run(fmt.Sprintf("append/%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendHeader(dst[:0], OpText, size)
			}
		})
		var frame bytes.Buffer
		_ = ws.WriteHeader(&frame, ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Length: int64(size)})
		b.Run(fmt.Sprintf("parse and check/%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h, _ := ParseHeader(frame.Bytes())
				if v := h.Check(false, size); v.Found() {
					b.Fatal(v)
				}
			}
		})
	}
}
