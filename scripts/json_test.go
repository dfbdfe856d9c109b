package scripts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
)

// The ideas of Nicolas Seriot's JSONTestSuite.
var (
	goodJSON = []string{
		"0", "-0", "1", "-1", "10", "1.0", "0.0", "-0.0", "1e1", "1E1", "1e+1", "1e-1", "0e0", "0E+0", "1.5e9", "-1.5E-9",
		"0.1e01", "1e00", "123456789012345678901234567890", "1e999", "-1e-999", "0.00000000000000000000000000000000001",
		"true", "false", "null", `""`, `"a"`, `" "`, "[]", "{}", "[ ]", "{ }", "[[]]", "[{}]", `{"a":[]}`,
		"[1,2]", "[1 , 2]", `{"a":1,"b":2}`, `{"a":1,"a":2}`, `{"":0}`, `{"a":{"b":{"c":[{}]}}}`, `["a",true,null,1]`,
		" 1", "1 ", "\t\n\r 1 \r\n\t", "[\n1\n]", "{\r\n\"a\"\t:\t1 }",
		`"\""`, `"\\"`, `"\/"`, `"\b\f\n\r\t"`, `"\u0000"`, `"\u00e9"`, `"\uD834\uDD1E"`, `"\uabCD"`, `"\\u0041"`, `"\\\""`,
		`"\uD800"`, `"\uDC00"`, `"\uDC00\uD800"`, `"\uD800\n"`, `"\uFFFF"`, `"\\\\"`, `["\\"]`,
		"\"\x7f\"", "\"\u0080\"", "\"é\"", "\"\u07ff\"", "\"\u0800\"", "\"\ud7ff\"", "\"\ue000\"", "\"\ufeff\"", "\"\uffff\"",
		"\"\U00010000\"", "\"\U0001F600\"", "\"\U0010FFFF\"", "\"\u2028\u2029\"", "{\"\U0001F600\":\"ü\"}",
		`"a//b"`, `"/*x*/"`, `"[{:,}]"`, `[0,0.0,0e0]`, `[-0]`, `[1e1]`, `{"a":-0}`, `[1.5]`, `{"n":1e5}`,
	}
	badJSON = []string{
		"", " ", "\n", "\x00", "nan", "NaN", "-nan", "inf", "Infinity", "-Infinity", "-inf", "undefined", "None", "TRUE", "True",
		"01", "-01", "00", "-00", "1.", "-1.", ".5", "-.5", "+1", "+0", "++1", "--1", "-", "+", "1-", "1+1", "0x1F", "0X1", "0b1", "0o7",
		"1e", "1E", "1e+", "1e-", "1.e1", "1e1.5", "1e1e1", "1.5.5", "1_000", "1,000", "0.1.2", "0e", "0.e1", "1ea", "1e+-1", "- 1",
		"1 2", "1 000", "1x", "0 0", "1\x00", "\x001", "[1\x002]", "1f", "1L", "1n", "٣", "１", "½",
		"t", "tru", "truee", "true1", "truefalse", "true false", "t rue", "nul", "nulll", "fals", "falsee", "[tru]", "[nul,1]",
		`"`, `"a`, `a"`, `"\"`, `"\`, `"\x"`, `"\'"`, `"\a"`, `"\0"`, `"\U0041"`, `"\ "`, "\"\\\n\"", "\"\\\x00\"", "\"\\\u00e9\"",
		`"\u"`, `"\u0"`, `"\u00"`, `"\u000"`, `"\u000g"`, `"\u000G"`, `"\uG000"`, `"\u 000"`, `"\u-001"`, `"\u00\"`, `"\u"0000`, `"\uD834\u"`, `"\u00é"`,
		`'a'`, "`a`", "a", `"a"b`, `"a""b"`, `"a" "b"`, "\"a\x00b\"", "\"\x01\"", "\"\x1f\"", "\"\t\"", "\"\n\"", "\"\r\"", "\"a\nb\"",
		"{\"a\tb\":1}", "\x01", "\x1f1", "\v1", "\f1", "\u00a01", "\u20281", "[\u00a01]", "\x7f", "[1\x7f]", "\x0b", "[\f]",
		"[", "]", "{", "}", "[[", "[}", "{]", "[1", "1]", "[1}", "{\"a\":1]", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1;2]", "[1:2]",
		"[\"a\":1]", "[]]", "{}}", "[][]", "{}{}", "[],", ",", ":", ",1", "1,", "1,2", `"a":1`, "[[]", "[[1,[2]]", "[(1)]", "<x>",
		"{1:1}", "{a:1}", "{'a':1}", `{"a"}`, `{"a":}`, `{:1}`, `{"a",1}`, `{"a"::1}`, `{"a":1,}`, `{,"a":1}`, `{,}`, `{"a":1,,"b":2}`,
		`{"a":1 "b":2}`, `{"a" 1}`, `{"a":1:2}`, `{"a":1,"b"}`, `{"a":1,2}`, `{null:1}`, `{[]:1}`, `{"a":1,]`, `{"a":[}`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`,
		"//x\n1", "/**/1", "1//", "1#", "#1", "[1]#", "// ", "*", "{/**/}", "_", "$", "(1)", "\\", "\\u0031", "[\\n]",
		"\ufeff1", "\xef\xbb1", "\xef\xbb\xbf", "\xfe\xff\x001", "\xff\xfe1\x00",
		"\"\x80\"", "\"\xbf\"", "\"\xc0\x80\"", "\"\xc0\xaf\"", "\"\xc1\xbf\"", "\"\xc2\"", "\"\xc2a\"", "\"\xc2\xc2\"", "\"\xc2", "\"\xdf\xc0\"",
		"\"\xe0\x80\x80\"", "\"\xe0\x9f\xbf\"", "\"\xe0\xa0\"", "\"\xe1\x80\"", "\"\xe1\x80a\"", "\"\xe1", "\"\xef\xbf\"", "\"\xef\xbf\xc0\"",
		"\"\xed\xa0\x80\"", "\"\xed\xaf\xbf\"", "\"\xed\xb0\x80\"", "\"\xed\xbf\xbf\"", "\"\xed\xa0\x80\xed\xb0\x80\"",
		"\"\xf0\x80\x80\x80\"", "\"\xf0\x8f\xbf\xbf\"", "\"\xf0\x90\x80\"", "\"\xf0\x9f\x98\"", "\"\xf0\x9f", "\"\xf1\x80\x80\x80\x80\"",
		"\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xf8\x88\x80\x80\x80\"", "\"\xfc\x84\x80\x80\x80\x80\"", "\"\xfe\"", "\"\xff\"",
		"é", "\xe9", "[\xe9]", "\"\xe9\"", "{\"\xff\":1}", "[\"a\",\"\xff\"]", "\U0001F600",
		"nan ", "[nan]", "{\"a\":nan}", "[01]", "[1.]", "[.1]", "{\"a\":0x1F}", "[-Infinity]", "[1,02]", "[-]", "[+1]", "[1e]", "[--0]",
	}
)

// validJSON is the oracle: RFC 8259 in valid UTF-8, within the bounds of
// push.lua.
func validJSON(data string) bool {
	return json.Valid([]byte(data)) && utf8.ValidString(data) && depthOf(data) <= 1000 && len(data) <= 65536
}

// depthOf returns the nesting of data that is JSON.
func depthOf(data string) int {
	depth, deepest := 0, 0
	decoder := json.NewDecoder(strings.NewReader(data))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
}

// wantSame pushes each text to a user who listens, and fails where JSON is refused or
// changed. What is no JSON may be refused; else the envelope must be none either, so that
// each pod drops it.
func wantSame(t *testing.T, s server, texts []string) {
	t.Helper()
	uuid := s.connect(t, "alice", "push:pod:a", 1)[0]
	l := s.listen(t, "push:pod:a")
	script := redis.NewScript(Push())
	for _, data := range texts {
		n, err := script.Run(t.Context(), s.client, []string{key("alice")}, data).Int64()
		switch {
		case err != nil:
			if validJSON(data) && !halfSurrogate.MatchString(data) && !strings.Contains(err.Error(), "cannot unmarshal number") { // miniredis: none beyond a float64
				t.Errorf("%.200q is JSON: %v", data, err)
			}
			if !strings.HasPrefix(err.Error(), "ERR pushpod: the data ") || len(err.Error()) > 250 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%.200q: error %q", data, err)
			}
			l.wantNothing(data, "push:pod:a")
		case n != 1:
			t.Errorf("%.200q: pushed to %d", data, n)
		default:
			text := l.next()
			want := fmt.Sprintf(`push:pod:a {"to":"%s","of":"alice","at":AT,"data":%s}`, uuid, data)
			if got := timeless(t, text); got != want {
				t.Errorf("envelope %.300q, want %.300q", got, want)
			}
			_, envelope, _ := strings.Cut(text, " ")
			if valid := json.Valid([]byte(envelope)) && utf8.ValidString(envelope) && depthOf(envelope) <= 1001; valid != validJSON(data) {
				t.Errorf("%.200q made an envelope that a pod takes: %.300q", data, envelope)
			}
		}
	}
}

// halfSurrogate is an escape that Redis's decoder takes only as one of a pair, though
// JSON knows no such rule.
var halfSurrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// Texts that end the envelope early, or begin another member, are refused by the decoder.
func TestPushRefusesDataThatLeavesItsPlace(t *testing.T) {
	for _, s := range servers(t) {
		s.connect(t, "alice", "push:pod:a", 1)
		l := s.listen(t, "push:pod:a")
		script := redis.NewScript(Push())
		for _, data := range []string{`1,"all":true`, `1}`, `1}{`, `1} `, `"a","all":true,"x":"b"`, `[],"all":true`, `{},"close":{"code":4100}`, `1 "all"`, ``, ` `, `hi`, `[1,]`, `{"a"}`} {
			if n, err := script.Run(t.Context(), s.client, []string{key("alice")}, data).Int64(); err == nil || !strings.HasPrefix(err.Error(), "ERR pushpod: the data is not JSON: ") {
				t.Errorf("%s: %q was pushed to %d: %v", s.name, data, n, err)
			}
			l.wantNothing(data, "push:pod:a")
		}
	}
}

func TestPushTakesJSONAndNoPodTakesAnythingElse(t *testing.T) {
	var texts []string
	for _, data := range goodJSON {
		if !validJSON(data) {
			t.Fatalf("the table is wrong: %q is not JSON", data)
		}
		texts = append(texts, data, "["+data+"]", `{"a":`+data+`,"b":`+data+`}`)
	}
	for _, data := range badJSON {
		if validJSON(data) {
			t.Fatalf("the table is wrong: %q is JSON", data)
		}
		texts = append(texts, data, "[1,"+data, `{"a":`+data+`}`, data+" ")
	}
	for _, s := range servers(t) {
		t.Run(s.name, func(t *testing.T) { wantSame(t, s, texts) })
	}
}

func TestPushTakesAThousandLevels(t *testing.T) {
	nest := func(open, middle, end string, n int) string {
		return strings.Repeat(open, n) + middle + strings.Repeat(end, n)
	}
	var texts []string
	for _, n := range []int{999, 1000, 1001, 2000} {
		texts = append(texts, nest("[", "", "]", n), nest("[", "1", "]", n), nest(`{"a":`, "1", "}", n),
			nest(`[{"a":`, "[]", "}]", n/2), nest("[", "", "]", n-1)+"]", "["+nest("[", "", "]", n-1)+","+nest("[", "", "]", n-1)+"]")
	}
	// Deep, and neither closed nor JSON at all: refused, not overflowed.
	texts = append(texts, strings.Repeat("[", 65536), strings.Repeat(`{"a":`, 13000), strings.Repeat("]", 65536))
	for _, s := range servers(t) {
		t.Run(s.name, func(t *testing.T) { wantSame(t, s, texts) })
	}
}

func TestPushTakesUpTo64KiB(t *testing.T) {
	fill := func(head, body, tail string, size int) string {
		n := (size - len(head) - len(tail)) / len(body)
		text := head + strings.Repeat(body, n) + tail
		return text + strings.Repeat(" ", size-len(text))
	}
	var texts []string
	for _, size := range []int{65535, 65536, 65537} {
		texts = append(texts, fill(`"`, "x", `"`, size), fill("[", "{},", "{}]", size), fill("[", "1,", "1]", size),
			fill(`"`, `\n`, `"`, size), fill(`"`, "é", `"`, size), fill("[", `"",`, "0]", size), fill("", "1", "", size), fill("", " ", "1", size))
	}
	for _, s := range servers(t) {
		t.Run(s.name, func(t *testing.T) { wantSame(t, s, texts) })
	}
}

func TestPushOfRandomTextsIsJSONOrNoPodTakesIt(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i, s := range servers(t) {
		t.Run(s.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			texts := make([]string, 4000/(1+3*i)) // miniredis takes longer
			valid := 0
			for j := range texts {
				texts[j] = randomText(random)
				if validJSON(texts[j]) {
					valid++
				}
			}
			if valid < len(texts)/10 || valid > len(texts)*9/10 {
				t.Errorf("%d of %d are JSON: that tests little", valid, len(texts))
			}
			wantSame(t, s, texts)
		})
	}
}

// randomText returns JSON, JSON with a few bytes changed, or a row of tokens.
func randomText(r *rand.Rand) string {
	var b bytes.Buffer
	if r.IntN(4) == 0 {
		tokens := []string{"[", "]", "{", "}", ",", ":", `"a"`, "1", "0", "-", ".", "e", "E", "+", "true", "null", " ", "\n", `\`, `"`, "\x00", "é", "\xff"}
		for range 1 + r.IntN(6) {
			b.WriteString(tokens[r.IntN(len(tokens))])
		}
		return b.String()
	}
	writeValue(&b, r, 0)
	text := b.Bytes()
	if r.IntN(3) == 0 {
		return string(text)
	}
	bytesOften := []byte("[]{},:\"\\0123456789.eE+-truefalsnu \t\n\r\x00\x1f\x7f\x80\xbf\xc2\xe0\xed\xf0\xf4\xff'/")
	for range 1 + r.IntN(2) {
		at := r.IntN(len(text) + 1)
		c := bytesOften[r.IntN(len(bytesOften))]
		switch {
		case at == len(text) || r.IntN(3) == 0:
			text = append(text[:at], append([]byte{c}, text[at:]...)...)
		case r.IntN(2) == 0:
			text[at] = c
		default:
			text = append(text[:at], text[at+1:]...)
		}
	}
	return string(text)
}

// writeValue writes a random JSON value with random white space around it.
func writeValue(b *bytes.Buffer, r *rand.Rand, depth int) {
	white := func() { b.WriteString([]string{"", "", "", " ", "\n", "\t\r"}[r.IntN(6)]) }
	white()
	defer white()
	kind := r.IntN(8)
	if depth > 5 {
		kind = r.IntN(5)
	}
	switch kind {
	case 0:
		b.WriteString([]string{"true", "false", "null"}[r.IntN(3)])
	case 1, 2:
		b.WriteString(randomNumber(r))
	case 3, 4:
		b.WriteString(randomString(r))
	case 5, 6:
		b.WriteByte('[')
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteByte(',')
			}
			writeValue(b, r, depth+1)
		}
		b.WriteByte(']')
	default:
		b.WriteByte('{')
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteByte(',')
			}
			white()
			b.WriteString(randomString(r))
			white()
			b.WriteByte(':')
			writeValue(b, r, depth+1)
		}
		b.WriteByte('}')
	}
}

