package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBadConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	good := quick().with("listen", freeAddr(t), "admin.listen", freeAddr(t))
	for _, test := range []struct {
		name  string
		yaml  string
		env   []string
		words [][]string // of each line that must be there
	}{
		{"an unknown key", good.with("presence.tll", "5s").yaml(), nil, [][]string{{"presence.tll"}}},
		{"an unknown section", good.with("presents.ttl", "5s").yaml(), nil, [][]string{{"presents"}}},
		{"a bad duration", good.with("presence.ttl", "soon").yaml(), nil, [][]string{{"presence.ttl", "soon"}}},
		{"a bad size", good.with("conn.max_message", "-5").yaml(), nil, [][]string{{"conn.max_message", "-5"}}},
		{"a bad choice", good.with("conn.slow_consumer", "wait").yaml(), nil,
			[][]string{{"conn.slow_consumer", "wait", "disconnect", "drop_newest", "drop_oldest"}}},
		{"another bad choice", good.with("limits.on_excess", "x").yaml(), nil, [][]string{{"limits.on_excess", "reject", "close_oldest"}}},
		{"a bad address", good.with("listen", "nowhere").yaml(), nil, [][]string{{"listen", "nowhere"}}},
		{"braces in the prefix", good.with("redis.prefix", "'a{b}:'").yaml(), nil, [][]string{{"redis.prefix", "a{b}:"}}},
		{"a ttl below renewal and pings", good.with("presence.ttl", "3s").yaml(), nil, [][]string{{"presence.ttl", "3s"}}},
		{"several problems", good.with("presence.ttl", "soon", "conn.queue_bytes", "lots", "log.level", "loud").yaml(), nil,
			[][]string{{"presence.ttl", "soon"}, {"conn.queue_bytes", "lots"}, {"log.level", "loud"}}},
		{"not YAML", "listen: [", nil, nil},
		{"a list", "- listen", nil, nil},
		{"the environment", good.yaml(), []string{"PUSHPOD_PRESENCE_TTL=banana"}, [][]string{{"banana"}}},
		{"a public listener without authentication", good.with("listen", "0.0.0.0:0").yaml(), []string{"POD_IP=127.0.0.1"}, [][]string{{"auth"}}},
		{"a public listener without an address", good.with("listen", "0.0.0.0:8080", "auth.insecure", "true").yaml(), nil, [][]string{{"pod.address"}}},
	} {
		file := filepath.Join(t.TempDir(), "pushpod.yaml")
		if err := os.WriteFile(file, []byte(test.yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"serve", "--config", file}, {"--config", file}} {
			r := run(t, test.env, args...)
			if r.status != 2 || r.stdout != "" || r.stderr == "" {
				t.Errorf("%s: %q: exit %d, stdout %q, stderr %q; want exit 2 and reasons on stderr", test.name, args, r.status, r.stdout, r.stderr)
			}
			for _, words := range test.words {
				wantLine(t, test.name, r.stderr, words...)
			}
		}
		if test.env == nil {
			r := run(t, nil, "config", "check", file)
			if r.status != 2 || r.stderr == "" {
				t.Errorf("%s: config check: exit %d, stderr %q; want exit 2 and reasons on stderr", test.name, r.status, r.stderr)
			}
		}
	}
	if r := run(t, nil, "serve", "--config", filepath.Join(t.TempDir(), "missing.yaml")); r.status != 2 || !strings.Contains(r.stderr, "missing.yaml") {
		t.Errorf("a missing file: exit %d, %q; want exit 2 and its name", r.status, r.stderr)
	}
}

