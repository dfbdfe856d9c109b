package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// filePod is a pod whose configuration stands in a file.
type filePod struct {
	*pod
	path string
	base settings // what each version of the file holds
}

// startFilePod starts a pod by a file, with more on top.
func startFilePod(t testing.TB, r *redistest.Server, more ...string) *filePod {
	t.Helper()
	p := &pod{redis: r, listen: freeAddr(t), admin: freeAddr(t)}
	f := &filePod{pod: p, path: filepath.Join(t.TempDir(), "pushpod.yaml")}
	f.base = quick().asPod().with("listen", p.listen, "admin.listen", p.admin, "redis.addresses", r.Addr())
	f.base["conn.ping"], f.base["conn.ping_timeout"] = "8s", "4s"
	p.settings, p.channel = f.base, "push:pod:"+p.listen
	f.write(more...)
	p.process = startProcess(t, "pod "+p.listen, nil, "serve", "--config", f.path)
	p.waitReady()
	return f
}

// yaml is a version of the file: the base, and pairs of keys and values on top.
func (f *filePod) yaml(pairs ...string) string {
	sections := map[string][]string{}
	for key, value := range f.base.with(pairs...) {
		section, leaf, nested := strings.Cut(key, ".")
		if !nested {
			sections[""] = append(sections[""], fmt.Sprintf("%s: %s", key, quoted(value)))
			continue
		}
		sections[section] = append(sections[section], fmt.Sprintf("  %s: %s", leaf, quoted(value)))
	}
	text := ""
	names := make([]string, 0, len(sections))
	for name := range sections {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if name != "" {
			text += name + ":\n"
		}
		sort.Strings(sections[name])
		text += strings.Join(sections[name], "\n") + "\n"
	}
	return text
}

func quoted(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" }

// write puts another version of the file in the place of the one before, as one.
func (f *filePod) write(pairs ...string) { f.put(f.yaml(pairs...)) }

func (f *filePod) put(text string) {
	next := f.path + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		panic(err)
	}
	if err := os.Rename(next, f.path); err != nil {
		panic(err)
	}
}

// reload writes another version of the file, sends SIGHUP and waits until the pod says what
// became of it, in a line with that message. It returns the lines with it.
func (f *filePod) reload(why, message string, pairs ...string) []map[string]any {
	f.t.Helper()
	before := len(f.lines(""))
	f.write(pairs...)
	f.signal(syscall.SIGHUP)
	return f.wantLines(why, message, before)
}

// wantLines waits for lines with a message behind so many others.
func (f *filePod) wantLines(why, message string, behind int) (found []map[string]any) {
	f.t.Helper()
	eventually(f.t, why+": the log says: "+message, settle, func() (bool, any) {
		found = nil
		for _, line := range f.lines("")[behind:] {
			if strings.HasPrefix(fmt.Sprint(line["message"]), message) {
				found = append(found, line)
			}
		}
		return len(found) > 0, tail(f.stderr.String())
	})
	return found
}

// lines are those of the log whose message begins so.
func (f *filePod) lines(message string) (found []map[string]any) {
	for line := range strings.Lines(f.stderr.String()) {
		var l map[string]any
		if json.Unmarshal([]byte(line), &l) == nil && strings.HasPrefix(fmt.Sprint(l["message"]), message) {
			found = append(found, l)
		}
	}
	return found
}

// podConfig is what /config shows.
type podConfig struct {
	File string
	Keys []struct {
		Key, Value string
		Default    bool
	}
	Pending []struct{ Key, From, To string }
}

// config asks the pod for its configuration.
func (f *filePod) config() (shown podConfig) {
	f.t.Helper()
	status, body := f.get("/config")
	if err := json.Unmarshal([]byte(body), &shown); err != nil || status != http.StatusOK {
		f.t.Fatalf("/config: %d %v %s", status, err, body)
	}
	if strings.Contains(body, passwordOf(podUser)) {
		f.t.Errorf("/config shows a secret: %s", body)
	}
	return shown
}

// keysOf are the keys that a list in a line names: "conn.ping: 1s -> 2s".
func keysOf(line map[string]any, list string) (keys []string) {
	all, _ := line[list].([]any)
	for _, one := range all {
		key, _, _ := strings.Cut(fmt.Sprint(one), ":")
		keys = append(keys, key)
	}
	return keys
}

const (
	reloaded    = "configuration reloaded"
	notReloaded = "configuration not reloaded"
	needRestart = "configuration reloaded; keys that need a restart keep their old values"
)

// wantReloads checks how often the configuration was applied, and rejected.
func (f *filePod) wantReloads(why string, applied, rejected float64) {
	f.t.Helper()
	f.wantMetric(why, applied, "pushpod_config_reloads_total", "result", "applied")
	f.wantMetric(why, rejected, "pushpod_config_reloads_total", "result", "rejected")
}

