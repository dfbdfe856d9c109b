package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"pushpod/internal/redistest"
)

// complete is what a shell is offered for a line whose last word is still typed, without
// descriptions, and the directive behind it.
func complete(t *testing.T, environ []string, line ...string) (words []string, directive string) {
	t.Helper()
	r := run(t, environ, append([]string{cobra.ShellCompNoDescRequestCmd}, line...)...)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	last := lines[len(lines)-1]
	if r.code != 0 || !strings.HasPrefix(last, ":") {
		t.Fatalf("%q: %+v", line, r)
	}
	return lines[:len(lines)-1], last
}

// wanting completes the words, again where there are none: on a machine with other work
// Redis may not have answered within the time that a person is made to wait.
func wanting(t *testing.T, environ, line []string) (words []string, directive string) {
	t.Helper()
	for range 10 {
		if words, directive = complete(t, environ, line...); len(words) > 0 {
			break
		}
	}
	return words, directive
}

// offers checks the words, and that no file is offered beside them.
func offers(t *testing.T, environ, line []string, want ...string) {
	t.Helper()
	look := wanting
	if len(want) == 0 {
		look = func(t *testing.T, environ, line []string) ([]string, string) { return complete(t, environ, line...) }
	}
	got, directive := look(t, environ, line)
	if !slices.Equal(got, want) || directive != ":4" {
		t.Errorf("%q: %q %s, want %q :4", line, got, directive, want)
	}
}

func TestCompletionKnowsUsersConnectionsAndPods(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Client()
	connect(t, c, "alice", uuid1, "push:pod:10.0.3.7:8080")
	connect(t, c, "alice", uuid2, "push:pod:10.0.3.8:8080")
	for _, user := range []string{"alan", "al*n", "bob", "Ål", "-dash", "with space"} {
		connect(t, c, user, uuid1, "push:pod:10.0.3.7:8080")
	}
	now, err := c.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range []string{"10.0.3.7:8080", "10.0.3.8:8080", "\x1b[2J"} {
		if err := c.ZAdd(t.Context(), "push:pods", redis.Z{Member: "push:pod:" + pod, Score: float64(now.UnixMilli())}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	env := at(s)

	for _, command := range []string{"push", "kick", "presence", "connect", "token"} {
		offers(t, env, []string{command, "al"}, "al*n", "alan", "alice")
	}
	offers(t, env, []string{"presence", ""}, "al*n", "alan", "alice", "bob", "with space", "Ål")
	offers(t, env, []string{"presence", "al*"}, "al*n")
	offers(t, env, []string{"presence", "alice", ""})
	offers(t, nil, []string{"presence", "--redis.addresses", s.Addr(), "b"}, "bob")

	offers(t, env, []string{"push", "alice", ""})
	offers(t, env, []string{"push", "alice", "1", ""}, "id", "ttl", "expires", "collapse")
	offers(t, env, []string{"push", "alice", "1", "id", ""})
	offers(t, env, []string{"push", "alice", "1", "id", "x", ""}, "ttl", "expires", "collapse")
	offers(t, env, []string{"push", "--all", "a"})
	offers(t, env, []string{"push", "--all", "1", "t"}, "ttl")

	offers(t, env, []string{"push", "alice", "--to", ""}, uuid1, uuid2)
	offers(t, env, []string{"push", "alice", "--to", "019b"}, uuid2)
	offers(t, env, []string{"push", "--to", ""})
	offers(t, env, []string{"push", "--to", uuid1, "bo"}, "bob")

	offers(t, env, []string{"top", ""}, "10.0.3.7:8080", "10.0.3.8:8080")
	offers(t, env, []string{"top", "10.0.3.7:8080", ""}, "10.0.3.8:8080")
	offers(t, env, []string{"connect", "alice", "--url", ""}, "ws://10.0.3.7:8080/ws", "ws://10.0.3.8:8080/ws")
	offers(t, env, []string{"connect", "alice", "--url", "wss://10.0.3.8"}, "wss://10.0.3.8:8080/ws")

	r := run(t, env, cobra.ShellCompRequestCmd, "push", "alice", "--to", "019a")
	if want := uuid1 + "\t10.0.3.7:8080\n"; !strings.HasPrefix(r.stdout, want) {
		t.Errorf("a connection is not described: %q, want %q", r.stdout, want)
	}
}

// Of several words bash inserts what they begin with, and does not quote it.
func TestCompletionPutsNoCommandOnTheLine(t *testing.T) {
	s := redistest.Start(t)
	for _, user := range []string{"a$(reboot)1", "a$(reboot)2", "b`reboot`", "c d1", "c d2", "e1$", "e2;", "f@x.org", "f@x.com"} {
		connect(t, s.Client(), user, uuid1, "push:pod:a:1")
	}
	env := at(s)
	offers(t, env, []string{"kick", "a"})
	offers(t, env, []string{"kick", "a$(re"})
	offers(t, env, []string{"kick", "a$(reboot)1"}, "a$(reboot)1") // one word is quoted
	offers(t, env, []string{"kick", "b"}, "b`reboot`")
	offers(t, env, []string{"kick", "c"})
	offers(t, env, []string{"kick", "c d"})
	offers(t, env, []string{"kick", "e"}, "e1$", "e2;")
	offers(t, env, []string{"kick", "f"}, "f@x.com", "f@x.org")
}

func TestCompletionTakesPrefixesForText(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	for _, key := range []string{"a*[b]:user:{alice}", "axx[b]:user:{no}", "a*b:user:{no}"} {
		if err := c.HSet(t.Context(), key, uuid1, "x").Err(); err != nil {
			t.Fatal(err)
		}
	}
	offers(t, at(s), []string{"presence", "--redis.prefix", "a*[b]:", ""}, "alice")
}

// A person waits for it, and a Redis that many share must not.
func TestCompletionOfManyUsersIsBounded(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	pipe := s.Client().Pipeline()
	for i := range 3 * completionWide {
		pipe.HSet(t.Context(), fmt.Sprintf("push:user:{u%05d}", i), uuid1, "x")
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if words, _ := wanting(t, at(s), []string{"presence", "u"}); len(words) != completionWide {
		t.Errorf("%d users are offered, want %d", len(words), completionWide)
	}
}

func TestCompletionOfACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 0)
	for _, user := range []string{"alice", "alan", "alma", "bob"} {
		key := "push:user:{" + user + "}"
		if err := c.Of(key).Client().HSet(t.Context(), key, uuid1, "push:pod:a:1").Err(); err != nil {
			t.Fatal(err)
		}
	}
	offers(t, at(c.Masters[0]), []string{"presence", "al"}, "alan", "alice", "alma")
	offers(t, at(c.Masters[1]), []string{"push", "alice", "--to", ""}, uuid1)
}

func TestCompletionIsSilentWhereRedisIsAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	connect(t, s.Client(), "alice", uuid1, "push:pod:a:1")
	quiet := func(why string, environ []string, line ...string) {
		t.Helper()
		start := time.Now()
		r := run(t, environ, append([]string{cobra.ShellCompNoDescRequestCmd}, line...)...)
		if r.code != 0 || r.stdout != ":4\n" || strings.Contains(r.stderr, "rror") {
			t.Errorf("%s: %+v", why, r)
		}
		// Many times what is allowed: the machine may be slow, and time-outs of a second would show.
		if d := time.Since(start); d > 20*completionTime {
			t.Errorf("%s: it took %s", why, d)
		}
	}
	nobody := []string{"PUSHPOD_REDIS_ADDRESSES=127.0.0.1:1"}
	quiet("nobody listens", nobody, "presence", "al")
	quiet("pods", nobody, "top", "")
	quiet("connections", nobody, "push", "alice", "--to", "")
	quiet("a wrong configuration", []string{"PUSHPOD_REDIS_DB=x"}, "presence", "al")
	quiet("a missing file", at(s), "presence", "--config", "/nonexistent/pushpod.yaml", "al")
	s.Pause()
	defer s.Resume()
	quiet("no answer", at(s), "presence", "al")
	quiet("no answer, and the configuration waits long", append(at(s), "PUSHPOD_REDIS_TIMEOUT=1m"), "presence", "al")
}

