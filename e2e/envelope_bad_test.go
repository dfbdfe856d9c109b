package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// secret stands in the data of bad envelopes: it must not get into the log.
const secret = "zq-secret-zq"

// A bad envelope of each kind is counted and dropped, and the next one is delivered.
// hub/envelope_test.go and internal/json have the cases of each kind.
func TestBadEnvelopes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick().with("redis.max_envelope", "128KiB"))
	c := dial(t, p, "alice")
	bad := []string{
		``, `x`, `[]`, `{"to":"U","data":1`, `{"to":"U","data":1} x`, `{"to":"U","data":01}`, `{"to":"U","data":nan}`, // no JSON
		"{\"to\":\"U\",\"data\":\"\xff\"}",
		`{"data":1}`, `{"to":"U"}`, `{"to":"U","data":1,"d\u0061ta":1}`, `{"to":"U","user":[],"data":1}`, `{"to":"U","all":null,"data":1}`,
		`{"to":"X","data":1}`, `{"user":"}x","data":1}`, `{"to":"U","data":1,"id":""}`, `{"to":"U","data":1,"at":1.0}`,
		`{"to":"U","data":1,"expires":30000}`, `{"to":"U","close":{"code":1000}}`,
	}
	tooLarge := `{"to":"U","data":""}`
	bad = append(bad, strings.Replace(tooLarge, `""`, `"`+strings.Repeat("x", 128<<10)+`"`, 1))
	for _, member := range []string{"data", "unknown"} {
		bad = append(bad, fmt.Sprintf(`{"to":"U",%q:"%s" `, member, secret), fmt.Sprintf(`{%q:"%s"}`, member, secret))
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
	if !strings.Contains(log, "envelope") || !strings.Contains(log, "unknown") {
		t.Error("the log says nothing of bad envelopes, or of unknown members")
	}
	if n := p.metric("pushpod_envelopes_unknown_members_total"); n != 1 {
		t.Errorf("%v unknown members, want 1", n)
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
