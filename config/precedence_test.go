package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func flagSet(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	fs.String("config", "", "no key, and none of Load's business")
	AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestFlagsBeforeEnvironmentBeforeFileBeforeDefaults(t *testing.T) {
	file := write(t, "conn:\n  ping: 21s\n  ping_timeout: 6s\n  handshake_timeout: 7s\n")
	c := wantLoaded(t, LoadOptions{
		File:    file,
		Environ: []string{"PUSHPOD_CONN_PING=22s", "PUSHPOD_CONN_PING_TIMEOUT=8s"},
		Flags:   flagSet(t, "--conn.ping", "23s", "--config", file),
	})
	got := []time.Duration{c.Conn.Ping, c.Conn.PingTimeout, c.Conn.HandshakeTimeout, c.Presence.Renew}
	want := []time.Duration{23 * time.Second, 8 * time.Second, 7 * time.Second, 30 * time.Second}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("flag, environment, file, default give %v, want %v", got, want)
	}
}

func TestEveryKeyCanComeFromFileEnvironmentAndFlag(t *testing.T) {
	// What a key needs beside it to be allowed.
	beside := map[string]string{
		"tls.cert_file":      "tls:\n  key_file: x\n  cert_file: ",
		"tls.key_file":       "tls:\n  cert_file: x\n  key_file: ",
		"tls.client_ca_file": "tls:\n  cert_file: x\n  key_file: x\n  client_ca_file: ",
		"admin.tls":          "tls:\n  cert_file: x\n  key_file: x\nadmin:\n  tls: ",
		"redis.username":     "redis:\n  addresses: [a:1]\n  password: x\n  username: ",
		"redis.password":     "redis:\n  addresses: [a:1]\n  password: ",

		"redis.sentinel_master":   "redis:\n  addresses: [a:1]\n  sentinel_master: ",
		"redis.sentinel_username": "redis:\n  addresses: [a:1]\n  sentinel_master: x\n  sentinel_username: ",
		"redis.sentinel_password": "redis:\n  addresses: [a:1]\n  sentinel_master: x\n  sentinel_password: ",
		"redis.tls":               "redis:\n  addresses: [a:1]\n  tls: ",
		"redis.tls_ca_file":       "redis:\n  addresses: [a:1]\n  tls: on\n  tls_ca_file: ",
		"redis.tls_cert_file":     "redis:\n  addresses: [a:1]\n  tls: on\n  tls_key_file: x\n  tls_cert_file: ",
		"redis.tls_key_file":      "redis:\n  addresses: [a:1]\n  tls: on\n  tls_cert_file: x\n  tls_key_file: ",
		"redis.tls_server_name":   "redis:\n  addresses: [a:1]\n  tls: on\n  tls_server_name: ",

		"auth.header":    "auth:\n  mode: header\n  trusted_proxies: [127.0.0.1]\n  header: ",
		"proxy_protocol": "auth:\n  trusted_proxies: [127.0.0.1]\nproxy_protocol: ",
	}
	for _, k := range keys() {
		value := anotherValue(k).(string)
		want := Config{}
		if err := k.set(&want, value); err != nil {
			t.Fatal(err)
		}
		context, fromFile := "", ""
		switch section, leaf := k.section(), k.leaf(); {
		case beside[k.path] != "":
			context, fromFile = beside[k.path]+"unlike\n", beside[k.path]+value+"\n"
		case section == "":
			fromFile = leaf + ": '" + value + "'\n"
		default:
			fromFile = section + ":\n  " + leaf + ": '" + value + "'\n"
		}
		name := k.path
		for source, o := range map[string]LoadOptions{
			"file":        {File: write(t, fromFile)},
			"environment": {File: write(t, context), Environ: []string{k.variable() + "=" + value}},
			"flag":        {File: write(t, context), Flags: flagSet(t, "--"+name+"="+value)},
		} {
			if k.secret && source == "flag" {
				wantOneProblem(t, LoadOptions{Flags: o.Flags}, name+": (hidden) (--"+name+")", "every user of this machine", k.variable(), "--config FILE")
				continue
			}
			got := wantLoaded(t, o)
			// The field of this key, and no other one, is looked at.
			check := got
			if err := k.set(&check, value); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, check) {
				t.Errorf("%s from %s is lost: %+v", name, source, got)
			}
		}
	}
}

func TestEmptyVariableCountsAsAbsent(t *testing.T) {
	c := wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_CONN_PING=", "PUSHPOD_REDIS_PREFIX=", "POD_IP="}})
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("empty variables change the defaults: %+v", c)
	}
}

func TestEmptyFlagIsAValue(t *testing.T) {
	file := write(t, "redis:\n  addresses: ['a:1']\n  prefix: 'x:'\n")
	c := wantLoaded(t, LoadOptions{File: file, Flags: flagSet(t, "--redis.addresses=", "--redis.prefix=")})
	if c.Redis.Addresses != nil || c.Redis.Prefix != "" {
		t.Errorf("flags given as empty leave %q and %q", c.Redis.Addresses, c.Redis.Prefix)
	}
}

