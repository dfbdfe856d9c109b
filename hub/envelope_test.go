package hub

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pushpod/conn"
	"pushpod/internal/schematest"
	"pushpod/presence"
)

const (
	someUUID  = "018f0000-0000-7000-8000-00000000000a"
	otherUUID = "018f0000-0000-7000-8000-00000000000b"
)

func TestBadEnvelopesAreRefusedWithTheirReason(t *testing.T) {
	const target = `"user":"alice","data":1`
	wrongTypes := map[string][]string{
		"to":       {`null`, `true`, `1`, `{}`, `[]`, `[ ]`, `""`, `"x"`, `[null]`, `[1]`, `["` + someUUID + `",1]`, `[["` + someUUID + `"]]`},
		"of":       {`null`, `true`, `1`, `{}`, `[]`, `["alice"]`, `""`},
		"user":     {`null`, `true`, `1`, `{}`, `[]`, `""`, `[""]`, `[null]`, `["alice",1]`, `[["alice"]]`, `["alice",""]`},
		"all":      {`null`, `false`, `1`, `"true"`, `[]`, `{}`, `[true]`},
		"id":       {`null`, `true`, `1`, `{}`, `[]`, `""`, `"` + strings.Repeat("i", 257) + `"`, `"` + strings.Repeat("é", 129) + `"`, `"` + strings.Repeat(`\u00e9`, 129) + `"`, `"\ud800"`, `"\ud800` + strings.Repeat("i", 300) + `"`},
		"at":       {`null`, `true`, `"1"`, `{}`, `[]`, `1.0`, `1.5`, `1e3`, `1E3`, `-0`, `9007199254740992`, `-9007199254740992`, `99999999999999999999`},
		"expires":  {`null`, `true`, `"1"`, `{}`, `[]`, `1.0`, `1.5`, `1e3`, `1E3`, `-0`, `9007199254740992`, `18446744073709551616`, `0`, `-1`, `30000`, `99999999999`, `-100000000000`},
		"collapse": {`null`, `true`, `1`, `{}`, `[]`, `"\udc00"`},
		"close": {
			`null`, `true`, `4500`, `"x"`, `[]`, `[{"code":4500}]`, `{}`, `{"reason":"x"}`, `{"code":null}`, `{"code":"4500"}`, `{"code":4500.0}`,
			`{"code":4.5e3}`, `{"code":[4500]}`, `{"code":4500,"code":4500}`, `{"code":4500,"reason":null}`, `{"code":4500,"reason":1}`,
			`{"code":4500,"reason":"a","reason":"a"}`, `{"code":4500,"reason":"` + strings.Repeat("r", 124) + `"}`,
			`{"code":4500,"reason":"` + strings.Repeat("é", 62) + `"}`, `{"code":4500,"reason":"\ud800"}`, `{"Code":4500}`,
		},
	}
	invalidUsers := []string{`"}alice"`, `"a\u0000b"`, `"a\nb"`, `"\u007f"`, `"\u0085"`, `"\u009f"`, `"\ud800"`, "\"\u0080\"", "\"\x7f\"", `"` + strings.Repeat("u", 257) + `"`, `"\u007dalice"`}
	for _, u := range invalidUsers {
		wrongTypes["user"] = append(wrongTypes["user"], u, `["bob",`+u+`]`)
		wrongTypes["of"] = append(wrongTypes["of"], u)
	}
	for _, u := range []string{
		strings.ToUpper(someUUID), someUUID[:35], someUUID + "0", "{" + someUUID + "}", "urn:uuid:" + someUUID, " " + someUUID,
		strings.ReplaceAll(someUUID, "-", ""), strings.ReplaceAll(someUUID, "-", "_"), strings.Replace(someUUID, "a", "g", 1),
	} {
		wrongTypes["to"] = append(wrongTypes["to"], `"`+u+`"`, `["`+someUUID+`","`+u+`"]`)
	}
	for _, code := range []int{-4500, 0, 1, 999, 1000, 1001, 1008, 3000, 3999, 4001, 4099, 4502, 4599, 5000, 65536 + 4500} {
		wrongTypes["close"] = append(wrongTypes["close"], fmt.Sprintf(`{"code":%d}`, code))
	}

	var e envelope
	schema := schematest.Load(t, "docs/schemas/envelope.json")
	refuse := func(text, word string) {
		t.Helper()
		reason := e.parse([]byte(text))
		if reason == "" {
			t.Errorf("taken: %.200s", text)
		} else if !strings.Contains(reason, word) {
			t.Errorf("%.200s: the reason is %q, which does not name %q", text, reason, word)
		}
		if schema.Fault(text) == nil && !beyondSchemas(text, word) {
			t.Errorf("the schema takes %.200s, which is refused: %s", text, reason)
		}
	}
	for name, values := range wrongTypes {
		rest := target
		if name == "user" {
			rest = `"all":true,"data":1`
		}
		for _, v := range values {
			refuse(`{"`+name+`":`+v+`,`+rest+`}`, name)
			refuse(`{`+rest+`,"`+name+`":`+v+`}`, name)
		}
	}
	for name, value := range goodValues() {
		twice := `"` + name + `":` + value
		rest := target
		switch name {
		case "user", "data":
			rest = `"all":true`
			if name == "user" {
				rest += `,"data":1`
			}
		}
		refuse(`{`+twice+`,`+rest+`,`+twice+`}`, "twice")
		escaped := fmt.Sprintf(`"\u%04x%s":%s`, name[0], name[1:], value)
		refuse(`{`+twice+`,`+escaped+`,`+rest+`}`, "twice")
	}
	for _, text := range []string{
		`{"data":1}`, `{"of":"alice","data":1}`, `{}`, ` { } `, `{"id":"x"}`, `{"USER":"alice","data":1}`, `{"All":true,"data":1}`,
		`{"probe":1}`, `{"probe":null}`, `{"data":1,"probe":"x"}`,
		`{"replaced":"` + someUUID + `"}`, `{"replaced":"x","of":"alice"}`, `{"replaced":null,"of":"alice"}`, `{"replaced":"` + someUUID + `","of":"alice","data":1}`,
		`{"replaced":"` + someUUID + `","of":"alice","probe":"x"}`,
	} {
		refuse(text, "no target")
	}
	for _, text := range []string{
		`{"user":"alice"}`, `{"to":"` + someUUID + `"}`, `{"all":true}`, `{"user":"alice","Data":1}`, `{"user":"alice","DATA":1,"id":"x"}`,
	} {
		refuse(text, "neither data nor close")
	}
	for _, text := range []string{
		``, ` `, `null`, `1`, `"x"`, `[]`, `[{"all":true,"data":1}]`, `true`, `{`, `{"all":true,"data":1`, `{"all":true,"data":1}}`, `{"all":true,"data":1} x`,
		`{"all":true,"data":}`, `{"all":true,"data":01}`, `{"all":true,"data":nan}`, `{"all":true,"data":1.}`, "{\"all\":true,\"data\":\"a\tb\"}",
		`{"all":true,"data":1,}`, `{all:true,"data":1}`, `{"all":true "data":1}`, `{"all":true,"data":1,"x":tru}`, "\ufeff{\"all\":true,\"data\":1}",
		`{"all":true,"data":` + strings.Repeat("[", 1200) + strings.Repeat("]", 1200) + `}`, "{\"all\":true,\"data\":1}\x00",
	} {
		refuse(text, "JSON")
	}
	for _, bad := range []string{"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"} {
		refuse(`{"all":true,"data":"`+bad+`"}`, "UTF-8")
		refuse(`{"all":true,"data":1,"`+bad+`":1}`, "UTF-8")
		refuse(`{"all":true,"data":1}`+bad, "UTF-8")
	}
	// It must be JSON throughout, also behind what is wrong already.
	refuse(`{"all":false,"data":nan}`, "JSON")
	if e.parse([]byte(`{"all":true,"data":1}`)) != "" {
		t.Error("a bad envelope disturbs the next one")
	}
}

