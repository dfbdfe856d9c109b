package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// wrong is, for each key, what it must refuse: YAML values.
var wrong = map[string][]string{
	"listen":                       {"8080", "localhost", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:080", "'::1:8080'", "'[localhost]:80'", "'a b:80'", "300.1.1.1:80", "'-a:80'", "on", "[a]", "'[fe80::1%{}]:80'"},
	"admin.listen":                 {"9090", "''", "'http://127.0.0.1:9090'", "'127.0.0.1:9090/'"},
	"tls.cert_file":                {"7", "[a]", `"a\nb"`},
	"tls.key_file":                 {"7", "{}"},
	"tls.client_ca_file":           {"7", "[]"},
	"admin.tls":                    {"1", "'yes'"},
	"admin.token":                  {"topsecret", "'fifteen bytes..'", "[topsecret]", `"` + strings.Repeat("x", 40) + `\n"`, "1234567890123456"},
	"admin.insecure":               {"1", "sure"},
	"admin.pprof":                  {"1", "'yes'", "''", "[]"},
	"pod.address":                  {"pod-1", "''", "10.0.0.1:0", "':8080'", "0.0.0.0:8080", "'[::]:8080'", "'a{b}:80'", "7"},
	"auth.mode":                    {"mtls", "None", "JWT", "''", "false", "[none]"},
	"auth.insecure":                {"2", "sure", "{}"},
	"auth.hmac_secret":             {"topsecret", "1", "[topsecret]", `"` + strings.Repeat("x", 31) + `"`, `"` + strings.Repeat("x", 40) + `\n"`, `"` + strings.Repeat("x", 4097) + `"`},
	"auth.hmac_secret_old":         {"topsecret", "{a: b}"},
	"auth.keys_file":               {"7", "[a]", `"a\nb"`},
	"auth.jwks_url":                {"keys.example.com", "'http://keys.example.com/'", "'https://'", "'file:///etc/keys'", "'http://127.0.0.1.example.com'", "'https://%zz'", "7"},
	"auth.issuer":                  {"7", `"a\nb"`, `"` + strings.Repeat("x", 1025) + `"`},
	"auth.audience":                {"7", "[1]", "'a,'", `["a\tb"]`},
	"auth.leeway":                  {"-1s", "6m", "5", "off"},
	"auth.require_exp":             {"1", "maybe"},
	"auth.cookie":                  {"7", "'a b'", "'a=b'", "'a;b'", "ü"},
	"auth.header":                  {"7", "'a b'", "'X-User:'", "ü", "Cookie", "X-FORWARDED-FOR", "sec-websocket-key", "tls-client-serial", "TLS-Client-CN", "[X-User]"},
	"auth.trusted_proxies":         {"10", "localhost", "10.0.0.1/8", "10.0.0.0/33", "'fe80::1%eth0'", "'::ffff:0.0.0.0/90'", "'10.0.0.1,'", "[1]", "'10.0.0.1:80'", "on"},
	"proxy_protocol":               {"v2", "1", "''"},
	"auth.origins":                 {"'*'", "example.com", "'https://example.com/'", "'https://*:*'", "'https://a@b'", "[null]", "'https://'", "'https://.example.com'", "'https://a,'", "7"},
	"auth.hook_url":                {"hook.example.com", "'ftp://hook.example.com/'", "'https://'", "'http:///may'", "'unix:/run/hook'", "'https://%zz'", "'http://a:b'", "7", "[a]"},
	"auth.hook_timeout":            {"0s", "99ms", "31s", "2", "off"},
	"redis.addresses":              {"6379", "localhost", "[1]", "[[a]]", "'a:1,'", "[':6379']", "'redis://a:1'", "{a: 1}", "a:0", "unix:redis.sock", "'unix:'", "'a:1,unix:/s'", "['unix:/s', 'unix:/t']", "::1:6379", "'unix:/" + strings.Repeat("x", 107) + "'"},
	"redis.embedded_listen":        {"6379", "'x:y'"},
	"redis.sentinel_master":        {"1", `"a\nb"`, "[a]"},
	"redis.sentinel_username":      {"1", `"a\nb"`},
	"redis.sentinel_password":      {"31337", `"topsecret\n"`},
	"redis.username":               {"1", `"a\nb"`, "[a]", `"` + strings.Repeat("x", 257) + `"`},
	"redis.password":               {"31337", `"topsecret\n"`, "[topsecret]", "{topsecret: 1}"},
	"redis.db":                     {"-1", "65536", "1.5", "zero", "''", "[]"},
	"redis.tls":                    {"maybe", "1"},
	"redis.tls_ca_file":            {"1", "[a]"},
	"redis.tls_cert_file":          {"1", "[a]"},
	"redis.tls_key_file":           {"1", "[a]"},
	"redis.tls_server_name":        {"1", `"` + strings.Repeat("x", 254) + `"`},
	"redis.prefix":                 {"'a{'", "'}b'", `"a\tb"`, `"` + strings.Repeat("x", 129) + `"`, "7"},
	"redis.max_envelope":           {"1023", "65MiB", "1KB", "-1MiB", "1.5MiB", "MiB", "''", "9223372036854775807GiB"},
	"redis.timeout":                {"0s", "2m", "3", "-3s", "1e3", "''"},
	"redis.probe":                  {"9ms", "61s", "often"},
	"redis.load_functions":         {"auto", "0"},
	"redis.control":                {"auto", "0"},
	"redis.pubsub":                 {"shard", "on"},
	"presence.ttl":                 {"0", "999ms", "25h", "90", "2001-12-14"},
	"presence.renew":               {"50ms", "13h", "off"},
	"presence.heartbeat":           {"1ms", "2m"},
	"presence.lease":               {"1ms", "11m"},
	"conn.max_message":             {"124", "17MiB", "off"},
	"conn.queue_bytes":             {"1023B", "2GiB", "0"},
	"conn.slow_consumer":           {"drop", "DISCONNECT", "off"},
	"conn.send_buffer":             {"4095B", "65MiB", "on", "true"},
	"conn.io_uring":                {"on", "yes", "true"},
	"conn.ping":                    {"0s", "999ms", "61m", "25"},
	"conn.ping_timeout":            {"0s", "11m"},
	"conn.handshake_timeout":       {"0", "6m"},
	"conn.max_header":              {"512B", "2MiB"},
	"conn.max_age":                 {"999ms", "721h", "never", "-1s", "true"},
	"limits.connections":           {"-1", "100000001", "on", "1.0", "18446744073709551615"},
	"limits.per_user":              {"-1", "1000001", "none"},
	"limits.on_excess":             {"close", "off"},
	"limits.per_ip":                {"-5", "many"},
	"limits.handshakes_per_second": {"-5", "10000001"},
	"limits.frames_per_second":     {"-5", "1000001", "true"},
	"uplink.max_length":            {"0", "off", "-1", "1000000001"},
	"uplink.max_bytes":             {"0", "off", "1023KiB", "1025GiB", "64MB"},
	"log.level":                    {"fatal", "INFO", "off", "3"},
	"log.format":                   {"text", "''"},
	"shutdown.delay":               {"-1s", "11m", "5"},
	"shutdown.drain":               {"-1s", "61m", "off"},
}

func TestEveryKeyRefusesWrongValuesInOneLine(t *testing.T) {
	for _, k := range keys() {
		if len(wrong[k.path]) == 0 {
			t.Errorf("no wrong value for %s is tried", k.path)
		}
		for _, value := range wrong[k.path] {
			t.Run(k.path+"="+value, func(t *testing.T) {
				file := write(t, strings.TrimPrefix(fmt.Sprintf("%s:\n  %s: %s\n", k.section(), k.leaf(), value), ":\n  "))
				p := wantOneProblem(t, LoadOptions{File: file}, k.path+": ", "("+file+":", "allowed: "+k.allowed)
				if p.Key != k.path || p.Value == "" || p.Allowed == "" {
					t.Errorf("%+v", p)
				}
				if k.secret != (p.Value == hidden) {
					t.Errorf("the line shows %s", p.Value)
				}
			})
		}
	}
}

func TestLineNamesTheValueAsItWasWritten(t *testing.T) {
	for text, want := range map[string]string{
		"conn: {ping: 0s}":   `config: conn.ping: "0s" (FILE:1); allowed: a duration with its unit, such as 30s, from 1s to 1h`,
		"redis: {db: -1}":    `config: redis.db: -1 (FILE:1); allowed: a whole number from 0 to 65,535`,
		"auth: {mode: mtls}": `config: auth.mode: "mtls" (FILE:1); allowed: none, jwt or header`,
		"auth: {trusted_proxies: [loopback, 10.1.2.3/8]}": `config: auth.trusted_proxies: ["loopback", "10.1.2.3/8"] (FILE:1): ` +
			`the network of 10.1.2.3/8 is 10.0.0.0/8, a single address has no /; ` +
			`allowed: a list of IP addresses, networks such as 10.0.0.0/8 or fd00::/8, and the word loopback (127.0.0.0/8 and ::1)`,
		"redis: {addresses: [a:1, 'unix:/s']}": `config: redis.addresses: ["a:1", "unix:/s"] (FILE:1): a socket is one server's, and stands alone; ` +
			`allowed: nothing (an embedded Redis), one or several host:port, such as 10.0.3.1:6379 or [::1]:6379, or one unix:/path`,
	} {
		file := write(t, text)
		p := wantOneProblem(t, LoadOptions{File: file})
		if got := strings.ReplaceAll(p.String(), file, "FILE"); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

func TestAllProblemsAreToldAtOnceInTheOrderOfTheReference(t *testing.T) {
	problems := wantProblems(t, LoadOptions{
		File:    write(t, "shutdown: {drain: x}\nlisten: x\nconn: {pign: 3s, ping: 0}\n"),
		Environ: []string{"PUSHPOD_LOG_LEVEL=loud"},
		Flags:   flagSet(t, "--redis.db=-1"),
	})
	var order []string
	for _, p := range problems {
		order = append(order, p.Key)
	}
	if got, want := strings.Join(order, " "), "conn.pign listen redis.db conn.ping log.level shutdown.drain"; got != want {
		t.Errorf("problems of %s, want %s", got, want)
	}
}

func TestPasswordIsInNoMessage(t *testing.T) {
	const secret = "hunter2"
	for name, o := range map[string]LoadOptions{
		"wrong type":            {File: write(t, "redis: {password: [hunter2]}")},
		"control character":     {File: write(t, `redis: {password: "hunter2\n"}`)},
		"no Redis":              {File: write(t, "redis: {password: hunter2}")},
		"misspelt":              {File: write(t, "redis: {pasword: hunter2}")},
		"misspelt otherwise":    {File: write(t, "redis: {pass: hunter2, pw: hunter2, pswd: hunter2, auth: hunter2}")},
		"at the top":            {File: write(t, "password: hunter2")},
		"in one piece":          {File: write(t, "redis.password: hunter2")},
		"URL":                   {File: write(t, "redis: {addresses: 'redis://u:hunter2@h:1', url: 'redis://u:hunter2@h:1'}")},
		"section":               {File: write(t, "redis: 'redis://u:hunter2@h:1'")},
		"unknown anchor":        {File: write(t, "redis: {password: *hunter2}")},
		"tag":                   {File: write(t, "redis: {password: !!int hunter2}")},
		"the file alone":        {File: write(t, "hunter2")},
		"variable":              {Environ: []string{"PUSHPOD_REDIS_PASSWORD=hunter2"}},
		"misspelt variable":     {Environ: []string{"PUSHPOD_REDIS_PASWORD=hunter2", "PUSHPOD_PASSWORD=hunter2"}},
		"flag":                  {Flags: flagSet(t, "--redis.password=hunter2")},
		"beside other problems": {Environ: []string{"PUSHPOD_REDIS_PASSWORD=hunter2", "PUSHPOD_LISTEN=x"}},
	} {
		for _, p := range wantProblems(t, o) {
			if strings.Contains(p.String(), secret) || strings.Contains(fmt.Sprintf("%+v", p), secret) {
				t.Errorf("%s: %s", name, p)
			}
		}
	}
	if strings.Contains(Reference(), secret) {
		t.Error("the reference holds a password")
	}
}

func TestValuesAreShownOnOneShortLine(t *testing.T) {
	for _, value := range []any{strings.Repeat("x", 10_000), "a\nb\x1b[31m", []any{[]any{"x"}, map[string]any{}, nil}, make([]any, 1000), map[any]any{1: 2}, "\xff", time.Now()} {
		shown := show(value)
		if len(shown) > 200 || strings.ContainsFunc(shown, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q", shown)
		}
	}
}

func TestSizeReadsWhatItWrites(t *testing.T) {
	for text, want := range map[string]Size{
		"0B": 0, "1B": 1, "125B": 125, "1500B": 1500, "1KiB": kib, "64KiB": 64 * kib, "1025KiB": 1025 * kib, "1MiB": mib, "3GiB": 3 * gib, "-5B": -5,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseSize(%q) = %d (%s), %v; want %d", text, got, got, err, want)
		}
	}
	for _, text := range []string{"64 KiB", "64kib", "65536", "65536b"} {
		if got, err := ParseSize(text); err != nil || got != 64*kib {
			t.Errorf("ParseSize(%q) = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "B", "KB", "1KB", "1K", "1.5MiB", "0x10", "1MiB1", "9223372036854775808", "9007199254740992MiB", "1 2KiB"} {
		if got, err := ParseSize(text); err == nil || !strings.Contains(err.Error(), "config: size") {
			t.Errorf("ParseSize(%q) = %d, %v; want an error", text, got, err)
		}
	}
}