func TestOfAVariableGivenTwiceTheFirstCounts(t *testing.T) {
	c := wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_LOG_LEVEL=warn", "PUSHPOD_LOG_LEVEL=error", "noise", "=C:=x"}})
	if c.Log.Level != "warn" {
		t.Errorf("log.level is %s, want warn as for os.Getenv", c.Log.Level)
	}
}

func TestUnknownVariableIsRefused(t *testing.T) {
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_CONN_PNIG=30s", "PUSHPODX=1", "pushpod_listen=1", "HOME=/"}},
		"PUSHPOD_CONN_PNIG", `"30s"`, "did you mean PUSHPOD_CONN_PING?")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN_PORT=8080"}}, "PUSHPOD_LISTEN_PORT", "unknown variable")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_=1"}}, "PUSHPOD_", "unknown variable")
}

// TestVariablesOfTheScriptsAreLeftAlone looks for them, so that it finds the next one.
func TestVariablesOfTheScriptsAreLeftAlone(t *testing.T) {
	scripts, err := filepath.Glob("../scripts/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	var environ []string
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bPUSHPOD_[A-Z0-9_]+`).FindAllString(string(text), -1) {
			isKey := slices.ContainsFunc(keys(), func(k key) bool { return k.variable() == name }) // which pods have too
			if !isKey && !strings.HasPrefix(name, "PUSHPOD_E2E_") {                                // which is for tests, and no pod's
				environ = append(environ, name+"=app:")
			}
		}
	}
	if !slices.Contains(environ, "PUSHPOD_PREFIX=app:") {
		t.Errorf("no PUSHPOD_PREFIX in %q", environ)
	}
	wantLoaded(t, LoadOptions{Environ: environ})
}

func TestVariablesThatKubernetesMakesForAServiceAreLeftAlone(t *testing.T) {
	wantLoaded(t, LoadOptions{Environ: []string{
		"PUSHPOD_SERVICE_HOST=10.0.0.11", "PUSHPOD_SERVICE_PORT=8080", "PUSHPOD_SERVICE_PORT_WS=8080",
		"PUSHPOD_PORT=tcp://10.0.0.11:8080", "PUSHPOD_PORT_8080_TCP=tcp://10.0.0.11:8080",
		"PUSHPOD_PORT_8080_TCP_PROTO=tcp", "PUSHPOD_PORT_8080_TCP_PORT=8080", "PUSHPOD_PORT_8080_TCP_ADDR=10.0.0.11",
		"PUSHPOD_REDIS_SERVICE_HOST=10.0.0.12", "PUSHPOD_REDIS_PORT=tcp://10.0.0.12:6379", "PUSHPOD_REDIS_PORT_6379_TCP_ADDR=10.0.0.12",
	}})
}

func TestFlagsOfOtherTypesAreTakenToo(t *testing.T) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.Duration("conn.ping", 0, "")
	fs.Int("limits.per_user", 0, "")
	fs.Bool("admin.pprof", false, "")
	fs.StringSlice("redis.addresses", nil, "")
	if err := fs.Parse([]string{"--conn.ping=20s", "--limits.per_user=7", "--admin.pprof", "--redis.addresses=a:1"}); err != nil {
		t.Fatal(err)
	}
	c := wantLoaded(t, LoadOptions{Flags: fs})
	if c.Conn.Ping != 20*time.Second || c.Limits.PerUser != 7 || !c.Admin.Pprof || !reflect.DeepEqual(c.Redis.Addresses, []string{"a:1"}) {
		t.Errorf("%+v", c)
	}
}

func TestFlagsAreNamedAndExplainedLikeTheKeys(t *testing.T) {
	fs := flagSet(t)
	for _, k := range keys() {
		flag := fs.Lookup(k.path)
		if flag == nil {
			t.Errorf("no flag --%s", k.path)
			continue
		}
		if flag.Usage == "" || strings.HasSuffix(flag.Usage, ".") || strings.Count(flag.Usage, "(") != strings.Count(flag.Usage, ")") {
			t.Errorf("--%s: usage %q is no sentence without its full stop", k.path, flag.Usage)
		}
	}
	c := wantLoaded(t, LoadOptions{Flags: flagSet(t, "--admin.pprof", "--auth.insecure=off")})
	if !c.Admin.Pprof || c.Auth.Insecure {
		t.Errorf("a switch without a value is not on: %+v, %+v", c.Admin, c.Auth)
	}
	wantOneProblem(t, LoadOptions{Flags: flagSet(t, "--limits.per_user=many")}, "limits.per_user", `"many"`, "--limits.per_user", "whole number")
}