func randomNumber(r *rand.Rand) string {
	text := strconv.Itoa(r.IntN(2000) - 1000)
	if r.IntN(3) == 0 {
		text = "-0"
	}
	if r.IntN(2) == 0 {
		text += "." + strconv.Itoa(r.IntN(100))
	}
	if r.IntN(3) == 0 {
		text += []string{"e", "E", "e+", "E-"}[r.IntN(4)] + strconv.Itoa(r.IntN(30))
	}
	return text
}

func randomString(r *rand.Rand) string {
	var b strings.Builder
	b.WriteByte('"')
	for range r.IntN(6) {
		switch r.IntN(4) {
		case 0:
			b.WriteString([]string{`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`}[r.IntN(8)])
		case 1:
			fmt.Fprintf(&b, `\u%04x`, r.IntN(0x10000))
		case 2:
			// WriteRune writes U+FFFD for a surrogate, and so stays valid.
			b.WriteRune([]rune{0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff}[r.IntN(9)])
		default:
			b.WriteString([]string{"a", "é", "[", "}", ":", ",", " ", "1"}[r.IntN(8)])
		}
	}
	b.WriteByte('"')
	return b.String()
}

// sameJSON returns an error where the text is not JSON of this value.
func sameJSON(text string, want any) error {
	var got any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		return fmt.Errorf("%w in %s", err, text)
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s is not %v", text, want)
	}
	return nil
}
