package scripts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// script returns a shell script's path as seen from another directory.
func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// environ is what the scripts need to find the server.
func (s server) environ(t *testing.T) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + os.Getenv("PATH"), "REDIS_HOST=" + host, "REDIS_PORT=" + port}
}

// run runs a command in dir and returns its exit status and output.
func run(t *testing.T, dir string, environ []string, path string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environ, &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// shell is push.sh as a way to push, run in an empty directory that must stay
// empty.
func (s server) shell(t *testing.T, dir string) way {
	t.Helper()
	path, environ := script(t, "push.sh"), s.environ(t)
	return way{"push.sh", func(key string, args ...string) (int64, error) {
		user := strings.TrimSuffix(strings.TrimPrefix(key, "push:user:{"), "}")
		status, stdout, stderr := run(t, dir, environ, path, append([]string{user}, args...)...)
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("%q left %v behind: %v", user, entries, err)
		}
		if status != 0 {
			if stdout != "" || status != 1 {
				t.Errorf("%q: status %d, stdout %q", user, status, stdout)
			}
			return 0, errors.New(stderr)
		}
		if stderr != "" {
			t.Errorf("%q: stderr %q", user, stderr)
		}
		return strconv.ParseInt(strings.TrimSuffix(stdout, "\n"), 10, 64)
	}}
}

func TestPushShellPassesDataOnAsGiven(t *testing.T) {
	for _, s := range servers(t) {
		t.Run(s.name, func(t *testing.T) {
			uuid := s.connect(t, "alice", "push:pod:a", 1)[0]
			l := s.listen(t, "push:pod:a")
			push := s.shell(t, t.TempDir()).push
			for _, data := range []string{
				"1", "-1", "-0", `"-h"`, "{\n\t\"a\": [1,\n2]\n}\n", "\n\n1\n\n", `"$(touch pwned) ` + "`touch pwned`" + ` ${HOME} * ' \" \\ \n %s"`, "  {}  ",
				"\"\u00e9\u2028😀\"", `"` + strings.Repeat("x", 65534) + `"`,
			} {
				if n, err := push(key("alice"), data); err != nil || n != 1 {
					t.Errorf("%.60q: %d: %v", data, n, err)
					continue
				}
				want := fmt.Sprintf(`push:pod:a {"to":"%s","of":"alice","at":AT,"data":%s}`, uuid, data)
				if got := timeless(t, l.next()); got != want {
					t.Errorf("%.200q, want %.200q", got, want)
				}
			}
			for _, data := range []string{"", ",", "hi", "-h", "--help", "*", "$(echo 1)", `"` + strings.Repeat("x", 65535) + `"`} {
				if n, err := push(key("alice"), data); err == nil || !strings.Contains(err.Error(), "push.sh: ERR pushpod: the data ") {
					t.Errorf("%.60q: %d: %v", data, n, err)
				}
				l.wantNothing(data, "push:pod:a")
			}
		})
	}
}

