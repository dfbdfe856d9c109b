package cli

import (
	"fmt"
	"strings"
	"testing"

	"pushpod/internal/redistest"
)

func TestPushToOneConnection(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	connect(t, c, "alice", uuid1, "push:pod:a")
	connect(t, c, "alice", uuid2, "push:pod:b")
	next, nothing := subscribe(t, c, "push:pod:a")
	_, nothingElse := subscribe(t, c, "push:pod:b")
	nextAll, nothingForAll := subscribe(t, c, "push:all")

	run(t, at(s), "push", "--to", uuid1, "alice", `{"text": "hé<"}`).want(t, "with its user", 0, "1\n", "")
	if got, want := next(), `{"to":"`+uuid1+`","of":"alice","at":T,"data":{"text": "hé<"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	run(t, at(s), "push", "alice", "3", "id", "m 1", "ttl", "30000", "collapse", `c"`, "--to", uuid1, "--json").want(t, "pairs", 0, "{\"addressed\":1}\n", "")
	run(t, at(s), "push", "alice", "3", "--to", uuid1, "--id", "m 1", "--ttl", "30s", "--collapse", `c"`).want(t, "flags", 0, "1\n", "")
	for range 2 {
		if got, want := next(), `{"to":"`+uuid1+`","of":"alice","id":"m 1","at":T,"expires":T,"collapse":"c\"","data":3}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	run(t, at(s), "push", "--to", uuid1, "bob", "1").want(t, "of somebody else", 0, "0\n", "")
	nothing("of somebody else")
	nothingForAll("with a user")

	run(t, at(s), "push", "--to", uuid1, "1").want(t, "without its user", 0, "1\n", "")
	run(t, at(s), "push", "--to", uuid1, "1", "id", "m", "--json").want(t, "without its user, as JSON", 0, "{\"pods\":1}\n", "")
	for _, id := range []string{"", `"id":"m",`} {
		if got, want := nextAll(), `{"to":"`+uuid1+`",`+id+`"at":T,"data":1}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	nothing("without its user")
	nothingElse("to the other connection")
}

func TestPushToEverybody(t *testing.T) {
	s := redistest.Start(t)
	next, _ := subscribe(t, s.Client(), "push:all")
	run(t, at(s), "push", "--all", `[1, 2]`).want(t, "to all", 0, "1\n", "")
	run(t, at(s), "push", "--all", `[1, 2]`, "expires", "1700000000000", "--json").want(t, "as JSON", 0, "{\"pods\":1}\n", "")
	for _, expires := range []string{"", `"expires":T,`} {
		if got, want := next(), `{"all":true,"at":T,`+expires+`"data":[1, 2]}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	run(t, at(redistest.Start(t)), "push", "--all", "1").want(t, "nobody", 0, "0\n", "")
	run(t, []string{"PUSHPOD_REDIS_ADDRESSES=127.0.0.1:1"}, "push", "--all", "1").want(t, "Redis is away", 1, "", "push: nothing was published: ")
}

// What push.lua refuses is refused here too, in its words.
func TestPushesWithoutAScriptRefuseWhatItRefuses(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	connect(t, c, "alice", uuid1, "push:pod:a")
	_, nothing := subscribe(t, c, "push:all")
	for _, x := range []struct {
		pairs  []string
		reason string
	}{
		{[]string{"version", "1"}, "unknown name 'version'; known are"},
		{[]string{"id", "a", "id", "b"}, "id is given twice"},
		{[]string{"id", ""}, "id has 0 bytes; allowed are 1 to 256"},
		{[]string{"id", strings.Repeat("x", 257)}, "id has 257 bytes"},
		{[]string{"collapse", "\xff"}, "collapse is not valid UTF-8"},
		{[]string{"ttl", "0"}, "ttl '0' is not a whole number of milliseconds above 0"},
		{[]string{"ttl", "+5"}, "ttl '+5' is not"},
		{[]string{"ttl", "9007199254740992"}, "ttl '9007199254740992' is not"},
		{[]string{"expires", "soon"}, "expires 'soon' is not a time in Unix milliseconds"},
		{[]string{"expires", "30000"}, "expires '30000' is not a time in Unix milliseconds"},
		{[]string{"ttl", "1", "expires", "1700000000000"}, "ttl and expires are given together"},
	} {
		for _, whom := range [][]string{{"alice", "1"}, {"--all", "1"}} {
			run(t, at(s), append(append([]string{"push"}, whom...), x.pairs...)...).want(t, fmt.Sprint(whom, x.pairs), 2, "", "pushpod: "+x.reason)
		}
	}
	run(t, at(s), "push", "--all", `"`+strings.Repeat("x", 1<<20)+`"`).want(t, "too large", 2, "", "redis.max_envelope allows 1048576")
	nothing("what is refused")
}

func TestWhomAPushIsFor(t *testing.T) {
	environ := []string{"PUSHPOD_REDIS_ADDRESSES=127.0.0.1:1"} // nobody is asked
	for args, stderr := range map[string]string{
		"push --all":                                 "JSON is missing",
		"push --all hi":                              "the data is not JSON",
		"push --all 1 id":                            `push: "id" has no value; after JSON come pairs`,
		"push --to " + uuid1:                         "JSON is missing",
		"push --to " + uuid1 + " hi":                 "the data is not JSON",
		"push --to " + uuid1 + " alice hi":           "the data is not JSON",
		"push --to " + uuid1 + " }alice 1":           "does not begin with }",
		"push --to alice 1":                          `push: --to "alice" is no UUID of a connection`,
		"push --to " + strings.ToUpper(uuid1) + " 1": "36 characters in lower case",
		"push --to " + uuid1 + " --all 1":            "--all and --to are given together",
	} {
		run(t, environ, strings.Split(args, " ")...).want(t, args, 2, "", stderr)
	}
}