func TestCompletionOfFlagsKnowsTheTable(t *testing.T) {
	offers(t, nil, []string{"kick", "--redis.control="}, "on", "off")
	offers(t, nil, []string{"push", "--redis.pubsub", ""}, "plain", "sharded")
	offers(t, nil, []string{"pods", "--presence.lease", ""})
	offers(t, nil, []string{"top", "--sort", ""}, "pod", "connections", "heartbeat", "state")
	offers(t, nil, []string{"pods", ""})
	if words, directive := complete(t, nil, "conformance", "--rule", "pings,close-40"); directive != ":6" || len(words) < 5 || words[0] != "pings,close-4000" {
		t.Errorf("rules: %q %s", words, directive)
	}
	if words, _ := complete(t, nil, "conformance", "--rule", "pings,pi"); len(words) != 0 {
		t.Errorf("a rule that is there already: %q", words)
	}
	if _, directive := complete(t, nil, "conformance", "--", "node", ""); directive != ":0" {
		t.Errorf("the client's command: directive %s, want the shell's own", directive)
	}
	for flag, want := range map[string]string{"--config": ":8", "--redis.tls_ca_file": ":0"} {
		if _, directive := complete(t, nil, "pods", flag, ""); directive != want {
			t.Errorf("%s: directive %s, want %s", flag, directive, want)
		}
	}
	if words, directive := complete(t, nil, "config", "check", ""); directive != ":8" || !slices.Equal(words, []string{"yaml", "yml"}) {
		t.Errorf("config check: %q %s", words, directive)
	}
	if words, _ := complete(t, nil, "pods", "--redis."); !slices.Contains(words, "--redis.addresses") || slices.Contains(words, "--redis.password") {
		t.Errorf("names of flags: %q", words)
	}
}

// As cobra makes it: each script asks the program itself.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := run(t, nil, "completion", shell)
		if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "__complete") || !strings.Contains(r.stdout, "pushpod") {
			t.Errorf("%s: exit code %d, stderr %q, %d bytes", shell, r.code, r.stderr, len(r.stdout))
		}
	}
}
