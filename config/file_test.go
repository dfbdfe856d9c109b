package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEmptyFileIsFine(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "blanks": " \n\n", "comments": "# listen: x\n  # y\n", "null": "~\n", "a document of nothing": "---\n",
		"a section of comments": "redis:\n  # prefix: x\nconn:\n", "byte order mark": "\ufeff", "directive": "%YAML 1.1\n---\n# x\n", "closed": "---\n...\n",
	} {
		if c := wantLoaded(t, LoadOptions{File: write(t, text)}); !reflect.DeepEqual(c, Default()) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestFileThatCannotBeReadIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	wantOneProblem(t, LoadOptions{File: missing}, missing, "no such file")
	if _, err := Load(LoadOptions{File: missing}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	wantOneProblem(t, LoadOptions{File: t.TempDir()}, "is a directory")
}

func TestMissingFileDoesNotHideWhatElseIsWrong(t *testing.T) {
	problems := wantProblems(t, LoadOptions{File: "/nowhere", Environ: []string{"PUSHPOD_LISTEN=x"}})
	if len(problems) != 2 || problems[1].Key != "listen" {
		t.Errorf("%v", problems)
	}
}

func TestMalformedYAMLIsToldWithItsLine(t *testing.T) {
	for name, c := range map[string]struct{ text, holds string }{
		"colon":           {"listen: a\nadmin: b: c\n", "line 2"},
		"tab":             {"admin:\n\tpprof: on\n", "line 2"},
		"quote":           {"listen: 127.0.0.1:1\nredis:\n  prefix: \"x\n", "line 3"},
		"half-written":    {"listen: 127.0.0.1:1\nredis: {prefix: x", "malformed YAML: line"},
		"doubled key":     {"listen: 127.0.0.1:1\n\nlisten: 127.0.0.1:2\n", "listen (FILE:3): stands twice, before in line 1"},
		"doubled below":   {"conn:\n  ping: 20s\n  ping: 21s\n", "conn.ping (FILE:3): stands twice, before in line 2"},
		"doubled section": {"conn:\n  ping: 20s\nconn:\n  max_age: off\n", "conn (FILE:3): stands twice, before in line 1"},
		"list":            {"- listen\n", "holds no keys"},
		"scalar":          {"hello\n", "holds no keys"},
		"two documents":   {"listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2\n", "line 2: a second document"},
		"after the end":   {"listen: 127.0.0.1:1\n...\n# comment\nlog: {}\n", "malformed YAML: line 3"},
		"NUL":             {"listen: \x00\n", "control characters"},
		"no UTF-8":        {"listen: \xff\xfe\xfd\n", "malformed YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, c.text)
			wantOneProblem(t, LoadOptions{File: file}, file, strings.ReplaceAll(c.holds, "FILE", file))
		})
	}
}

func TestEveryDoubledKeyIsTold(t *testing.T) {
	problems := wantProblems(t, LoadOptions{File: write(t, "listen: a:1\nlog: {}\nlisten: b:1\nlog: {}\nlisten: c:1\nauth: {insecure: on}\npod: {address: a:1}\n")})
	if len(problems) != 3 {
		t.Errorf("%d problems, want 3: %v", len(problems), problems)
	}
}

func TestValuesThatNeedQuotesAreNamedWithTheirLine(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string // key and line
	}{
		"an IPv6 address":   {"# clients\nlisten: [::1]:8080\n", []string{"listen:2"}},
		"a colon":           {"redis:\n  prefix: push: # as ever\n  db: 1\n", []string{"redis.prefix:2"}},
		"a list":            {"redis:\n  addresses: [[::1]:6379]\n", []string{"redis.addresses:2"}},
		"a list in lines":   {"redis:\n  db: 1\n  addresses:\n    - [::1]:6379\n", []string{"redis.addresses:4"}},
		"several":           {"listen: [::1]:8080\r\nadmin:\r\n  listen: [::1]:9090\r\nredis:\r\n  prefix: push:\r\n", []string{"listen:1", "admin.listen:3", "redis.prefix:5"}},
		"of other meanings": {"redis:\n  username: @app\n  prefix: {p}:\n  password: *topsecret\n", []string{"redis.username:2", "redis.password:4", "redis.prefix:3"}},
		"beside good lists": {"redis:\n  addresses: [a:1,\n    ]\n  prefix: push:\n", []string{"redis.prefix:4"}},
	} {
		file := write(t, c.text)
		var got []string
		for _, p := range wantProblems(t, LoadOptions{File: file}) {
			got = append(got, p.Key+strings.TrimPrefix(p.Source, file))
			if line := p.String(); !strings.Contains(line, "put it in quotes") || strings.Contains(line, "topsecret") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: problems of %q, want %q", name, got, c.want)
		}
	}
}

