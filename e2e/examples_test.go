package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// An example is one of the programs in examples/, as its README runs it in the project's directory.
type example struct {
	name    string
	command []string
	needs   string // says what is missing where it can't run
	lacks   func() bool
}

// examples returns the producers.
func examples(t *testing.T) []example {
	return []example{
		{"redis-cli", []string{"examples/redis-cli/producer.sh"}, "bash", func() bool { return lacks("bash", "--version") }},
		{"python", []string{"/usr/bin/python3", "examples/python/producer.py"}, "Debian's python3-redis", func() bool { return lacks("/usr/bin/python3", "-c", "import redis") }},
		{"node, redis", []string{"node", "examples/node/producer-redis.mjs"}, nodeNeeds, lacksNode},
		{"node, ioredis", []string{"node", "examples/node/producer-ioredis.mjs"}, nodeNeeds, lacksNode},
		{"php", []string{"php", "examples/php/producer.php"}, phpNeeds, lacksPHP},
		{"go", []string{buildExample(t)}, "", func() bool { return false }}, // in place of go run, once
	}
}

const (
	nodeNeeds = "node and npm ci --prefix examples/node"
	phpNeeds  = "Debian's php-cli and php-redis"
)

func lacksNode() bool {
	return lacks("node", "--version") || isAbsent("examples/node/node_modules/ioredis")
}

func lacksPHP() bool { return lacks("php", "-r", "new Redis();") }

// lacks reports whether a command that must succeed fails.
func lacks(name string, args ...string) bool { return exec.Command(name, args...).Run() != nil }

func isAbsent(path string) bool {
	_, err := os.Stat(filepath.Join(moduleRoot(), path))
	return err != nil
}

func buildExample(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "producer")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "./examples/go")
	cmd.Dir, cmd.Env = moduleRoot(), append(os.Environ(), "CGO_ENABLED=0") // what it needs is compiled for the program
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build examples/go: %v\n%s", err, out)
	}
	return path
}

// run runs the example as one of Redis's users.
func (e example) run(t *testing.T, r *redistest.Server, user, stdin string, args ...string) result {
	t.Helper()
	where := url.URL{Scheme: "redis", Host: r.Addr(), User: url.UserPassword(user, passwordOf(user))}
	return e.runAt(t, where, stdin, args...)
}

// runAt runs the example with a Redis at that URL.
func (e example) runAt(t *testing.T, where url.URL, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.command[0], append(append([]string{}, e.command[1:]...), args...)...)
	cmd.Dir, cmd.Env, cmd.Stdin = moduleRoot(), cleanEnv("REDIS_URL="+where.String()), strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// wants runs the example as a producer and checks what it prints.
func (e example) wants(t *testing.T, r *redistest.Server, want string, args ...string) {
	t.Helper()
	got := e.run(t, r, producer, "", args...)
	if got.status != 0 || got.stdout != want+"\n" || got.stderr != "" {
		t.Fatalf("%s %q: exit %d, stdout %q, stderr %q; want %q", e.name, args, got.status, got.stdout, got.stderr, want)
	}
}

// refuses runs the example and checks that it fails for that reason.
func (e example) refuses(t *testing.T, r *redistest.Server, why string, args ...string) {
	t.Helper()
	got := e.run(t, r, producer, "", args...)
	if got.status != 1 || got.stdout != "" || !strings.Contains(got.stderr, why) {
		t.Errorf("%s %q: exit %d, stdout %q, stderr %q; want exit 1 and %q", e.name, args, got.status, got.stdout, got.stderr, why)
	}
}

func TestProducersInOtherLanguages(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	pods := []*pod{startPod(t, r, patient()), startPod(t, r, patient())}
	for _, e := range examples(t) {
		t.Run(e.name, func(t *testing.T) {
			if e.lacks() {
				t.Skipf("it needs %s: scripts/install-test-tools.sh installs it", e.needs)
			}
			e.test(t, r, pods)
		})
	}
}

