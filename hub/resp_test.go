package hub

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func message(channel, payload string) string {
	return fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(channel), channel, len(payload), payload)
}

const subscribed = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"

func TestPublishedMessagesAreReadWhereverTheyAreSplit(t *testing.T) {
	stream := []byte(subscribed + message("a", "one") + "*2\r\n$4\r\npong\r\n$0\r\n\r\n" + message("b", "two\r\n*3") + "+PONG\r\n" + message("c", ""))
	read := func(step int) (got []string) {
		var buf []byte
		for rest := stream; len(rest) > 0; {
			n := min(step, len(rest))
			buf, rest = append(buf, rest[:n]...), rest[n:]
			for {
				p, n, err := parsePublished(buf, 100)
				if err != nil {
					t.Fatalf("step %d: %v at %q", step, err, buf)
				}
				if p.kind == respIncomplete {
					if n <= len(buf) {
						t.Fatalf("step %d: %d bytes are needed, and %q is there", step, n, buf)
					}
					break
				}
				got = append(got, fmt.Sprint(p.kind, string(p.channel), "|", string(p.payload)))
				buf = buf[n:]
			}
		}
		if len(buf) != 0 {
			t.Fatalf("step %d: left %q", step, buf)
		}
		return got
	}
	whole := read(len(stream))
	if len(whole) != 6 {
		t.Fatalf("read %q", whole)
	}
	for step := 1; step < len(stream); step++ {
		if got := read(step); strings.Join(got, ",") != strings.Join(whole, ",") {
			t.Fatalf("step %d: %q, whole: %q", step, got, whole)
		}
	}
}

func TestMalformedRepliesAreErrors(t *testing.T) {
	for _, s := range []string{
		"x", "*\r\n", "*x\r\n", "*-1\r\n", "*0\r\n", "*5\r\n", "*3\n", "*3\rx", "*99999999999999999\r\n",
		"*3\r\n$-2\r\n", "*3\r\n$x\r\n", "*3\r\n$7\r\nmessagexx", "*3\r\n+a\r\n", "*3\r\n$70000\r\n", "-ERR no\r\n", "$1\r\na\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$-1\r\n", "*2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
	} {
		if p, n, err := parsePublished([]byte(s), 100); err == nil {
			t.Errorf("%q was read as %+v, %d", s, p, n)
		}
	}
	if _, _, err := parsePublished([]byte("-NOAUTH Authentication required.\r\n"), 100); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("an error reply is told as %v", err)
	}
}

func TestATooLargeMessageIsToldBeforeItIsThere(t *testing.T) {
	b := []byte(message("c", strings.Repeat("x", 101)))
	head := bytes.Index(b, []byte("xxx"))
	p, n, err := parsePublished(b[:head], 100)
	if err != nil || p.kind != respTooLarge || p.size != 101 || n != head {
		t.Fatalf("%+v %d %v", p, n, err)
	}
}

func FuzzPublished(f *testing.F) {
	f.Add([]byte(subscribed))
	f.Add([]byte(message("channel", `{"all":true,"data":1}`)))
	f.Add([]byte("-ERR\r\n"))
	f.Add([]byte("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$99999\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := parsePublished(b, 1000)
		switch {
		case err != nil:
		case p.kind == respIncomplete:
			if n <= len(b) {
				t.Fatalf("%d bytes are needed, and there are %d", n, len(b))
			}
		case n < 1 || n > len(b):
			t.Fatalf("took %d of %d bytes", n, len(b))
		}
	})
}
