package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"pushpod/internal/redistest"
)

// A result is what a command left behind.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a command as the program would, with only these variables in the
// environment.
func run(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := &cobra.Command{
		Use: "pushpod", Args: NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.AddCommand(deps{version: "1.2.3", environ: func() []string { return environ }}.commands()...)
	root.SetArgs(args)
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(&stderr, err)
	}
	return result{ExitCode(err), stdout.String(), stderr.String()}
}

// want checks the exit code, the whole of stdout, and a part of stderr: "" is
// nothing at all.
func (r result) want(t *testing.T, why string, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code || r.stdout != stdout || !strings.Contains(r.stderr, stderr) || (stderr == "") != (r.stderr == "") {
		t.Errorf("%s: exit code %d, stdout %q, stderr %q; want %d, %q, %q", why, r.code, r.stdout, r.stderr, code, stdout, stderr)
	}
}

// at is the environment that leads to a Redis.
func at(s *redistest.Server) []string { return []string{"PUSHPOD_REDIS_ADDRESSES=" + s.Addr()} }

// connect writes a presence entry as a pod would.
func connect(t *testing.T, c *redis.Client, user, uuid, channel string) {
	t.Helper()
	if err := c.HSet(t.Context(), "push:user:{"+user+"}", uuid, channel).Err(); err != nil {
		t.Fatal(err)
	}
}

const (
	uuid1 = "019a0000-0000-7abc-8def-000000000001"
	uuid2 = "019b0000-0000-7abc-8def-000000000002"
)

func TestWrongUsageEndsWith2(t *testing.T) {
	environ := []string{"PUSHPOD_REDIS_ADDRESSES=127.0.0.1:1"} // nobody is asked
	cases := []struct {
		args, stderr string
	}{
		{"bogus", `pushpod: unknown command "bogus"`},
		{"--bogus", "unknown flag: --bogus"},
		{"push", "pushpod push: USER is missing"},
		{"push alice", "pushpod push: JSON is missing"},
		{"push alice 1 id", `push: "id" has no value`},
		{"push alice 1 --bogus", "unknown flag: --bogus"},
		{"push alice 1 --ttl soon", `invalid argument "soon" for "--ttl"`},
		{"push alice 1 --ttl", "flag needs an argument: --ttl"},
		{"push alice -1", "unknown shorthand flag: '1' in -1; put -- before an argument that begins with a dash"},
		{"push -x 1", "put -- before"},
		{"push }alice 1", "does not begin with }"},
		{"push alice hi", "push: the data is not JSON: invalid character 'h' looking for beginning of value (byte 1)"},
		{"push alice {\"a\":01}", "(byte 7)"},
		{"push alice [1", "unexpected end of JSON input"},
		{"push alice \"\xff\"", "push: the data is not JSON: it is not valid UTF-8"},
		{"connect", "pushpod connect: USER is missing"},
		{"presence", "pushpod presence: USER is missing"},
		{"presence a b", `pushpod presence: unexpected argument "b"`},
		{"presence " + strings.Repeat("x", 257), "a user id has 1 to 256 bytes"},
		{"presence -x", "put -- before"},
		{"pods x", `pushpod pods: unexpected argument "x"`},
		{"pods --json=maybe", `invalid argument "maybe" for "--json"`},
		{"functions", "pushpod functions: a command is missing; there are: load"},
		{"functions unload", `pushpod functions: unknown command "unload"; there are: load`},
		{"functions load x", "unexpected argument"},
		{"config", "a command is missing; there are: check diff reference schema"},
		{"config chekc", `unknown command "chekc"`},
		{"config check", "pushpod config check: FILE is missing"},
		{"config check a b", "unexpected argument"},
		{"config reference x", "unexpected argument"},
		{"version x", "unexpected argument"},
		{"version --bogus", "unknown flag: --bogus"},
		{"pods --redis.db minus", `config: redis.db: "minus" (--redis.db)`},
		{"pods --redis.prefix {", "config: redis.prefix"},
		{"pods --config /nonexistent/pushpod.yaml", "/nonexistent/pushpod.yaml"},
	}
	for _, c := range cases {
		run(t, environ, strings.Split(c.args, " ")...).want(t, c.args, 2, "", c.stderr)
	}
	run(t, environ, "push", "", "1").want(t, "empty user", 2, "", "a user id has 1 to 256 bytes")
	run(t, environ, "config", "check", "").want(t, "empty file", 2, "", "FILE is empty")
	run(t, []string{"PUSHPOD_REDIS_DB=x"}, "pods").want(t, "bad variable", 2, "", "config: redis.db")
}