func TestReloadUnderConnections(t *testing.T) {
	t.Parallel()
	f := startFilePod(t, startRedis(t))
	f.wantReloads("at the start", 0, 0)
	alice, bob := dial(t, f.pod, "alice"), dial(t, f.pod, "bob")
	page := func(why, origin string, status int) {
		t.Helper()
		if a := exchange(t, f.listen, request("GET /ws?user=alice HTTP/1.1", "Host: "+f.listen, "Origin: "+origin)); a.status != status {
			t.Errorf("%s: a page of %s gets %d, want %d", why, origin, a.status, status)
		}
	}
	const app = "https://app.example"
	page("at the start", app, http.StatusForbidden)

	// By a signal: limits, origins, the level of the log, pings.
	changes := []string{"limits.connections", "2", "auth.origins", app, "log.level", "debug", "conn.ping", "2s", "conn.max_message", "1KiB"}
	line := f.reload("SIGHUP", reloaded, changes...)[0]
	if got := keysOf(line, "changed"); !slices.Equal(got, []string{"auth.origins", "conn.max_message", "conn.ping", "limits.connections", "log.level"}) {
		t.Errorf("changed: %v", got)
	}
	wantRefusal(t, "more than limits.connections", exchange(t, f.listen, upgradeRequest("/ws?user=carol")), http.StatusServiceUnavailable)
	page("limits.connections", app, http.StatusServiceUnavailable) // its origin is allowed now
	bob.leave()
	f.wantLines("log.level debug", "connection closed", 0)
	carol := dial(t, f.pod, "carol")
	if carol.welcome.Ping != 2 || carol.welcome.MaxMessage != 1<<10 {
		t.Errorf("carol is told %s", carol.hello)
	}
	alice.check("after the reload")
	f.wantReloads("once", 1, 0)

	// A file that is wrong in one place changes nothing at all.
	lines := len(f.lines(""))
	bad := f.yaml(append(changes, "limits.connections", "100", "conn.ping_timeout", "soon")...)
	number := 0
	for i, l := range strings.Split(bad, "\n") {
		if strings.HasPrefix(l, "  ping_timeout:") {
			number = i + 1
		}
	}
	f.put(bad)
	f.signal(syscall.SIGHUP)
	l := f.wantLines("a wrong value", notReloaded, lines)[0]
	for name, want := range map[string]string{"source": fmt.Sprint(f.path, ":", number), "key": "conn.ping_timeout", "value": `"soon"`, "allowed": "a duration with its unit"} {
		if got := fmt.Sprint(l[name]); !strings.HasPrefix(got, want) {
			t.Errorf("the line has %s %q, want %q", name, got, want)
		}
	}
	f.wantReloads("rejected", 1, 1)
	wantRefusal(t, "the limit is as it was", exchange(t, f.listen, upgradeRequest("/ws?user=dave")), http.StatusServiceUnavailable)

	// What needs a restart is named, and the rest changes; also without a signal.
	lines = len(f.lines(""))
	f.write("presence.ttl", "20s", "redis.prefix", "other:", "limits.connections", "3")
	if got := keysOf(f.wantLines("another file in its place", needRestart, lines)[0], "needs_restart"); !slices.Equal(got, []string{"redis.prefix", "presence.ttl"}) {
		t.Errorf("needs a restart: %v", got)
	}
	dave := dial(t, f.pod, "dave")
	dave.check("a third one")
	wantEntries(t, f.redisClient(), "dave", settle, map[string]string{dave.uuid: f.channel}) // under the prefix of before
	page("origins are by default again", app, http.StatusForbidden)
	f.wantReloads("by the file", 2, 1)
	shown := f.config()
	if shown.File != f.path || len(shown.Pending) != 2 {
		t.Errorf("/config: %+v", shown)
	}
	for _, k := range shown.Keys {
		if want, is := map[string]string{"redis.prefix": "push:", "limits.connections": "3", "log.level": "info"}[k.Key]; is && k.Value != want {
			t.Errorf("/config: %s is %s, want %s", k.Key, k.Value, want)
		}
	}
	f.reload("nothing new", needRestart, "presence.ttl", "20s", "redis.prefix", "other:", "limits.connections", "3")
	f.reload("back", reloaded+": nothing has changed", "limits.connections", "3")
	f.wantReloads("all", 4, 1)
	for _, c := range []*client{alice, carol} {
		c.check("through all of that")
	}
}

func TestReloadWhileLeavingIsIgnored(t *testing.T) {
	t.Parallel()
	f := startFilePod(t, startRedis(t), "shutdown.delay", "3s")
	c := dial(t, f.pod, "alice")
	// What it leaves by may change before.
	f.reload("another delay", reloaded, "shutdown.delay", "2s", "shutdown.drain", "1s")
	f.sigterm()
	f.wantNotReady("leaving", time.Second)
	f.write("shutdown.delay", "1m", "log.level", "trace")
	f.signal(syscall.SIGHUP)
	c.wantClosed("leaving", 1001, settle)
	f.wantExit("leaving", 0, settle)
	if got := len(f.lines(reloaded)); got != 1 {
		t.Errorf("reloaded %d times, want once", got)
	}
}