// beyondSchemas reports whether an envelope is wrong in a way that a JSON Schema does not
// see: it looks at values, and neither at how they are written nor at bytes.
func beyondSchemas(text, word string) bool {
	switch word {
	case "twice", "JSON", "UTF-8":
		return true
	}
	for _, written := range []string{`"code":4500,"code"`, `"reason":"a","reason"`, `.0`, `e3`, `E3`, `-0`, `\ud800`, `\udc00`, `é`, `\u00e9`} {
		if strings.Contains(text, written) {
			return true
		}
	}
	return false
}

// goodValues has a valid value for each known member.
func goodValues() map[string]string {
	return map[string]string{
		"to": `"` + someUUID + `"`, "of": `"bob"`, "user": `"alice"`, "all": `true`, "data": `{"a":1}`, "id": `"m1"`,
		"at": `1700000000000`, "expires": `1900000000000`, "collapse": `"k"`, "close": `{"code":4500,"reason":"bye"}`,
	}
}

func TestEnvelopeInAnyOrderAndSpacing(t *testing.T) {
	var names []string
	values := goodValues()
	for name := range values {
		names = append(names, name)
	}
	spell := []func(string) string{
		func(s string) string { return s },
		func(s string) string { return fmt.Sprintf(`\u%04x%s`, s[0], s[1:]) },
		func(s string) string { return fmt.Sprintf(`%s\u%04X`, s[:len(s)-1], s[len(s)-1]) },
	}
	for _, space := range []string{"", " ", "\n\t\r  "} {
		for rotate := range names {
			var b strings.Builder
			b.WriteString(space + "{" + space)
			for i := range names {
				name := names[(i+rotate)%len(names)]
				if i > 0 {
					b.WriteString(space + "," + space)
				}
				b.WriteString(`"` + spell[(i+rotate)%3](name) + `"` + space + ":" + space + values[name])
				b.WriteString(`,"unknown":[null,{"to":1,"data":"\u0000"},1e9]` + space)
			}
			b.WriteString(space + "}" + space)
			var e envelope
			if reason := e.parse([]byte(b.String())); reason != "" {
				t.Fatalf("%s: %s", b.String(), reason)
			}
			u, _ := presence.ParseUUID(someUUID)
			if e.unknown != len(names) {
				t.Fatalf("%d unknown members, want %d", e.unknown, len(names))
			}
			e.seen, e.unknown, e.names = 0, 0, nil
			want := envelope{
				to: []presence.UUID{u}, of: []byte("bob"), users: [][]byte{[]byte("alice")}, all: true, data: []byte(`{"a":1}`), id: []byte(`"m1"`),
				at: 1700000000000, expires: 1900000000000, collapse: "=k", close: true, code: 4500, reason: "bye",
			}
			if !reflect.DeepEqual(e, want) {
				t.Fatalf("%s:\n got %+v\nwant %+v", b.String(), e, want)
			}
		}
	}
}