func TestARedisThatIsAwayEndsWith1(t *testing.T) {
	environ := []string{"PUSHPOD_REDIS_ADDRESSES=127.0.0.1:1"}
	run(t, environ, "push", "alice", "1").want(t, "push", 1, "", "push: nothing was published: dial tcp 127.0.0.1:1")
	run(t, environ, "presence", "alice").want(t, "presence", 1, "", "dial tcp 127.0.0.1:1")
	run(t, environ, "pods").want(t, "pods", 1, "", "dial tcp 127.0.0.1:1")
	run(t, environ, "functions", "load").want(t, "functions load", 1, "", "dial tcp 127.0.0.1:1")
	run(t, environ, "push", "alice", "1", "--json").want(t, "push --json", 1, "", "dial tcp 127.0.0.1:1")
	run(t, []string{"PUSHPOD_REDIS_EMBEDDED_LISTEN=127.0.0.1:1"}, "push", "alice", "1").
		want(t, "push to an embedded one", 1, "", "no redis.addresses is given, so the embedded Redis of a pod on this machine was tried")
}

func TestARedisThatDoesNotAnswerIsSaidSo(t *testing.T) {
	s := redistest.Start(t)
	s.Pause()
	defer s.Resume()
	args := []string{"push", "alice", "1", "--redis.timeout", "200ms"}
	run(t, at(s), args...).want(t, "push", 1, "", "push: it is not known whether it was published: ")
}

func TestRedisIsFoundAsAPodFindsIt(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	other := redistest.Start(t)
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: "secret", DB: 3, Protocol: 2})
	defer c.Close()
	if err := c.HSet(t.Context(), "my:user:{alice}", uuid1, "my:pod:a").Err(); err != nil {
		t.Fatal(err)
	}
	sub := c.Subscribe(t.Context(), "my:pod:a")
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}

	file := filepath.Join(t.TempDir(), "pushpod.yaml")
	// The pod's own address cannot be known here, and need not be.
	yaml := "listen: 0.0.0.0:8080\nauth: {insecure: true}\nredis: {addresses: [\"%s\"], password: secret, db: 3, prefix: \"my:\"}\n"
	if err := os.WriteFile(file, fmt.Appendf(nil, yaml, s.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	push := []string{"push", "alice", "1"}
	run(t, nil, append(push, "--config", file)...).want(t, "by file", 0, "1\n", "")
	run(t, []string{
		"PUSHPOD_REDIS_ADDRESSES=" + s.Addr(), "PUSHPOD_REDIS_PASSWORD=secret", "PUSHPOD_REDIS_DB=3", "PUSHPOD_REDIS_PREFIX=my:",
		"HOME=/root", "POD_IP=10.0.0.1",
	}, push...).want(t, "by environment", 0, "1\n", "")
	run(t, []string{"PUSHPOD_REDIS_PASSWORD=secret"}, append(push, "--redis.addresses", s.Addr(), "--redis.db", "3", "--redis.prefix", "my:")...).
		want(t, "by flags", 0, "1\n", "")
	run(t, nil, append(push, "--redis.addresses", s.Addr(), "--redis.password", "secret")...).want(t, "a secret by a flag", 2, "", "PUSHPOD_REDIS_PASSWORD")
	run(t, at(other), append(push, "--config", file)...).want(t, "the environment wins over the file", 0, "0\n", "")
	run(t, at(other), append(push, "--config", file, "--redis.addresses", s.Addr())...).want(t, "flags win over both", 0, "1\n", "")
	wrong := []string{"PUSHPOD_REDIS_PASSWORD=a wrong one"}
	run(t, wrong, append(push, "--config", file)...).want(t, "wrong password", 1, "", "WRONGPASS")
	if r := run(t, wrong, append(push, "--config", file)...); strings.Contains(r.stderr, "secret") || strings.Contains(r.stderr, "a wrong one") {
		t.Errorf("the password is told: %s", r.stderr)
	}

	run(t, []string{"PUSHPOD_REDIS_EMBEDDED_LISTEN=" + other.Addr()}, push...).want(t, "an embedded one", 0, "0\n", "")
}

func TestVersion(t *testing.T) {
	r := run(t, nil, "version")
	if r.code != 0 || !strings.HasPrefix(r.stdout, "pushpod 1.2.3 (go1.") || strings.Count(r.stdout, "\n") != 1 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	r = run(t, nil, "version", "--json")
	if r.code != 0 || !strings.HasPrefix(r.stdout, `{"version":"1.2.3","go":"go1.`) || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

func TestHelpGoesToStdout(t *testing.T) {
	for _, args := range [][]string{{"push", "--help"}, {"pods", "-h"}, {"help", "presence"}, {"config", "check", "--help"}, {"functions", "--help"}} {
		r := run(t, nil, args...)
		if r.code != 0 || !strings.Contains(r.stdout, "Usage:") || r.stderr != "" {
			t.Errorf("%v: %+v", args, r)
		}
		if strings.Contains(r.stdout, "--conn.") || strings.Contains(r.stdout, "--pod.address") {
			t.Errorf("%v offers what has no use there: %s", args, r.stdout)
		}
	}
}

// TestRunningTwiceIsIndependent guards against flags that live on.
func TestRunningTwiceIsIndependent(t *testing.T) {
	s := redistest.Start(t)
	run(t, at(s), "push", "alice", "1", "--json", "--id", "x").want(t, "first", 0, "{\"addressed\":0}\n", "")
	run(t, at(s), "push", "alice", "1").want(t, "second", 0, "0\n", "")
}
