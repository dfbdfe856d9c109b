package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// subscribe returns a function that waits for the next message, and one that
// fails where there was any.
func subscribe(t *testing.T, c *redis.Client, channel string) (next func() string, nothing func(why string)) {
	t.Helper()
	sub := c.Subscribe(t.Context(), channel)
	t.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	times := regexp.MustCompile(`"(at|expires)":[0-9]{13}`)
	next = func() string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		m, err := sub.ReceiveMessage(ctx)
		if err != nil {
			t.Fatalf("no message: %v", err)
		}
		return times.ReplaceAllString(m.Payload, `"$1":T`)
	}
	nothing = func(why string) {
		t.Helper()
		if err := c.Publish(t.Context(), channel, "mark").Err(); err != nil {
			t.Fatal(err)
		}
		if got := next(); got != "mark" {
			t.Errorf("%s: published %s", why, got)
			next()
		}
	}
	return next, nothing
}

func TestPushPrintsHowManyWereAddressed(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	connect(t, c, "alice", uuid1, "push:pod:a")
	next, nothing := subscribe(t, c, "push:pod:a")

	run(t, at(s), "push", "alice", `{"text": "hé"}`).want(t, "one connection", 0, "1\n", "")
	if got, want := next(), `{"to":"`+uuid1+`","of":"alice","at":T,"data":{"text": "hé"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	run(t, at(s), "push", "alice", "1", "--json").want(t, "as JSON", 0, "{\"addressed\":1}\n", "")
	next()
	connect(t, c, "alice", uuid2, "push:pod:dead")
	run(t, at(s), "push", "alice", "2").want(t, "one of two pods is subscribed", 0, "1\n", "")
	next()
	run(t, at(s), "push", "bob", "1").want(t, "nobody", 0, "0\n", "")
	nothing("to bob")

	run(t, at(s), "push", "alice", "3", "--id", "m 1", "--ttl", "30s", "--collapse", `c"`).want(t, "flags", 0, "1\n", "")
	run(t, at(s), "push", "alice", "3", "collapse", `c"`, "id", "m 1", "ttl", "30000").want(t, "pairs", 0, "1\n", "")
	for range 2 {
		if got, want := next(), `{"to":"`+uuid1+`","of":"alice","id":"m 1","at":T,"expires":T,"collapse":"c\"","data":3}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestPushRefusesBadInputWith2AndPublishesNothing(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	connect(t, c, "alice", uuid1, "push:pod:a")
	_, nothing := subscribe(t, c, "push:pod:a")
	cases := []struct {
		why, stderr string
		args        []string
	}{
		{"unknown name", "pushpod: unknown name 'version'; known are", []string{"alice", "1", "version", "1"}},
		{"id twice", "pushpod: id is given twice", []string{"alice", "1", "id", "a", "--id", "a"}},
		{"empty id", "pushpod: id has 0 bytes", []string{"alice", "1", "--id", ""}},
		{"long id", "pushpod: id has 257 bytes", []string{"alice", "1", "--id", strings.Repeat("x", 257)}},
		{"no time", "pushpod: ttl '0' is not", []string{"alice", "1", "--ttl", "0s"}},
		{"under a millisecond", "pushpod: ttl '0' is not", []string{"alice", "1", "--ttl", "999us"}},
		{"in the past", "pushpod: ttl '-1000' is not", []string{"alice", "1", "--ttl", "-1s"}},
		{"no number", "pushpod: expires 'soon' is not", []string{"alice", "1", "expires", "soon"}},
		{"too large", "pushpod: the data has 65537 bytes; allowed are 65536, use PUBLISH", []string{"alice", `"` + strings.Repeat("x", 65535) + `"`}},
		{"too deep", "pushpod: the data is not JSON: Found too many nested data structures", []string{"alice", strings.Repeat("[", 1001) + strings.Repeat("]", 1001)}},
		{"not JSON", "not JSON", []string{"alice", "nan"}},
		{"control character", "no control characters", []string{"alice\n", "1"}},
	}
	for _, c := range cases {
		run(t, at(s), append([]string{"push"}, c.args...)...).want(t, c.why, 2, "", c.stderr)
		nothing(c.why)
	}
}

func TestPushSaysWhatRedisRefuses(t *testing.T) {
	s := redistest.Start(t)
	if err := s.Client().Set(t.Context(), "push:user:{alice}", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	run(t, at(s), "push", "alice", "1").want(t, "another type", 1, "", "push: pushpod: cannot read the presence of the user: WRONGTYPE")
	s.CLI("ACL", "SETUSER", "default", "-eval")
	run(t, at(s), "push", "alice", "1").want(t, "no right", 1, "", "push: NOPERM")
}

func TestPushToHostileUsers(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	next, _ := subscribe(t, c, "push:pod:a")
	for _, user := range []string{
		"a b", "a:b", ".", "..", "*", "-", "--", "--id", "-h", `"`, `'`, `\`, "$(id)", "`id`", "%s", ",", "{", "a}", "a}b{c", "{}", "😀", "\u2028", "\u202e",
		`","all":true,"x":"`, strings.Repeat("é", 128),
	} {
		connect(t, c, user, uuid1, "push:pod:a")
		run(t, at(s), "push", "--id", user, "--", user, "-0").want(t, user, 0, "1\n", "")
		var envelope struct {
			To, Of, ID string
			All        bool
			Data       json.RawMessage
		}
		text := strings.Replace(next(), `"at":T`, `"at":0`, 1)
		if err := json.Unmarshal([]byte(text), &envelope); err != nil {
			t.Errorf("%q: %v", user, err)
		}
		if got, want := fmt.Sprint(envelope), fmt.Sprint(struct {
			To, Of, ID string
			All        bool
			Data       json.RawMessage
		}{uuid1, user, user, false, json.RawMessage("-0")}); got != want {
			t.Errorf("%q: %s, want %s", user, text, want)
		}
	}
}

func TestPushToTheEmbeddedRedis(t *testing.T) {
	mini := miniredis.RunT(t)
	c := redis.NewClient(&redis.Options{Addr: mini.Addr(), Protocol: 2})
	defer c.Close()
	connect(t, c, "alice", uuid1, "push:pod:a")
	next, _ := subscribe(t, c, "push:pod:a")
	environ := []string{"PUSHPOD_REDIS_EMBEDDED_LISTEN=" + mini.Addr()}
	run(t, environ, "push", "alice", "1").want(t, "push", 0, "1\n", "")
	if got, want := next(), `{"to":"`+uuid1+`","of":"alice","at":T,"data":1}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	run(t, environ, "push", "alice", "1", "x", "1").want(t, "a bad pair", 2, "", "unknown name 'x'")
	run(t, environ, "functions", "load").want(t, "functions load", 1, "", "the server has no functions")
	r := run(t, environ, "presence", "alice")
	if r.code != 0 || !strings.Contains(r.stdout, uuid1) || r.stderr != "" {
		t.Errorf("presence: %+v", r)
	}
	r = run(t, environ, "pods")
	if r.code != 0 || strings.Count(r.stdout, "\n") != 1 || r.stderr != "" {
		t.Errorf("pods: %+v", r)
	}
}