func TestPushShellEndsWithTheRightStatus(t *testing.T) {
	s := servers(t)[0]
	s.connect(t, "alice", "push:pod:a", 2)
	s.listen(t, "push:pod:a")
	if err := s.client.HSet(t.Context(), "x-user:{alice}", "x", "push:pod:a").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.client.Do(t.Context(), "SELECT", 0).Err(); err != nil {
		t.Fatal(err)
	}
	environ := s.environ(t)
	copied := t.TempDir()
	source, err := os.ReadFile("push.sh")
	if err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(copied, "push.sh")
	if err := os.WriteFile(alone, source, 0o755); err != nil {
		t.Fatal(err)
	}
	path := script(t, "push.sh")
	cases := []struct {
		name, path     string
		environ, args  []string
		status         int
		stdout, stderr string
	}{
		{"pushed", path, environ, []string{"alice", "1"}, 0, "2\n", ""},
		{"nobody there", path, environ, []string{"bob", "1"}, 0, "0\n", ""},
		{"with pairs", path, environ, []string{"alice", "1", "id", "a b", "ttl", "9"}, 0, "2\n", ""},
		{"another prefix", path, append(environ, "PUSHPOD_PREFIX=x-"), []string{"alice", "1"}, 0, "1\n", ""},
		{"the server's prefix", path, append(environ, "PUSHPOD_REDIS_PREFIX=x-"), []string{"alice", "1"}, 0, "1\n", ""},
		{"no prefix", path, append(environ, "PUSHPOD_PREFIX="), []string{"alice", "1"}, 0, "0\n", ""},
		{"prefix with a space", path, append(environ, "PUSHPOD_PREFIX=a b *:"), []string{"alice", "1"}, 0, "0\n", ""},
		{"arguments for redis-cli", path, append(environ, "REDIS_ARGS=-n 1 --no-auth-warning"), []string{"alice", "1"}, 0, "0\n", ""},
		{"nothing", path, environ, nil, 2, "", "usage: "},
		{"no data", path, environ, []string{"alice"}, 2, "", "usage: "},
		{"half a pair", path, environ, []string{"alice", "1", "id"}, 2, "", "NAME VALUE"},
		{"not JSON", path, environ, []string{"alice", "hi"}, 1, "", "push.sh: ERR pushpod: the data is not JSON: Expected value but found invalid token at character 1"},
		{"unknown name", path, environ, []string{"alice", "1", "a\nb", "2"}, 1, "", "unknown name 'a?b'"},
		{"-e for redis-cli", path, append(environ, "REDIS_ARGS=-e"), []string{"alice", "hi"}, 1, "", "the data is not JSON"},
		{"no Redis", path, append(environ, "REDIS_PORT=1"), []string{"alice", "1"}, 1, "", "push.sh: redis-cli ended with status 1"},
		{"no redis-cli", path, append(environ, "REDIS_CLI=/nonexistent"), []string{"alice", "1"}, 1, "", "push.sh: /nonexistent ended with status 127"},
		{"no push.lua beside it", alone, environ, []string{"alice", "1"}, 1, "", "push.lua must be in the same directory"},
	}
	for _, c := range cases {
		status, stdout, stderr := run(t, t.TempDir(), c.environ, c.path, c.args...)
		if status != c.status || stdout != c.stdout || !strings.Contains(stderr, c.stderr) || (c.stderr == "") != (stderr == "") {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %d, %q, %q", c.name, status, stdout, stderr, c.status, c.stdout, c.stderr)
		}
	}
}

// What pods are told of Redis holds for the script too.
func TestPushShellFindsRedisAsPodsDo(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a socket")
	certs := redistest.NewCerts(t, "redis.test")
	account := []string{"--user", "default", "off", "--user", "producer", "on", ">the-password", "~*", "&*", "+@all", "--databases", "4"}
	plain := redistest.Start(t, append(account, "--bind", "127.0.0.1", "-::1", "--unixsocket", socket)...)
	secured := redistest.StartTLS(t, certs, append(account, "--tls-auth-clients", "yes")...)
	tls := []string{"ADDRESSES=" + secured.Addr(), "TLS=on", "TLS_CA_FILE=" + certs.CA, "TLS_CERT_FILE=" + certs.Cert, "TLS_KEY_FILE=" + certs.Key, "TLS_SERVER_NAME=redis.test"}
	for name, c := range map[string]struct {
		environ []string
		status  int
		stderr  string
	}{
		"an address":     {[]string{"ADDRESSES=" + plain.Addr() + ",10.0.0.1:1", "DB=3"}, 0, ""},
		"IPv6":           {[]string{fmt.Sprintf("ADDRESSES=[::1]:%d", plain.Port())}, 0, ""},
		"a socket":       {[]string{"ADDRESSES=unix:" + socket}, 0, ""},
		"TLS":            {tls, 0, ""},
		"TLS is missing": {tls[:1], 1, "ended with status"},
		"Sentinels":      {[]string{"ADDRESSES=" + plain.Addr(), "SENTINEL_MASTER=main"}, 2, "pushpod push"},
	} {
		environ := []string{"PATH=" + os.Getenv("PATH"), "PUSHPOD_REDIS_USERNAME=producer", "PUSHPOD_REDIS_PASSWORD=the-password"}
		for _, e := range c.environ {
			environ = append(environ, "PUSHPOD_REDIS_"+e)
		}
		want := "0\n"
		if c.status != 0 {
			want = ""
		}
		status, stdout, stderr := run(t, t.TempDir(), environ, script(t, "push.sh"), "alice", "1")
		if status != c.status || stdout != want || !strings.Contains(stderr, c.stderr) || (c.stderr == "") != (stderr == "") {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %d, %q", name, status, stdout, stderr, c.status, c.stderr)
		}
	}
}

