package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// secret stands in the data of bad envelopes: it must not get into the log.
const secret = "zq-secret-zq"

// badEnvelopes are messages that a pod must refuse. U stands for the UUID of a
// connection that it holds.
func badEnvelopes() []string {
	notJSON := []string{
		``, ` `, `x`, `{`, `}`, `[]`, `"x"`, `null`, `true`, `1`,
		`{"to":"U","data":1`, `{"to":"U","data":1}}`, `{"to":"U","data":1} x`, `{"to":"U","data":1}{"to":"U","data":1}`,
		`{"to":"U","data":1,}`, `{,"to":"U","data":1}`, `{"to":"U" "data":1}`, `{"to":"U","data"}`, `{"to":"U","data":}`,
		`{'to':'U','data':1}`, `{to:"U",data:1}`, `{"to":"U","data":1/*x*/}`, `{"to":"U","data":1}//x`,
		`{"to":"U","data":nan}`, `{"to":"U","data":NaN}`, `{"to":"U","data":Infinity}`, `{"to":"U","data":-Infinity}`,
		`{"to":"U","data":01}`, `{"to":"U","data":-01}`, `{"to":"U","data":1.}`, `{"to":"U","data":.5}`,
		`{"to":"U","data":+1}`, `{"to":"U","data":0x1F}`, `{"to":"U","data":1e}`, `{"to":"U","data":1e+}`, `{"to":"U","data":-}`,
		`{"to":"U","data":True}`, `{"to":"U","data":tru}`, `{"to":"U","data":undefined}`,
		`{"to":"U","data":[1,]}`, `{"to":"U","data":[1 2]}`, `{"to":"U","data":[}`, `{"to":"U","data":[1}`, `{"to":"U","data":{"a":1,}}`,
		`{"to":"U","data":{"a"}}`, `{"to":"U","data":{1:2}}`,
		`{"to":"U","data":"}`, `{"to":"U","data":"\x"}`, `{"to":"U","data":"\u12"}`, `{"to":"U","data":"\u12G4"}`, `{"to":"U","data":"\"}`,
		"{\"to\":\"U\",\"data\":\"\t\"}", "{\"to\":\"U\",\"data\":\"\n\"}", "{\"to\":\"U\",\"data\":\"\x00\"}", "{\"to\":\"U\",\"data\":\"\x1f\"}",
		"{\"to\":\"U\",\"data\":1}\x00", "\x00{\"to\":\"U\",\"data\":1}", "\ufeff{\"to\":\"U\",\"data\":1}",
		"{\"to\":\"U\",\u00a0\"data\":1}", "{\"to\":\"U\",\v\"data\":1}",
		`{"to":"U","data":1,"unknown":nan}`, `{"to":"U","data":1,"unknown":[1,]}`, `{"to":"U","data":1,"unknown":"\x"}`,
	}
	var notUTF8 []string
	for _, raw := range []string{
		"\xff", "\x80", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe2\x82", "\xed\xa0\x80", "\xed\xbf\xbf",
		"\xf0\x80\x80\x80", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe",
	} {
		notUTF8 = append(notUTF8, `{"to":"U","data":"`+raw+`"}`)
	}
	notUTF8 = append(notUTF8,
		"{\"to\":\"U\",\"data\":1,\"\xff\":2}", "{\"to\":\"U\",\"data\":{\"\xff\":2}}",
		"{\"to\":\"U\",\"data\":1,\"id\":\"\xff\"}", "{\"user\":\"\xff\",\"data\":1}", "{\"to\":\"U\",\"data\":1,\"unknown\":\"\xff\"}")

	bad := append(notJSON, notUTF8...)
	bad = append(bad, badTargets()...)
	bad = append(bad, badMembers()...)
	return bad
}