func TestGoodEnvelopesAtTheBorders(t *testing.T) {
	var e envelope
	schema := schematest.Load(t, "docs/schemas/envelope.json")
	take := func(text string) {
		t.Helper()
		if reason := e.parse([]byte(text)); reason != "" {
			t.Errorf("%.200s: %s", text, reason)
		}
		if err := schema.Fault(text); err != nil && !e.isProbe() && !e.isReplacement() { // which are between pods
			t.Errorf("%.200s: %v", text, err)
		}
	}
	for _, code := range []int{4000, 4100, 4499, 4500, 4501, 4600, 4999} {
		take(fmt.Sprintf(`{"all":true,"close":{"code":%d}}`, code))
		if !e.close || e.code != conn.Code(code) || e.reason != "" || e.data != nil {
			t.Errorf("close with %d: %+v", code, e)
		}
	}
	for _, reason := range []string{"", strings.Repeat("r", 123), strings.Repeat("é", 61) + "x"} {
		take(`{"all":true,"close":{"reason":"` + reason + `","x":null,"code":4100}}`)
		if e.reason != reason {
			t.Errorf("reason %q", e.reason)
		}
	}
	take(`{"all":true,"close":{"c\u006fde":4100,"reason":"` + strings.Repeat(`\u00e9`, 61) + `"}}`)
	for _, id := range []string{"x", strings.Repeat("i", 256), strings.Repeat("é", 128), strings.Repeat(`\u00e9`, 128), `\u0000`, `\ud834\udd1e`, " ", "}"} {
		take(`{"all":true,"data":null,"id":"` + id + `"}`)
		if string(e.id) != `"`+id+`"` {
			t.Errorf("id %q became %q", id, e.id)
		}
	}
	for _, user := range []string{"u", strings.Repeat("u", 256), "a}b", "{", "пользователь", `\u0061`, "a b", "\u00a0", `\"`, "\u2028"} {
		take(`{"user":"` + user + `","data":0}`)
		take(`{"user":["` + user + `"],"data":0,"of":"` + user + `"}`)
	}
	take(`{"user":"\u0061lice","data":0}`)
	if len(e.users) != 1 || string(e.users[0]) != "alice" {
		t.Errorf("user %q", e.users)
	}
	take(`{"to":["` + someUUID + `" , "` + otherUUID + `"],"user":["a","b","a"],"all":true,"data":0}`)
	if len(e.to) != 2 || len(e.users) != 3 || !e.all {
		t.Errorf("targets %+v", e)
	}
	for _, n := range []string{"0", "1", "-1", "9007199254740991"} {
		take(`{"all":true,"data":0,"at":` + n + `}`)
	}
	for _, n := range []int64{1e11, 1<<53 - 1} {
		take(fmt.Sprintf(`{"all":true,"data":0,"expires":%d}`, n))
		if e.expires != n {
			t.Errorf("expires %d became %d", n, e.expires)
		}
	}
	take(`{"all":true,"data":0,"collapse":""}`)
	if e.collapse == "" {
		t.Error(`collapse "" is taken for none`)
	}
	take(`{"all":true,"data":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`)
	for _, probe := range []string{`{"probe":"x"}`, `{"probe":"x","later":1}`} {
		take(probe)
		if !e.isProbe() {
			t.Errorf("%s is no probe", probe)
		}
	}
	for _, replacement := range []string{`{"replaced":"` + someUUID + `","of":"alice"}`, `{"of":"alice","later":1,"replaced":"` + someUUID + `"}`} {
		take(replacement)
		if !e.isReplacement() || presence.FormatUUID(e.replaced) != someUUID || string(e.of) != "alice" || e.unknown != 0 {
			t.Errorf("%s is read as %+v", replacement, e)
		}
	}
	take(`{"replaced":"` + someUUID + `","of":"alice","all":true,"data":1}`)
	if e.isReplacement() || e.unknown != 1 {
		t.Error("an envelope is taken for a replacement")
	}
	take(`{"probe":"x","all":true,"data":1}`)
	if e.isProbe() {
		t.Error("an envelope is taken for a probe")
	}
}