func (e example) test(t *testing.T, r *redistest.Server, pods []*pod) {
	const hostile = `eve "\ ü`
	alice := []*client{dial(t, pods[0], "alice"), dial(t, pods[1], "alice")}
	eve := dial(t, pods[0], hostile)

	e.wants(t, r, "2", "online", "alice")

	const data = `{"text":"hi, \u00fc", "n":1.0}` // byte for byte
	e.wants(t, r, "2", "push", "alice", data)
	e.wants(t, r, "2", "push", "alice", data, "id", "m 1", "ttl", "60000")
	e.wants(t, r, "1", "push", hostile, data)
	for _, c := range alice {
		c.wantMessage("push", data)
		if m := c.wantMessage("push with an id", data); deref(m.ID) != "m 1" {
			t.Errorf("the id is %q", deref(m.ID))
		}
	}
	eve.wantMessage("push to an id with quotes", data)
	e.refuses(t, r, "ttl", "push", "alice", data, "ttl", "0")

	users := []string{"alice", hostile}
	for i := len(users); i < 1000; i++ {
		users = append(users, fmt.Sprint("nobody-", i))
	}
	// Lines between the parts of JSON, and a last line without its end, are no special case.
	const lines = "{\"many\":\n\t[1,\r\n2]}"
	got := e.run(t, r, producer, strings.Join(users[1:], "\n")+"\n"+users[0], "many", lines, "id", "many", "ttl", "60000")
	if got.status != 0 || got.stdout != "2 of 1000 users\n" || got.stderr != "" {
		t.Errorf("many: exit %d, stdout %q, stderr %.300q", got.status, got.stdout, got.stderr)
	}
	// What is wrong with one user is no other's matter.
	r.CLI("SET", userKey("broken"), "no hash")
	defer r.CLI("DEL", userKey("broken"))
	got = e.run(t, r, producer, "broken\nalice\n", "many", data, "id", "many-2")
	if got.status != 0 || got.stdout != "1 of 2 users\n" || !strings.Contains(got.stderr, "WRONGTYPE") {
		t.Errorf("many with a bad one: exit %d, stdout %q, stderr %.300q", got.status, got.stdout, got.stderr)
	}
	e.wants(t, r, "2", "all", `"maintenance"`)
	for _, c := range append(alice, eve) {
		c.wantMessage("many", lines)
		if c != eve {
			c.wantMessage("many with a bad one", data)
		}
		c.wantMessage("to all", `"maintenance"`)
	}

	// A push whose answer is lost may have been made: nobody but the caller may repeat it.
	for why, redis := range map[string]string{"the answer is lost": loseAnswerTo(t, r.Addr(), "EVAL"), "Redis is away": freeAddr(t)} {
		where := url.URL{Scheme: "redis", Host: redis, User: url.UserPassword(producer, passwordOf(producer))}
		if got := e.runAt(t, where, "", "push", "alice", `"once"`); got.status != 1 || got.stdout != "" || got.stderr == "" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", why, got.status, got.stdout, got.stderr)
		}
	}
	for _, c := range alice {
		c.wantMessage("a push whose answer is lost", `"once"`) // and no second one: a close comes next
	}

	// Blocks are no producer's to write: nothing happens.
	e.refuses(t, r, "permissions", "logout", "alice", "60")
	e.wants(t, r, "2", "logout", "alice")
	for _, c := range alice {
		if f := c.wantClose("logged out", 4500); f.reason != "logged out" {
			t.Errorf("the reason is %q", f.reason)
		}
	}
	eventually(t, "nothing is left of her", settle, func() (bool, any) {
		left := entriesOf(t, r.Client(), "alice")
		return len(left) == 0, left
	})
	// Neither a block for ever nor none.
	got = e.run(t, r, operator, "", "logout", "alice", "0")
	if got.status != 1 || got.stdout != "" || got.stderr == "" || r.CLI("EXISTS", "push:block:{alice}") != "0" {
		t.Errorf("logout for 0 seconds: exit %d, stdout %q, stderr %q", got.status, got.stdout, got.stderr)
	}
	back := dial(t, pods[0], "alice")
	if got := e.run(t, r, operator, "", "logout", "alice", "60"); got.status != 0 || got.stdout != "1\n" {
		t.Errorf("logout by an operator: exit %d, stdout %q, stderr %q", got.status, got.stdout, got.stderr)
	}
	back.wantClose("logged out and blocked", 4500)
	if _, refused, err := tryDial(t, pods[1].listen, "alice"); err != nil || refused == nil || refused.status != 403 {
		t.Errorf("a blocked user is answered %+v, %v", refused, err)
	}
	if ttl := r.CLI("TTL", "push:block:{alice}"); ttl == "-1" || ttl == "-2" {
		t.Errorf("the block ends in %s", ttl)
	}
	r.CLI("DEL", "push:block:{alice}")

	// Nobody else was disturbed, and nothing came that was not asked for.
	e.wants(t, r, "1", "logout", hostile)
	eve.wantClose("logged out", 4500)
}

// loseAnswerTo returns an address that leads to target. The first connection on which that word is sent is
// cut before the answer.
func loseAnswerTo(t *testing.T, target, word string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var lost atomic.Bool
	t.Cleanup(func() { listener.Close(); running.Wait() })
	serve := func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer server.Close()
		var loses atomic.Bool
		running.Go(func() {
			defer client.Close()
			answers := make([]byte, 32<<10)
			for {
				n, err := server.Read(answers)
				if err != nil || loses.Load() {
					return
				}
				_, _ = client.Write(answers[:n])
			}
		})
		requests := make([]byte, 32<<10)
		for {
			n, err := client.Read(requests)
			if err != nil {
				return
			}
			if bytes.Contains(bytes.ToUpper(requests[:n]), []byte(word)) && lost.CompareAndSwap(false, true) {
				loses.Store(true)
			}
			_, _ = server.Write(requests[:n])
		}
	}
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(client) })
		}
	})
	return listener.Addr().String()
}

// A client library that puts a prefix before keys finds nobody, but by the recipes.
func TestClientsThatPrefixKeysHaveTheirRecipe(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, patient())
	recipes := []example{
		{"ioredis", []string{"node", "examples/node/keyprefix-ioredis.mjs"}, nodeNeeds, lacksNode},
		{"phpredis", []string{"php", "examples/php/prefix.php"}, phpNeeds, lacksPHP},
	}
	for i, ways := range []int{2, 3} {
		e := recipes[i]
		t.Run(e.name, func(t *testing.T) {
			if e.lacks() {
				t.Skipf("it needs %s: scripts/install-test-tools.sh installs it", e.needs)
			}
			c := dial(t, p, e.name)
			e.wants(t, r, strings.TrimSpace(strings.Repeat("1\n", ways)), e.name, `"hi"`)
			for range ways {
				c.wantMessage("push by a recipe", `"hi"`)
			}
			c.wantNothing("no more than that", 200*time.Millisecond)
		})
	}
}