func TestPushShellReportsANamelessRefusal(t *testing.T) {
	s := servers(t)[0]
	if err := s.client.Do(t.Context(), "CONFIG", "SET", "requirepass", "secret").Err(); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := run(t, t.TempDir(), s.environ(t), script(t, "push.sh"), "alice", "1")
	if status != 1 || stdout != "" || !strings.Contains(stderr, "NOAUTH") {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	status, stdout, stderr = run(t, t.TempDir(), append(s.environ(t), "REDISCLI_AUTH=secret"), script(t, "push.sh"), "alice", "1")
	if status != 0 || stdout != "0\n" || stderr != "" {
		t.Errorf("with the password: status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// A backend is echo-backend.sh while it runs.
type backend struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
}

// startBackend returns once it reads; it is stopped at the test's end.
func (s server) startBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{cmd: exec.Command(script(t, "echo-backend.sh"))}
	b.cmd.Env = s.environ(t)
	b.cmd.Stderr = &b.stderr
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // redis-cli is stopped with the shell
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
		_ = b.cmd.Wait()
		if t.Failed() {
			t.Logf("echo-backend.sh wrote: %s", b.stderr.String())
		}
	})
	line := make([]byte, 100)
	n, err := stdout.Read(line)
	if err != nil || string(line[:n]) != "reading push:uplink\n" {
		t.Fatalf("it said %q: %v", line[:n], err)
	}
	return b
}

func (s server) uplink(t *testing.T, values ...any) {
	t.Helper()
	if err := s.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "push:uplink", Values: values}).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestEchoBackendAnswersEachRequest(t *testing.T) {
	for _, s := range servers(t) {
		t.Run(s.name, func(t *testing.T) {
			s.uplink(t, "user", "old", "id", "0", "data", "0")
			for _, user := range append(hostileUsers(), "old", "alice") {
				s.connect(t, user, "push:pod:a", 2)
			}
			l := s.listen(t, "push:pod:a", "push:all")
			s.startBackend(t)

			s.uplink(t, "user", "alice", "uuid", "u", "pod", "push:pod:a", "id", "1", "data", "{\"text\":\n\"hé\"}")
			if got, want := l.next(), "push:pod:a {\"user\":\"alice\",\"data\":{\"echo\":{\"text\":\n\"hé\"},\"re\":\"1\"}}"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			l.wantNothing("after the first answer", "push:pod:a")

			// What is not a whole request, or not JSON, is left out, and what comes behind it is not.
			s.uplink(t, "user", "alice", "id", "2")
			s.uplink(t, "user", "alice", "id", "2", "data", `1},"all":true,"x":{"y":1`)
			s.uplink(t, "user", "nobody", "id", "2", "data", "1")
			for i, user := range hostileUsers() {
				s.uplink(t, "user", user, "id", user+`"\`, "data", strconv.Itoa(i))
			}
			for i, user := range hostileUsers() {
				channel, text, _ := strings.Cut(l.next(), " ")
				if err := sameJSON(text, map[string]any{
					"user": user, "data": map[string]any{"echo": float64(i), "re": user + `"\`},
				}); err != nil || channel != "push:pod:a" {
					t.Errorf("%q: on %s: %v", user, channel, err)
				}
			}
			l.wantNothing("after the last answer", "push:pod:a")
		})
	}
}

func TestEchoBackendOutlivesRedis(t *testing.T) {
	s := servers(t)[0]
	s.connect(t, "alice", "push:pod:a", 1)
	l := s.listen(t, "push:pod:a")
	s.startBackend(t)
	if err := s.client.Do(t.Context(), "CONFIG", "SET", "requirepass", "x").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.client.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // it has met NOAUTH by now
	if err := s.client.Do(t.Context(), "CONFIG", "SET", "requirepass", "").Err(); err != nil {
		t.Fatal(err)
	}
	s.uplink(t, "user", "alice", "id", "1", "data", "[]")
	if got, want := l.next(), `push:pod:a {"user":"alice","data":{"echo":[],"re":"1"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
