package resp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// reader has bounds that the tests reach.
func reader() *Reader { return &Reader{MaxString: 100, MaxFields: 4} }

// fields are those found, with null spelt out.
func fields(r *Reader) (list []string) {
	for _, f := range r.Fields {
		if f == nil {
			list = append(list, "null")
		} else {
			list = append(list, string(f))
		}
	}
	return list
}

func TestRepliesAreReadWhereverTheyAreCut(t *testing.T) {
	for text, want := range map[string][]string{
		"+PONG\r\n":                             {"PONG"},
		"-ERR no\r\n":                           {"ERR no"},
		":42\r\n":                               nil,
		"$3\r\na\r\n\r\n":                       {"a\r\n"},
		"$-1\r\n":                               {"null"},
		"$0\r\n\r\n":                            {""},
		"*0\r\n":                                nil,
		"*-1\r\n":                               nil,
		"*4\r\n$1\r\na\r\n:-7\r\n$-1\r\n+x\r\n": {"a", "-7", "null", "x"},
		"*2\r\n$2\r\nu1\r\n$5\r\npod:1\r\n":     {"u1", "pod:1"},
		"*3\r\n$7\r\nmessage\r\n$0\r\n\r\n+x\r\n": {"message", "", "x"},
	} {
		r := reader()
		for cut := range text {
			if n, err := r.Parse([]byte(text[:cut])); n != 0 || err != nil || r.Need <= cut || r.Need > len(text) {
				t.Errorf("%q cut at %d: took %d, needs %d, %v", text, cut, n, r.Need, err)
			}
		}
		n, err := r.Parse([]byte(text + "+NEXT\r\n"))
		if got := fields(r); n != len(text) || err != nil || r.Kind != text[0] || r.Skip != 0 || !slices.Equal(got, want) {
			t.Errorf("%q: took %d, fields %q, %v; want %d, %q", text, n, got, err, len(text), want)
		}
	}
}

func TestNumbersAreRead(t *testing.T) {
	for text, want := range map[string]int64{":0\r\n": 0, ":1234567890\r\n": 1234567890, ":-3\r\n": -3, ":999999999999999\r\n": 999999999999999} {
		r := reader()
		if n, err := r.Parse([]byte(text)); n != len(text) || err != nil || r.Int != want {
			t.Errorf("%q: %d, took %d, %v", text, r.Int, n, err)
		}
	}
}

func TestMalformedRepliesAreErrors(t *testing.T) {
	long := strings.Repeat("x", maxLine+1)
	for _, text := range []string{
		"x", "HTTP/1.1 400\r\n", ">3\r\n", "\r\n", "\n", "+\n", "+a\n", ":\r\n", ":x\r\n", ":-\r\n", ":1\n", ":1\rx", ":1000000000000000\r\n",
		"$x\r\n", "$-2\r\n", "$1\r\nab\r\n", "$1\r\na\rx", "*\r\n", "*x\r\n", "*-2\r\n", "*5\r\n", "*3\n", "*99999999999999999\r\n",
		"*1\r\n*1\r\n", "*1\r\n$x\r\n", "*3\r\n$7\r\nmessagexx", "+" + long, "+" + long + "\r\n", fmt.Sprint("*2\r\n$", maxLine+1, "\r\n"),
	} {
		if n, err := reader().Parse([]byte(text)); !errors.Is(err, ErrMalformed) || n != 0 {
			t.Errorf("%.20q: took %d, %v", text, n, err)
		}
	}
}

func TestAnErrorReplyIsAnError(t *testing.T) {
	r := reader()
	if _, err := r.Parse([]byte("-NOAUTH Authentication required.\r\n")); err != nil || r.Err() == nil || !strings.Contains(r.Err().Error(), "NOAUTH") {
		t.Error(err, r.Err())
	}
	if _, err := r.Parse([]byte("+OK\r\n")); err != nil || r.Err() != nil {
		t.Error(err, r.Err())
	}
}

func TestAStringThatIsTooLongIsToldBeforeItIsThere(t *testing.T) {
	head := "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$101\r\n"
	r := reader()
	if n, err := r.Parse([]byte(head)); n != len(head) || err != nil || r.Skip != 103 || !slices.Equal(fields(r), []string{"message", "c"}) {
		t.Errorf("took %d, skip %d, fields %q, %v", n, r.Skip, fields(r), err)
	}
	if n, err := r.Parse([]byte("+OK\r\n")); n != 5 || err != nil || r.Skip != 0 {
		t.Errorf("the next reply: took %d, skip %d, %v", n, r.Skip, err)
	}
}

func TestBoundsAreReachedAndNotPassed(t *testing.T) {
	for _, text := range []string{
		"$100\r\n" + strings.Repeat("x", 100) + "\r\n",
		"+" + strings.Repeat("x", maxLine-2) + "\r\n",
		fmt.Sprint("*2\r\n$", maxLine, "\r\n", strings.Repeat("x", maxLine), "\r\n:1\r\n"),
	} {
		r := reader()
		if n, err := r.Parse([]byte(text)); n != len(text) || err != nil || r.Skip != 0 {
			t.Errorf("%.20q: took %d of %d, skip %d, %v", text, n, len(text), r.Skip, err)
		}
		if n, err := r.Parse([]byte(text[:len(text)-2])); n != 0 || err != nil {
			t.Errorf("%.20q, cut: took %d, %v", text, n, err)
		}
	}
	r := reader()
	if _, err := r.Parse([]byte("+" + strings.Repeat("x", maxLine-1))); err != nil {
		t.Errorf("a line that may still end in time: %v", err)
	}
	if _, err := r.Parse([]byte("$50\r\nabc")); err != nil || r.Need != 57 {
		t.Errorf("needs %d bytes for one of 57, %v", r.Need, err)
	}
}

func TestCommandsAreReadAsTheyWereWritten(t *testing.T) {
	args := []string{"SET", "a\r\nb", ""}
	b := AppendCommand([]byte("before"), args...)[len("before"):]
	r := reader()
	if n, err := r.Parse(b); n != len(b) || err != nil || r.Kind != '*' || !slices.Equal(fields(r), args) {
		t.Errorf("%q: took %d, %q, %v", b, n, fields(r), err)
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	r, b := reader(), AppendCommand(nil, "message", "channel", "data")
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Parse(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(AppendCommand(nil, "message", "channel", `{"all":true,"data":1}`))
	f.Add([]byte("-ERR\r\n"))
	f.Add([]byte("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$99999\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader()
		n, err := r.Parse(b)
		switch {
		case n < 0 || n > len(b) || err != nil && n != 0:
			t.Fatalf("took %d of %d bytes, %v", n, len(b), err)
		case n == 0 && err == nil && r.Need <= len(b):
			t.Fatalf("%d bytes are needed, and there are %d", r.Need, len(b))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{200, 1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			text := AppendCommand(nil, "message", "push:pod:10.0.0.1:8080", strings.Repeat("x", size))
			r := Reader{MaxString: 1 << 20, MaxFields: 4}
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if n, err := r.Parse(text); n != len(text) || err != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}
