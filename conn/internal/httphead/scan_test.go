package httphead

import (
	"bytes"
	"strings"
	"testing"
)

const limit = 1000

// scanParts feeds Scan with more and more of b, step bytes at a time.
func scanParts(b []byte, step int) (end int, refusal *Response) {
	from := 0
	for upTo := min(step, len(b)); ; upTo = min(upTo+step, len(b)) {
		if end, refusal = Scan(b[:upTo], from, limit); end != 0 || refusal != nil || upTo == len(b) {
			return end, refusal
		}
		from = upTo
	}
}

func TestTheEndOfTheHeadIsFoundHoweverItIsSplit(t *testing.T) {
	head := handshake()
	for _, behind := range []string{"", "\n\r\r\n\r\n", strings.Repeat("frames", limit)} {
		b := []byte(head + behind)
		for step := 1; step <= len(head)+1; step++ {
			if end, refusal := scanParts(b, step); end != len(head) || refusal != nil {
				t.Fatalf("%d bytes at a time: %d %+v, want %d", step, end, refusal, len(head))
			}
		}
	}
}

func TestAHeadThatIsNotCompleteIsWaitedFor(t *testing.T) {
	for _, head := range []string{handshake(), "X / HTTP/1.1\r\n\r\n", strings.Repeat("x", maxMethod) + " / HTTP/1.1\r\n\r\n"} {
		for n := range len(head) {
			if end, refusal := Scan([]byte(head[:n]), 0, limit); end != 0 || refusal != nil {
				t.Fatalf("%q: %d %+v", head[:n], end, refusal)
			}
		}
	}
}

func TestWhatCannotBecomeAHeadIsRefusedAtOnce(t *testing.T) {
	line := "GET /ws HTTP/1.1\r\n"
	for name, test := range map[string]struct {
		sent   string
		status int
	}{
		"TLS":                              {"\x16", 400},
		"an empty line":                    {"\r", 400},
		"a space":                          {" ", 400},
		"a colon":                          {"GET:", 400},
		"a line without a space":           {"nonsense\r", 400},
		"a letter that is not ASCII":       {"G\xc3", 400},
		"no method is so long":             {strings.Repeat("x", maxMethod+1), 400},
		"a bare LF behind the first line":  {"GET /ws HTTP/1.1\n", 400},
		"a bare LF behind a field":         {line + "Host: x\n", 400},
		"a bare LF in a field":             {line + "X: a\n", 400},
		"a bare LF for the empty line":     {line + "\n", 400},
		"CR CR LF":                         {line + "Host: x\r\r", 400},
		"CR CR LF behind the first line":   {"GET /ws HTTP/1.1\r\r", 400},
		"a bare CR in a field":             {line + "X: a\rb", 400},
		"a bare CR in the first line":      {"GET /w\rs", 400},
		"a bare CR before the empty line":  {line + "\r\r", 400},
		"too long":                         {line + strings.Repeat("x", limit-len(line)), 431},
		"too long by the last byte":        {line + strings.Repeat("x", limit-3-len(line)) + "\r\n\r\n", 431},
		"too long, then a bare LF":         {line + strings.Repeat("x", limit-len(line)) + "\n", 431},
		"too long between CR and LF":       {line + strings.Repeat("x", limit-1-len(line)) + "\r", 431},
		"a bare LF, and then it gets long": {line + "\n" + strings.Repeat("x", limit), 400},
	} {
		for _, step := range []int{1, 2, 3, 7, len(test.sent)} {
			end, refusal := scanParts([]byte(test.sent), step)
			if end != 0 || refusal == nil || refusal.Status != test.status || refusal.Reason == "" {
				t.Errorf("%s, %d bytes at a time: %d %+v, want %d", name, step, end, refusal, test.status)
			}
		}
		if _, refusal := Scan([]byte(test.sent[:len(test.sent)-1]), 0, limit); refusal != nil && len(test.sent) <= limit {
			t.Errorf("%s: refused before the byte that is wrong", name)
		}
	}
}

func TestAHeadOfExactlyTheLimitIsTaken(t *testing.T) {
	line := "GET /ws HTTP/1.1\r\nX: "
	head := line + strings.Repeat("x", limit-4-len(line)) + "\r\n\r\n"
	for _, step := range []int{1, len(head)} {
		if end, refusal := scanParts([]byte(head), step); end != limit || refusal != nil {
			t.Errorf("%d %+v, want %d", end, refusal, limit)
		}
	}
}

// However what is sent is split, Scan comes to the same, and what it lets through
// has no CR or LF but in pairs.
func FuzzScan(f *testing.F) {
	f.Add([]byte(handshake()), 7)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n\x81\x80"), 1)
	f.Add([]byte("GET / HTTP/1.1\r\r\n"), 3)
	f.Add([]byte("\x16\x03\x01"), 1)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		end, refusal := Scan(b, 0, limit)
		end2, refusal2 := scanParts(b, max(1, step%100))
		if end != end2 || (refusal == nil) != (refusal2 == nil) || refusal != nil && *refusal != *refusal2 {
			t.Fatalf("%q: %d %+v, in parts %d %+v", b, end, refusal, end2, refusal2)
		}
		if end == 0 {
			return
		}
		head := b[:end]
		pairs := bytes.Count(head, []byte("\r\n"))
		if end > limit || !bytes.HasSuffix(head, []byte("\r\n\r\n")) || bytes.Count(head, []byte("\r\n\r\n")) != 1 ||
			bytes.Count(head, []byte("\r")) != pairs || bytes.Count(head, []byte("\n")) != pairs {
			t.Fatalf("%q is taken for a head", head)
		}
	})
}