func TestUnknownKeyIsRefusedWithWhatWasMeant(t *testing.T) {
	for text, holds := range map[string][]string{
		"lisen: x":                   {"lisen", `"x"`, "did you mean listen?"},
		"Listen: x":                  {"Listen", "did you mean listen?"},
		"redis: {adresses: [a:1]}":   {"redis.adresses", `["a:1"]`, "did you mean redis.addresses?"},
		"conn: {ping-timeout: 5s}":   {"conn.ping-timeout", "did you mean conn.ping_timeout?"},
		"conn: {PING: 5s}":           {"conn.PING", "did you mean conn.ping?"},
		"conn: {wobble: 5}":          {"conn.wobble: 5 ", "unknown key", "under conn: max_message, queue_bytes"},
		"prefix: x":                  {"did you mean redis.prefix?"},
		"conn: {per_user: 3}":        {"did you mean limits.per_user?"},
		"presense: {ttl: 5s}":        {"presense", "(a section)", "unknown key", "allowed: listen, proxy_protocol, tls, admin, pod"},
		"redis.prefix: x":            {"redis.prefix", "written in one piece", "prefix on a line of its own, indented, below redis:"},
		"redis: {prefix.x: 1}":       {"redis.prefix.x", "unknown key"},
		"1: x":                       {"1", "unknown key"},
		"redis: {2: x}":              {"redis.2", "unknown key"},
		"'': x":                      {`""`, "unknown key"},
		"'': {listen: x}":            {`""`, "unknown key"},
		"\"a\\nb\": x":               {`"a\nb"`, "unknown key"},
		"jwt: {x: 1}":                {"jwt", "unknown key"},
		"auth: {jwt_secret: topsec}": {"auth.jwt_secret", "(hidden)", "unknown key"},
	} {
		t.Run(text, func(t *testing.T) { wantOneProblem(t, LoadOptions{File: write(t, text)}, holds...) })
	}
}

func TestNullIsNoValue(t *testing.T) {
	wantOneProblem(t, LoadOptions{File: write(t, "listen:\n")}, "listen: null", "has no value", "host:port")
	wantOneProblem(t, LoadOptions{File: write(t, "redis:\n  prefix: ~\n")}, "redis.prefix: null", "has no value")
	wantOneProblem(t, LoadOptions{File: write(t, "listen:\n"), Environ: []string{"PUSHPOD_LISTEN=127.0.0.1:1"}}, "listen: null")
}

func TestSectionMustBeOne(t *testing.T) {
	wantOneProblem(t, LoadOptions{File: write(t, "log: info\n")}, `log: "info"`, "is a section", "level, format")
	wantOneProblem(t, LoadOptions{File: write(t, "log: [level]\n")}, "log", "is a section")
	wantOneProblem(t, LoadOptions{File: write(t, "listen: {host: x}\n")}, "listen: (a section)", "host:port")
}

func TestOtherSpellingsOfAValueAreTaken(t *testing.T) {
	c := wantLoaded(t, LoadOptions{File: write(t, `
redis: {addresses: "10.0.3.1:6379", load_functions: on, max_envelope: 2048, db: 3}
conn: {max_age: 0, queue_bytes: 64kib, io_uring: off}
limits: {per_user: 0, frames_per_second: false, per_ip: off}
shutdown: {delay: 0, drain: 1m30s}
admin: {pprof: TRUE}
`)})
	if !reflect.DeepEqual(c.Redis.Addresses, []string{"10.0.3.1:6379"}) || !c.Redis.LoadFunctions || c.Redis.MaxEnvelope != 2048 || c.Redis.DB != 3 ||
		c.Conn.MaxAge != 0 || c.Conn.IOUring != "off" || c.Conn.QueueBytes != 64<<10 || c.Limits.PerUser != 0 || c.Limits.FramesPerSecond != 0 || c.Limits.PerIP != 0 ||
		c.Shutdown.Delay != 0 || c.Shutdown.Drain != 90*time.Second || !c.Admin.Pprof {
		t.Errorf("%+v", c)
	}
}
