package json

import (
	"bytes"
	stdjson "encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// isJSON is what the walking functions make of a whole text.
func isJSON(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	i := skipValue(b, skipSpace(b, 0))
	return i >= 0 && skipSpace(b, i) == len(b)
}

// depth is how deep a valid JSON text is nested.
func depth(b []byte) (most int) {
	level, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			most = max(most, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return most
}

// checkAgainstStandard compares with encoding/json.
func checkAgainstStandard(t *testing.T, b []byte) {
	t.Helper()
	got, want := isJSON(b), stdjson.Valid(b) && utf8.Valid(b)
	if got != want && (got || depth(b) <= MaxLevels) {
		t.Fatalf("%.300q: JSON is %v, encoding/json says %v", b, got, want)
	}
}

// jsonTexts are, in the manner of JSONTestSuite, the corners of RFC 8259.
func jsonTexts() []string {
	return []string{
		// Good ones.
		`{}`, `[]`, `""`, `0`, `-0`, `-0.0`, `0e0`, `0E+1`, `1e-2`, `123.456e+789`, `-1`, `true`, `false`, `null`,
		" \t\r\n[ \t\r\n] \t\r\n", `{"":0}`, `{"a":{"b":[]}}`, `[[],{},"",0,true,false,null]`, `{"a":1,"a":2}`,
		`"\"\\\/\b\f\n\r\t"`, `"\u0000"`, `"\uD834\uDd1e"`, `"\ud800"`, `"\udc00\ud800"`, `"\uFFFF"`, "\"\x7f\"",
		"\"\u2028\u2029\"", "\"\U0010FFFF\"", "\"€𝄞\"", `"a/*b*/c"`, `[1,2,3]`, "[1\n,2]", `{"a":[{"b":[{}]}]}`,
		`123456789012345678901234567890`, `-123e-99999`, `1.000000000000000000000000000000001`,
		// Bad ones.
		``, ` `, `{`, `}`, `[`, `]`, `"`, `'a'`, `a`, `{]`, `[}`, `[,]`, `[1,]`, `[,1]`, `[1,,2]`, `[1 2]`, `[1:2]`, `{,}`,
		`{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1,,"b":2}`, `{,"a":1}`, `{a:1}`, `{1:1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a"::1}`,
		`{'a':1}`, `{null:1}`, `{[]:1}`, `{"a":1]`, `[1}`, `{}{}`, `[][]`, `[]x`, `1 2`, `"a""b"`, `[1]]`, `{"a":1}}`, `[[]`,
		`+1`, `-`, `-a`, `--1`, `01`, `-01`, `00`, `.5`, `-.5`, `1.`, `1.e1`, `1e`, `1e+`, `1e-`, `1ee1`, `1e1.5`, `0x1F`, `1_000`,
		`Infinity`, `-Infinity`, `NaN`, `nan`, `1a`, `0.1.2`, `1+2`, `１`,
		`tru`, `truee`, `True`, `TRUE`, `fals`, `nul`, `nulll`, `undefined`, `[tru]`,
		`"\a"`, `"\x41"`, `"\u"`, `"\u12"`, `"\u123"`, `"\u123g"`, `"\U0041"`, `"\`, `"\"`, `"\u12`, "\"\\\x00\"", `"\'"`, `"a`, `a"`,
		"\"\x00\"", "\"\n\"", "\"\t\"", "\"\x1f\"", "\"a\r\"", "\x00", "[\x00]", "[1]\x00",
		"\ufeff{}", "[\u00a01]", "[\v1]", "[\f1]", "\u2060[]", `[1]//c`, `/**/[1]`, `[1]#`, `#[1]`,
		"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "\"\x80\"", "[\xff]", "\xff", "\"\xf8\x88\x80\x80\x80\"",
		strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 100_000), strings.Repeat("[", 500) + strings.Repeat("]", 501),
	}
}

func TestJSONIsWhatTheStandardLibraryTakes(t *testing.T) {
	for _, text := range jsonTexts() {
		checkAgainstStandard(t, []byte(text))
		checkAgainstStandard(t, []byte(`{"x":`+text+`}`))
		checkAgainstStandard(t, []byte(`[`+text+`,{"y":[`+text+`]}]`))
	}
}

func TestJSONPrefixesAndMutationsMatchTheStandardLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const alphabet = "{}[]\",:\\ue+-.019tfn \n\x00\x7f\x80\xc3\xff"
	for _, text := range jsonTexts() {
		if len(text) > 200 {
			continue
		}
		for i := range len(text) {
			checkAgainstStandard(t, []byte(text[:i]))
			for range 4 {
				b := []byte(text)
				b[i] = alphabet[random.IntN(len(alphabet))]
				checkAgainstStandard(t, b)
				checkAgainstStandard(t, append(b[:i:i], text[i+1:]...))
			}
		}
	}
}

func TestNestingUpToTheBound(t *testing.T) {
	for _, c := range []struct {
		open, inner, shut string
	}{{"[", "", "]"}, {"[", "1", "]"}, {`{"a":`, "{}", "}"}, {`[{"a":`, "0", "}]"}} {
		per := strings.Count(c.open, "[") + strings.Count(c.open, "{")
		n := (MaxLevels - strings.Count(c.inner, "{")) / per
		text := strings.Repeat(c.open, n) + c.inner + strings.Repeat(c.shut, n)
		if !isJSON([]byte(text)) {
			t.Errorf("%d levels of %s are refused", MaxLevels, c.open)
		}
		if isJSON([]byte("[" + text + "]")) {
			t.Errorf("%d levels of %s are taken", MaxLevels+1, c.open)
		}
	}
}