func TestUnknownMembersAreCountedOneByOneAndNamed(t *testing.T) {
	for text, want := range map[string]string{
		`{"all":true,"data":{"a":1}}`:                             "0 []",
		`{"all":true,"data":1,"Expires":1,"expire":2,"expire":3}`: "3 [Expires expire expire]",
		`{"all":true,"close":{"code":4100,"raeson":"x"}}`:         "1 [raeson]",
		`{"usr":"alice","data":1}`:                                "1 [usr]", // bad, and why
		`{"all":true,"data":1,"a":1,"b":2,"c":3,"d":4,"e":5}`:     "5 [a b c d]",
		`{"probe":"x","later":1}`:                                 "0 [probe later]",
		`{"probe":"x","all":true,"data":1}`:                       "1 [probe]",
		`{"all":true,"x":1,"data":1`:                              "0 [x]", // no JSON
	} {
		var e envelope
		e.parse([]byte(text))
		if got := fmt.Sprintf("%d %s", e.unknown, e.names); got != want {
			t.Errorf("%s: unknown are %s, want %s", text, got, want)
		}
	}
}

func TestDataStaysByteForByte(t *testing.T) {
	var e envelope
	for _, data := range []string{
		`null`, `false`, `0`, `-0.0e+00`, `""`, `"\ud800 \u0000 \/ é"`, `12345678901234567890123.4500`, "{ \"b\" : 1 ,\n\"a\":[ ] , \"b\":2}", `[]`, `{}`,
	} {
		if reason := e.parse([]byte("{\"data\" :\t" + data + " , \"all\":true}")); reason != "" {
			t.Errorf("%s: %s", data, reason)
		}
		if string(e.data) != data {
			t.Errorf("data %q became %q", data, e.data)
		}
	}
}