func badTargets() []string {
	bad := []string{
		// None, or nothing to deliver.
		`{}`, `{"data":1}`, `{"of":"alice","data":1}`, `{"to":"U"}`, `{"user":"alice"}`, `{"all":true}`,
		`{"to":"U","id":"x","at":1,"collapse":"x"}`, `{"TO":"U","data":1}`, `{"to":"U","Data":1}`, `{"All":true,"data":1}`,
		// One good target does not make up for a bad one.
		`{"to":"U","user":[],"data":1}`, `{"to":"U","all":false,"data":1}`, `{"all":true,"to":null,"data":1}`, `{"all":true,"user":"","data":1}`,
		// Standing twice.
		`{"to":"U","to":"U","data":1}`, `{"user":"alice","user":"alice","data":1}`, `{"all":true,"all":true,"data":1}`,
		`{"to":"U","of":"alice","of":"alice","data":1}`, `{"to":"U","data":1,"data":1}`, `{"to":"U","data":1,"id":"a","id":"a"}`,
		`{"to":"U","data":1,"at":1,"at":1}`, `{"to":"U","data":1,"expires":9007199254740991,"expires":9007199254740991}`,
		`{"to":"U","data":1,"collapse":"a","collapse":"a"}`, `{"to":"U","data":1,"d\u0061ta":1}`, `{"to":"U","\u0074\u006f":"U","data":1}`,
		`{"to":"U","close":{"code":4100,"reason":"x"},"close":{"code":4100,"reason":"x"}}`,
	}
	for _, v := range []string{`5`, `null`, `true`, `{}`, `[]`, `""`, `"x"`, `[5]`, `[null]`, `[""]`, `["U",5]`, `["U","x"]`, `[["U"]]`,
		`"018f0000-0000-7000-8000-00000000000"`, `"018f0000-0000-7000-8000-0000000000000"`, `"018F0000-0000-7000-8000-00000000000A"`,
		`"018f00000000700080000000000000000000"`, `"{018f0000-0000-7000-8000-00000000000}"`, `"018f0000-0000-7000-8000-00000000000g"`,
		`" 018f0000-0000-7000-8000-00000000000"`, `"018f0000_0000_7000_8000_000000000000"`} {
		bad = append(bad, `{"to":`+v+`,"data":1}`)
	}
	for _, v := range []string{`5`, `null`, `true`, `{}`, `""`, `"}x"`, `"a\u0007b"`, `"a\u0000"`, `"a\u007f"`, `"a\u0085b"`, `"a\n"`, `"` + strings.Repeat("x", 257) + `"`, `"` + strings.Repeat("é", 129) + `"`} {
		bad = append(bad, `{"user":`+v+`,"data":1}`, `{"user":["alice",`+v+`],"data":1}`, `{"to":"U","of":`+v+`,"data":1}`)
	}
	bad = append(bad, `{"user":[],"data":1}`, `{"user":[["alice"]],"data":1}`, `{"to":"U","of":["alice"],"data":1}`, `{"to":"U","of":[],"data":1}`)
	for _, v := range []string{`false`, `null`, `1`, `0`, `"true"`, `[]`, `[true]`, `{}`} {
		bad = append(bad, `{"all":`+v+`,"data":1}`)
	}
	return bad
}

func badMembers() []string {
	var bad []string
	for _, v := range []string{`5`, `null`, `true`, `[]`, `["a"]`, `{}`, `""`, `"` + strings.Repeat("x", 257) + `"`} {
		bad = append(bad, `{"to":"U","data":1,"id":`+v+`}`)
	}
	for _, v := range []string{`"1"`, `null`, `true`, `[]`, `{}`, `1.5`, `1.0`, `1e3`, `1E3`, `9007199254740992`, `9007199254740993`, `1e400`, `99999999999999999999`} {
		bad = append(bad, `{"to":"U","data":1,"at":`+v+`}`, `{"to":"U","data":1,"expires":`+v+`}`)
	}
	for _, v := range []string{`5`, `null`, `true`, `[]`, `["a"]`, `{}`} {
		bad = append(bad, `{"to":"U","data":1,"collapse":`+v+`}`)
	}
	for _, v := range []string{`5`, `null`, `true`, `"x"`, `[]`, `{}`, `{"reason":"x"}`,
		`{"code":"4100","reason":"x"}`, `{"code":null,"reason":"x"}`, `{"code":4100.5,"reason":"x"}`, `{"code":4.1e3,"reason":"x"}`, `{"code":[4100],"reason":"x"}`,
		`{"code":4100,"reason":5}`, `{"code":4100,"reason":null}`, `{"code":4100,"reason":"` + strings.Repeat("x", 124) + `"}`,
		`{"code":4100,"reason":"` + strings.Repeat("é", 62) + `"}`, `{"code":4100,"code":4100,"reason":"x"}`} {
		bad = append(bad, `{"to":"U","close":`+v+`}`, `{"to":"U","data":1,"close":`+v+`}`)
	}
	for _, code := range []int{-1, 0, 999, 1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1013, 1015, 2000, 3000, 3999, 4001, 4099, 4502, 4599, 5000, 65536 + 4100} {
		bad = append(bad, fmt.Sprintf(`{"to":"U","close":{"code":%d,"reason":"x"}}`, code))
	}
	return bad
}