// checkMembers compares what Members finds with encoding/json's reading.
func checkMembers(t *testing.T, b []byte) {
	t.Helper()
	if !utf8.Valid(b) {
		return // the callers' part
	}
	type member struct{ name, value string }
	var got []member
	_, ok := Members(b, func(name, value []byte) string {
		got = append(got, member{string(name), string(value)})
		return ""
	})
	trimmed := bytes.TrimLeft(b, " \t\r\n")
	want := stdjson.Valid(b) && trimmed[0] == '{'
	if ok != want {
		if !ok && depth(b) > MaxLevels {
			return
		}
		t.Fatalf("%.300q: an object is %v, want %v", b, ok, want)
	}
	if !ok {
		return
	}
	decoder := stdjson.NewDecoder(bytes.NewReader(b))
	_, _ = decoder.Token()
	for i := 0; decoder.More(); i++ {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value stdjson.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		if i >= len(got) {
			t.Fatalf("%.300q: only %d members", b, len(got))
		}
		if got[i].value != string(value) {
			t.Fatalf("%.300q: value %d is %.100q, want %.100q", b, i, got[i].value, value)
		}
		if got[i].name != name && got[i].name != "\xff" {
			t.Fatalf("%.300q: name %d is %q, want %q", b, i, got[i].name, name)
		}
		got[i].name = ""
	}
}

func TestMembersAreThoseOfTheStandardLibrary(t *testing.T) {
	for _, text := range jsonTexts() {
		checkMembers(t, []byte(text))
		checkMembers(t, []byte(`{"a":`+text+`, "b" : 1 }`))
		checkMembers(t, []byte("\n{ \"d\\u0061ta\"\t:\r"+text+" }\n"))
	}
}

func FuzzMembers(f *testing.F) {
	for _, text := range jsonTexts() {
		f.Add([]byte(text))
		f.Add([]byte(`{"a":` + text + `}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkAgainstStandard(t, b)
		checkMembers(t, b)
	})
}

func TestElementsAreThoseOfTheStandardLibrary(t *testing.T) {
	for _, text := range []string{`[]`, `[ ]`, `[1]`, `[ 1 , "a" ,[],{"b":[1,2]},null ]`, "[\n\"x\"\t]"} {
		var got []string
		Elements([]byte(text), func(v []byte) string { got = append(got, string(v)); return "" })
		var want []stdjson.RawMessage
		if err := stdjson.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %q", text, got)
		}
		for i := range want {
			if got[i] != string(want[i]) {
				t.Errorf("%s: element %d is %q, want %q", text, i, got[i], want[i])
			}
		}
	}
}

func TestAStringIsAppendedAsTheStandardLibraryReadsIt(t *testing.T) {
	for _, s := range []string{"", "u1", "a user <b>&</b>", `"`, `\`, "tab\tand\nline", "12345678\"", "1234567\x01", "Zoë 𝄞 \u2028", "\x7f"} {
		b := AppendString([]byte("before"), s)
		var got string
		if err := stdjson.Unmarshal(b[len("before"):], &got); err != nil || got != s || string(b[:len("before")]) != "before" {
			t.Errorf("%q is appended as %q, which is read as %q, %v", s, b, got, err)
		}
	}
}

func TestStringsAreDecodedAndLoneSurrogatesRefused(t *testing.T) {
	for in, want := range map[string]string{
		`""`: "", `"abc"`: "abc", `"d\u0061ta"`: "data", `"\n\"\\\/"`: "\n\"\\/", `"\ud834\udd1e"`: "𝄞",
		`"\ufffd"`: "\ufffd", `"\uFFFD�"`: "\ufffd\ufffd", `"\\ufffd"`: `\ufffd`, `"�\\\ufffd"`: "\ufffd\\\ufffd",
		`"\ud800"`: "\xff", `"\udc00"`: "\xff", `"\ud800\ufffd"`: "\xff", `"\ufffd\udfff"`: "\xff", `"\ud800\ud800\udc00"`: "\xff",
		`"a\ud800b"`: "\xff",
	} {
		if got, ok := String([]byte(in)); string(got) != want || ok != (want != "\xff") {
			t.Errorf("%s is %q, %v, want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{`1`, `null`, `[]`, `{}`} {
		if _, ok := String([]byte(in)); ok {
			t.Errorf("%s is taken for a string", in)
		}
	}
}

func TestIntegersHaveNoFractionNoExponentAndStayBelow2To53(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "-1": -1, "10": 10, "1700000000000": 1700000000000,
		"9007199254740991": 1<<53 - 1, "-9007199254740991": -(1<<53 - 1),
	} {
		if n, ok := Integer([]byte(in)); !ok || n != want {
			t.Errorf("%s is %d, %v", in, n, ok)
		}
	}
	for _, in := range []string{
		"", "-", "-0", "01", "-01", "00", "1.0", "1.", "1e3", "1E0", "0e0", "0.0", "9007199254740992", "-9007199254740992", "99999999999999999999",
		"18446744073709551617", `"1"`, "null", "true", "[]", "+1", "0x1", " 1", "1 ",
	} {
		if n, ok := Integer([]byte(in)); ok {
			t.Errorf("%s is taken for %d", in, n)
		}
	}
}
