package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is refused, and how, is tested in config, cli and main_test.go.
func TestBadConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pushpod.yaml")
	if err := os.WriteFile(file, []byte("listen: [::1]:8080\nlog: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve", "--config", file}, {"--config", file}, {"config", "check", file}} {
		r := run(t, []string{"PUSHPOD_PRESENCE_TTL=banana"}, args...)
		if r.status != 2 || r.stdout != "" {
			t.Errorf("%q: exit %d, stdout %q; want exit 2 and reasons on stderr", args, r.status, r.stdout)
		}
		wantLine(t, "a value that needs quotes", r.stderr, "listen", "[::1]:8080", file+":1", "put it in quotes")
		wantLine(t, "the environment", r.stderr, "presence.ttl", "banana", "PUSHPOD_PRESENCE_TTL")
	}
	mustRun(t, nil, "config", "check", filepath.Join(moduleRoot(), "configs", "pushpod.yaml"))
}

func TestFileAndEnvironmentConfigureThePod(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	r.CLI("ACL", "SETUSER", "tenant", "on", "nopass", "~tenant-7:*", "&tenant-7:*", "+@all")
	listen, admin := freeAddr(t), freeAddr(t)
	s := quick().with("listen", listen, "admin.listen", admin, "redis.addresses", r.Addr())
	file := filepath.Join(t.TempDir(), "pushpod.yaml")
	if err := os.WriteFile(file, []byte("redis: {username: tenant, prefix: 'tenant-7:'}\npod:\n  address: pod-a.example:8080\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &pod{
		process: startProcess(t, "pod by file", s.env(), "serve", "--config", file), settings: s, redis: r,
		listen: listen, admin: admin, channel: "tenant-7:pod:pod-a.example:8080",
	}
	p.waitReady()
	c := dial(t, p, "alice")
	for line := range strings.Lines(r.CLI("CLIENT", "LIST")) {
		if !strings.Contains(line, "user=tenant ") && !strings.Contains(line, "cmd=client") {
			t.Errorf("a connection of another user: %s", line)
		}
	}
	got := r.CLI("HGETALL", "tenant-7:user:{alice}")
	if want := c.uuid + "\n" + p.channel; got != want {
		t.Errorf("presence %q, want %q", got, want)
	}
	publish(t, r.Client(), p.channel, to(`1`, c))
	c.wantMessage("on the prefixed channel", `1`)
	publish(t, r.Client(), "tenant-7:all", `{"all":true,"data":2}`)
	c.wantMessage("on the prefixed common channel", `2`)
	if n := r.CLI("--eval", script("push.lua"), "tenant-7:user:{alice}", ",", `3`); n != "1" {
		t.Errorf("push.lua with another prefix returned %s, want 1", n)
	}
	c.wantMessage("by push.lua", `3`)
	if keys := r.CLI("KEYS", "push:*"); keys != "" {
		t.Errorf("keys outside the prefix: %q", keys)
	}
	wantBooks(t, p, books{published: 3, written: 3})
}

func TestCommandsTellOfPodsAndUsers(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	a, b := startPod(t, r, quick()), startPod(t, r, quick())
	one, two := dial(t, a, "alice"), dial(t, b, "alice")
	wantWords := func(user string, words []string, args ...string) {
		t.Helper()
		out := mustRun(t, envOf(r, user), args...)
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("%q: no %s in:\n%s", args, w, out)
			}
		}
	}
	wantWords(operator, []string{a.listen, b.listen}, "pods")
	for _, user := range []string{operator, producer} {
		wantWords(user, []string{one.uuid, two.uuid, a.listen, b.listen}, "presence", "alice", "--json")
	}
	wantWords(producer, []string{"2"}, "push", "alice", `{"n":1}`)
	one.wantMessage("pushpod push", `{"n":1}`)
	two.wantMessage("pushpod push", `{"n":1}`)
}

// cli and main_test.go have the commands' own.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	nobody := []string{"PUSHPOD_REDIS_ADDRESSES=" + freeAddr(t), "PUSHPOD_REDIS_TIMEOUT=1s"}
	for _, test := range []struct {
		args   []string
		env    []string
		status int
	}{
		{[]string{"fly"}, nil, 2},
		{[]string{"push", "alice", "not json"}, cliEnv(r), 2},
		{[]string{"push", "alice", "{}"}, nobody, 1},
	} {
		got := run(t, test.env, test.args...)
		if got.status != test.status || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%q: exit %d, want %d; stdout %q, stderr %q; want one line on stderr", test.args, got.status, test.status, got.stdout, got.stderr)
		}
	}

	// A port that is taken is a failure, not a matter of usage.
	p := startPod(t, r, quick())
	for key, s := range map[string]settings{
		"listen":       quick().with("listen", p.listen, "pod.address", "elsewhere:1"),
		"admin.listen": quick().with("admin.listen", p.admin),
	} {
		second := launchPod(t, r, s)
		second.wantExit("the port is taken", 1, settle)
		wantLine(t, "the port is taken", second.stderr.String(), "address already in use", "--"+key, "key "+key)
	}
	if status, _ := p.readyz(); status != 200 {
		t.Errorf("the first pod is disturbed: readyz %d", status)
	}
}