// Each bad envelope is counted and dropped, and the next one is delivered.
func TestBadEnvelopes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick().with("redis.max_envelope", "128KiB"))
	c := dial(t, p, "alice")
	bad := badEnvelopes()
	tooLarge := fmt.Sprintf(`{"to":%q,"data":""}`, c.uuid)
	bad = append(bad, strings.Replace(tooLarge, `""`, `"`+strings.Repeat("x", 128<<10-len(tooLarge)+1)+`"`, 1))
	for _, member := range []string{"data", "unknown"} {
		bad = append(bad, fmt.Sprintf(`{"to":%q,%q:"%s" `, c.uuid, member, secret))
	}
	counted := 0.0
	for i, envelope := range bad {
		envelope = strings.ReplaceAll(envelope, `"U"`, `"`+c.uuid+`"`)
		publish(t, db, p.channel, envelope)
		publish(t, db, p.channel, to(fmt.Sprint(i), c))
		c.wantMessage("behind the bad envelope "+short(envelope), fmt.Sprint(i))
		now := p.metric("pushpod_envelopes_total", "result", "bad")
		if now != counted+1 {
			t.Errorf("%q: counted as bad %v times, want once", short(envelope), now-counted)
		}
		counted = now
	}
	c.check("after them all")
	wantBooks(t, p, books{published: 2 * len(bad), bad: len(bad), written: len(bad)})

	log := p.stderr.String() + p.stdout.String()
	if strings.Contains(log, secret) {
		t.Error("the log holds the data of a bad envelope")
	}
	if lines := strings.Count(strings.ToLower(log), "envelope"); lines == 0 {
		t.Error("the log says nothing of bad envelopes")
	}
}

// A bad envelope a thousand times is not a thousand lines.
func TestBadEnvelopesDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick())
	before := strings.Count(p.stderr.String()+p.stdout.String(), "\n")
	start := time.Now()
	pipe := db.Pipeline()
	for range 2000 {
		pipe.Publish(t.Context(), p.channel, `{"bad"`)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantBooks(t, p, books{published: 2000, bad: 2000})
	lines := strings.Count(p.stderr.String()+p.stdout.String(), "\n") - before
	if seconds := int(time.Since(start).Seconds()) + 1; lines == 0 || lines > 20*seconds {
		t.Errorf("%d lines of log for 2,000 bad envelopes in %d s, want a few a second", lines, seconds)
	}
}

// What is nested deeper than 1,000 levels may be refused; it is never a reason
// to fall over.
func TestDeeplyNestedEnvelopes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick())
	c := dial(t, p, "alice")
	nested := func(levels int, open, inner, end string) string {
		return strings.Repeat(open, levels) + inner + strings.Repeat(end, levels)
	}
	for _, data := range []string{nested(999, `[`, ``, `]`), nested(999, `{"a":`, `1`, `}`)} {
		publish(t, db, p.channel, to(data, c))
		c.wantMessage("1,000 levels with the envelope's own", data)
	}
	refused := 0
	for _, data := range []string{nested(400_000, `[`, ``, `]`), nested(100_000, `{"a":`, `1`, `}`), strings.Repeat(`[`, 900_000)} {
		publish(t, db, p.channel, to(data, c))
		publish(t, db, p.channel, fmt.Sprintf(`{"unknown":%s,"to":%q,"data":1}`, data, c.uuid))
		publish(t, db, p.channel, to(`"next"`, c))
		for !strings.Contains(c.wantText("behind deep nesting").text, `"next"`) {
			refused--
		}
		refused += 2
	}
	wantBooks(t, p, books{published: 11, bad: refused, written: 11 - refused})
}
