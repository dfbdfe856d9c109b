package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// write puts text into a file and returns its path.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pushpod.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantLoaded loads options that must be fine.
func wantLoaded(t *testing.T, o LoadOptions) Config {
	t.Helper()
	c, err := Load(o)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// wantProblems loads options that must not be fine, and returns the problems.
func wantProblems(t *testing.T, o LoadOptions) []Problem {
	t.Helper()
	c, err := Load(o)
	var problems *Problems
	if !errors.As(err, &problems) || len(problems.List) == 0 {
		t.Fatalf("Load gives %+v, %v; want problems", c, err)
	}
	if !reflect.DeepEqual(c, Config{}) {
		t.Errorf("a Config beside problems: %+v", c)
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.HasPrefix(line, "config: ") {
			t.Errorf("line %q does not name the package", line)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(problems.List) {
		t.Errorf("%d lines for %d problems:\n%v", lines, len(problems.List), err)
	}
	return problems.List
}

// wantOneProblem is wantProblems where there must be exactly one, whose line
// holds all of these.
func wantOneProblem(t *testing.T, o LoadOptions, holds ...string) Problem {
	t.Helper()
	problems := wantProblems(t, o)
	if len(problems) != 1 {
		t.Fatalf("%d problems, want 1: %v", len(problems), problems)
	}
	line := problems[0].String()
	for _, text := range holds {
		if !strings.Contains(line, text) {
			t.Errorf("line lacks %q:\n%s", text, line)
		}
	}
	return problems[0]
}

func TestDefaultIsWhatTheContractSays(t *testing.T) {
	want := Config{
		Listen: "127.0.0.1:8080",
		Admin:  Admin{Listen: "127.0.0.1:9090"},
		Pod:    Pod{Address: "127.0.0.1:8080"},
		Auth:   Auth{Mode: "none", RequireExp: true, HookTimeout: 2 * time.Second},
		Redis: Redis{
			EmbeddedListen: "127.0.0.1:6379", Prefix: "push:", MaxEnvelope: 1 << 20,
			Timeout: 3 * time.Second, Probe: 3 * time.Second, PubSub: "plain",
		},
		Presence: Presence{TTL: 90 * time.Second, Renew: 30 * time.Second, Heartbeat: 3 * time.Second, Lease: 10 * time.Second},
		Conn: Conn{
			MaxMessage: 64 << 10, QueueBytes: 256 << 10, SlowConsumer: "disconnect", Ping: 25 * time.Second,
			PingTimeout: 10 * time.Second, HandshakeTimeout: 5 * time.Second, MaxHeader: 16 << 10, IOUring: "auto",
		},
		Limits:   Limits{PerUser: 100, OnExcess: "reject", FramesPerSecond: 50},
		Uplink:   Uplink{MaxLength: 100_000, MaxBytes: 64 * mib},
		Log:      Log{Level: "info", Format: "auto"},
		Shutdown: Shutdown{Drain: 15 * time.Second},
	}
	if got := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("Default:\n got %+v\nwant %+v", got, want)
	}
	if !want.Redis.Embedded() {
		t.Error("no addresses, and no embedded Redis")
	}
}

// TestEveryFieldHasAKey catches a field that the table forgot, and two keys
// that fill the same one.
func TestEveryFieldHasAKey(t *testing.T) {
	var c Config
	filled := map[string]string{}
	for _, k := range keys() {
		before := c
		if err := k.set(&c, anotherValue(k)); err != nil {
			t.Fatalf("%s refuses %v: %v", k.path, anotherValue(k), err)
		}
		changed := changedFields(reflect.ValueOf(before), reflect.ValueOf(c), "")
		if len(changed) != 1 {
			t.Errorf("%s changes the fields %v", k.path, changed)
			continue
		}
		filled[changed[0]] = k.path
	}
	fields := changedFields(reflect.ValueOf(Config{}), reflect.ValueOf(c), "")
	if want := countFields(reflect.TypeFor[Config]()); len(fields) != want || len(filled) != want {
		t.Errorf("the table fills %d fields (%d keys), Config has %d", len(fields), len(filled), want)
	}
}

// anotherValue is an allowed value that is no zero value.
func anotherValue(k key) any {
	switch {
	case k.derived != "":
		return map[string]string{"pod.address": "10.0.3.7:8080", "shutdown.delay": "30s"}[k.path]
	case k.path == "redis.addresses":
		return "10.0.3.1:6379"
	case k.path == "auth.hook_url":
		return "http://hook.internal/may"
	case k.secret && k.section() != "redis":
		return strings.Repeat("other ", 6) + "."
	case k.name == "url":
		return "https://keys.example.com/jwks"
	case k.name == "texts":
		return "other,another"
	case k.name == "origins":
		return "https://*.example.com,null"
	case k.name == "networks":
		return "10.0.0.0/8,::1"
	case k.name == "field":
		return "X-User"
	case k.name == "switch":
		return "on"
	case k.name == "text":
		return "other"
	case k.path == "conn.send_buffer":
		return "32KiB"
	case k.path == "presence.ttl":
		return "2m"
	case k.path == "presence.heartbeat":
		return "4s"
	case k.name == "duration":
		return "30s"
	case k.name == "number":
		return "7"
	}
	return k.preset
}

func changedFields(a, b reflect.Value, path string) []string {
	if a.Kind() != reflect.Struct {
		if reflect.DeepEqual(a.Interface(), b.Interface()) {
			return nil
		}
		return []string{path}
	}
	var changed []string
	for i := range a.NumField() {
		changed = append(changed, changedFields(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name)...)
	}
	return changed
}

func countFields(t reflect.Type) int {
	if t.Kind() != reflect.Struct {
		return 1
	}
	n := 0
	for f := range t.Fields() {
		n += countFields(f.Type)
	}
	return n
}