// FuzzEnvelope compares verdict and content with a reading by encoding/json.
func FuzzEnvelope(f *testing.F) {
	for name, value := range goodValues() {
		f.Add([]byte(`{"all":true,"data":1,"` + name + `":` + value + `}`))
		f.Add([]byte(`{"user":["a","b"],"` + name + `":` + value + `}`))
	}
	for _, text := range []string{`{}`, `[]`, `""`, `-0.0`, `1e9`, `null`, `"\ud800"`, `["a",{"b":[]}]`, `4500`, `01`, `tru`, `"`, "\"\xff\""} {
		f.Add([]byte(`{"to":"` + someUUID + `","data":` + text + `}`))
		f.Add([]byte(`{"user":` + text + `,"close":{"code":` + text + `}}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e envelope
		if reason := e.parse(b); reason != "" {
			if !utf8.ValidString(reason) || len(reason) > 200 {
				t.Fatalf("%q: the reason holds data: %q", b, reason)
			}
			return
		}
		var object map[string]json.RawMessage
		if !utf8.Valid(b) || json.Unmarshal(b, &object) != nil {
			t.Fatalf("taken, and no JSON object: %q", b)
		}
		if e.isProbe() {
			return
		}
		if len(e.to) == 0 && len(e.users) == 0 && !e.all {
			t.Fatalf("%q: taken without a target", b)
		}
		if string(object["data"]) != string(e.data) && !strings.Contains(string(b), `\`) {
			t.Fatalf("%q: data is %q, want %q", b, e.data, object["data"])
		}
		for _, u := range append(e.users, e.of) {
			if u != nil && presence.ValidUser(u) != nil {
				t.Fatalf("%q: user %q is taken", b, u)
			}
		}
		if e.close && (!producersCode(int64(e.code)) || len(e.reason) > maxCloseReason || !utf8.ValidString(e.reason)) {
			t.Fatalf("%q: close %d %q", b, e.code, e.reason)
		}
		if e.id != nil {
			var id string
			if json.Unmarshal(e.id, &id) != nil || id == "" || len(id) > maxIDBytes {
				t.Fatalf("%q: id %q", b, e.id)
			}
		}
		if e.expires != 0 && e.expires < 1e11 || e.at < 0 || e.at >= 1<<53 || e.expires >= 1<<53 {
			t.Fatalf("%q: at %d, expires %d", b, e.at, e.expires)
		}
	})
}

// usual are the shapes that nearly all envelopes have, with data of n bytes.
func usual(n int) map[string][]byte {
	data := `{"text":"` + strings.Repeat("x", n-len(`{"text":""}`)) + `"}`
	return map[string][]byte{
		"to":        []byte(`{"to":"` + someUUID + `","data":` + data + `}`),
		"user":      []byte(`{"user":"alice","data":` + data + `}`),
		"all":       []byte(`{"all":true,"data":` + data + `}`),
		"by script": []byte(`{"to":["` + someUUID + `","` + otherUUID + `"],"of":"alice","at":1700000000000,"id":"m1","expires":1900000000000,"data":` + data + `}`),
	}
}

func TestParsingTheUsualShapesAllocatesNothing(t *testing.T) {
	var e envelope
	for name, b := range usual(128) {
		e.parse(b)
		if n := testing.AllocsPerRun(100, func() {
			if e.parse(b) != "" {
				t.Fatal("refused")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