func TestReloadWithoutAFileSaysThatThereIsNone(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	p.signal(syscall.SIGHUP)
	eventually(t, "the log says so", settle, func() (bool, any) {
		return strings.Contains(p.stderr.String(), "SIGHUP: nothing to reload") && strings.Contains(p.stderr.String(), "--config"), tail(p.stderr.String())
	})
	dial(t, p, "alice").check("after SIGHUP")
	p.wantMetric("nothing was reloaded", 0, "pushpod_config_reloads_total", "result", "applied")
}

// TestEveryKeyAtAReload gives every key another value: it is named as changed, or as one
// that needs a restart.
func TestEveryKeyAtAReload(t *testing.T) {
	t.Parallel()
	f := startFilePod(t, startRedis(t))
	keys := f.config().Keys
	secret := strings.Repeat("a secret ", 5)
	live := settings{
		"admin.insecure": "on", "admin.token": secret, "admin.pprof": "on", "auth.insecure": "on",
		"auth.hmac_secret": secret + "new", "auth.hmac_secret_old": secret, "auth.issuer": "them", "auth.audience": "us", "auth.leeway": "3s",
		"auth.require_exp": "off", "auth.cookie": "session", "auth.origins": "https://app.example", "auth.trusted_proxies": "10.0.0.0/8",
		"redis.username": "another", "redis.password": secret,
		"conn.max_message": "2KiB", "conn.queue_bytes": "2KiB", "conn.slow_consumer": "drop_oldest", "conn.ping": "7s", "conn.ping_timeout": "3s",
		"conn.handshake_timeout": "4s", "conn.max_header": "4KiB", "conn.max_age": "1h",
		"limits.connections": "1000", "limits.per_user": "7", "limits.on_excess": "close_oldest", "limits.per_ip": "99", "limits.handshakes_per_second": "999", "limits.frames_per_second": "99",
		"uplink.max_length": "7", "uplink.max_bytes": "2MiB", "log.level": "debug", "shutdown.delay": "1s", "shutdown.drain": "1s",
	}
	restart := settings{
		"listen": "127.0.0.1:1", "proxy_protocol": "on", "auth.trusted_proxies": "loopback", "tls.cert_file": "/c", "tls.key_file": "/k", "tls.client_ca_file": "/a",
		"admin.listen": "127.0.0.1:2", "admin.tls": "on", "pod.address": "other:1",
		"auth.mode": "header", "auth.header": "tls-client-cn", "auth.keys_file": "/keys", "auth.jwks_url": "https://keys.example/", "auth.hook_url": "https://user:secret@hook.example/", "auth.hook_timeout": "1s",
		"redis.addresses": "127.0.0.1:3", "redis.embedded_listen": "127.0.0.1:4", "redis.sentinel_master": "m", "redis.db": "1",
		"redis.tls": "on", "redis.tls_ca_file": "/ca", "redis.tls_cert_file": "/c", "redis.tls_key_file": "/k", "redis.tls_server_name": "redis.example",
		"redis.pubsub": "sharded", "redis.prefix": "other:", "redis.max_envelope": "2MiB", "redis.timeout": "2s", "redis.probe": "600ms", "redis.load_functions": "on", "redis.control": "on",
		"presence.ttl": "30s", "presence.renew": "2s", "presence.heartbeat": "300ms", "presence.lease": "2s",
		"conn.send_buffer": "64KiB", "conn.io_uring": "off", "log.format": "console",
	}
	pairs := func(s settings) (list []string) {
		for k, v := range s {
			list = append(list, k, v)
		}
		return list
	}
	named := map[string]bool{
		// They need Sentinels; redisconn's tests change them.
		"redis.sentinel_username": true, "redis.sentinel_password": true,
	}
	l := f.reload("all that need a restart", needRestart, pairs(restart)...)[0]
	for _, key := range keysOf(l, "needs_restart") {
		if named[key] = true; restart[key] == "" {
			t.Errorf("%s needs a restart, it says", key)
		}
	}
	if got := keysOf(l, "changed"); !slices.Equal(got, []string{"auth.trusted_proxies"}) {
		t.Errorf("changed: %v", got)
	}
	if strings.Contains(f.stderr.String(), "user:secret@") {
		t.Error("a secret is in the log")
	}
	dial(t, f.pod, "alice").check("all of these are as they were")

	l = f.reload("all that may change", reloaded, pairs(live)...)[0]
	for _, key := range keysOf(l, "changed") {
		if named[key] = true; live[key] == "" {
			t.Errorf("%s has changed, it says", key)
		}
	}
	if l["needs_restart"] != nil {
		t.Errorf("needs a restart: %v", l["needs_restart"])
	}
	if strings.Contains(f.stderr.String(), secret) {
		t.Error("a secret is in the log")
	}
	if len(keys) < len(restart) {
		t.Errorf("%d keys", len(keys))
	}
	for _, k := range keys {
		if !named[k.Key] {
			t.Errorf("%s: another value is neither applied nor named", k.Key)
		}
	}
}