func TestConfigCommands(t *testing.T) {
	t.Parallel()
	reference := run(t, nil, "config", "reference")
	if reference.status != 0 || reference.stderr != "" {
		t.Fatalf("config reference: exit %d, stderr %q", reference.status, reference.stderr)
	}
	for _, key := range []string{"listen", "handshake_timeout", "max_envelope", "frames_per_second", "slow_consumer", "lease"} {
		if !strings.Contains(reference.stdout, key+":") {
			t.Errorf("config reference does not name %s", key)
		}
	}
	file := filepath.Join(t.TempDir(), "reference.yaml")
	if err := os.WriteFile(file, []byte(reference.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, nil, "config", "check", file)
	mustRun(t, nil, "config", "check", filepath.Join(moduleRoot(), "configs", "pushpod.yaml"))
	if r := run(t, nil, "config", "check", filepath.Join(t.TempDir(), "missing.yaml")); r.status != 2 {
		t.Errorf("config check of a missing file: exit %d, want 2", r.status)
	}
}

func TestEnvironmentConfiguresThePod(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	listen, admin := freeAddr(t), freeAddr(t)
	s := quick().with("listen", listen, "admin.listen", admin, "redis.addresses", r.Addr(), "redis.prefix", "tenant-7:", "pod.address", "pod-a.example:8080")
	p := &pod{
		process: startProcess(t, "pod by environment", s.env(), "serve"), settings: s, redis: r,
		listen: listen, admin: admin, channel: "tenant-7:pod:pod-a.example:8080",
	}
	p.waitReady()
	c := dial(t, p, "alice")
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
	for name, test := range map[string]struct {
		args  []string
		words []string
	}{
		"pods":     {[]string{"pods"}, []string{a.listen, b.listen}},
		"presence": {[]string{"presence", "alice"}, []string{one.uuid, two.uuid, a.listen, b.listen}},
	} {
		for _, args := range [][]string{test.args, append(test.args, "--json")} {
			out := mustRun(t, cliEnv(r), args...)
			for _, w := range test.words {
				if !strings.Contains(out, w) {
					t.Errorf("%q: no %s in:\n%s", args, w, out)
				}
			}
			if args[len(args)-1] == "--json" && !allJSON(out) {
				t.Errorf("%s: not JSON:\n%s", name, out)
			}
		}
	}
	out := mustRun(t, cliEnv(r), "presence", "nobody", "--json")
	if !allJSON(out) {
		t.Errorf("presence of nobody: %q, want JSON", out)
	}
	out = mustRun(t, cliEnv(r), "push", "alice", `{"n":1}`, "--json")
	if !allJSON(out) || !strings.Contains(out, "2") {
		t.Errorf("push --json: %q, want JSON with the count 2", out)
	}
	one.wantMessage("pushpod push", `{"n":1}`)
	two.wantMessage("pushpod push", `{"n":1}`)
	if out := mustRun(t, nil, "version"); strings.TrimSpace(out) == "" {
		t.Error("version prints nothing")
	}
}

// allJSON reports whether s is one JSON value, or one on each line.
func allJSON(s string) bool {
	if json.Valid([]byte(s)) {
		return true
	}
	for line := range strings.Lines(s) {
		if !json.Valid([]byte(line)) {
			return false
		}
	}
	return s != ""
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	nobody := []string{"PUSHPOD_REDIS_ADDRESSES=" + freeAddr(t), "PUSHPOD_REDIS_TIMEOUT=1s"}
	for _, test := range []struct {
		args   []string
		env    []string
		status []int
	}{
		{[]string{"fly"}, nil, []int{2}},
		{[]string{"push"}, cliEnv(r), []int{2}},
		{[]string{"push", "alice"}, cliEnv(r), []int{2}},
		{[]string{"push", "alice", "not json"}, cliEnv(r), []int{1, 2}},
		{[]string{"push", "alice", "nan"}, cliEnv(r), []int{1, 2}},
		{[]string{"push", "", "{}"}, cliEnv(r), []int{1, 2}},
		{[]string{"push", "}x", "{}"}, cliEnv(r), []int{1, 2}},
		{[]string{"push", "alice", "{}", "--fly"}, cliEnv(r), []int{2}},
		{[]string{"push", "alice", "{}"}, nobody, []int{1}},
		{[]string{"presence"}, cliEnv(r), []int{2}},
		{[]string{"presence", "alice"}, nobody, []int{1}},
		{[]string{"pods", "extra"}, cliEnv(r), []int{2}},
		{[]string{"pods"}, nobody, []int{1}},
		{[]string{"functions", "load"}, nobody, []int{1}},
		{[]string{"config", "check"}, nil, []int{2}},
		{[]string{"serve", "extra"}, nil, []int{2}},
		{[]string{"serve", "--fly"}, nil, []int{2}},
		{[]string{"connect"}, nil, []int{2}},
	} {
		got := run(t, test.env, test.args...)
		known := false
		for _, s := range test.status {
			known = known || got.status == s
		}
		if !known {
			t.Errorf("%q: exit %d, want %v; stderr %q", test.args, got.status, test.status, got.stderr)
		}
		if got.stdout != "" || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%q: stdout %q, stderr %q; want one line on stderr", test.args, got.stdout, got.stderr)
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
