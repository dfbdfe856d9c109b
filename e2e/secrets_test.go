package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// marked is in every secret here; nothing that a pod says may hold it.
const marked = "Zq7MARKED9x"

func secretOf(what string) string { return marked + " the secret of " + what + ", of 32 bytes" }

// secretSettings are all keys that hold a secret.
func secretSettings() settings {
	return settings{
		"redis.password":       secretOf("Redis"),
		"auth.hmac_secret":     secretOf("tokens"),
		"auth.hmac_secret_old": secretOf("old tokens"),
		"auth.jwks_url":        "http://somebody:" + marked + "@127.0.0.1:1/keys?key=" + marked,
		"admin.token":          secretOf("operators"),
	}
}

// A confidant collects what was said, and who said it.
type confidant struct {
	t       testing.TB
	secrets []string // beside marked
}

// hear checks that a text tells nothing.
func (c *confidant) hear(who, text string) {
	c.t.Helper()
	for _, secret := range append(c.secrets, marked) {
		if at := strings.Index(text, secret); at >= 0 {
			c.t.Errorf("%s tells a secret: …%s…", who, text[max(0, at-100):min(len(text), at+len(secret)+40)])
		}
	}
}

// token makes one that the pod takes, and keeps it in mind.
func (c *confidant) token(secretKey string) string {
	env := []string{"PUSHPOD_AUTH_HMAC_SECRET=" + secretSettings()[secretKey]}
	token := strings.TrimSpace(mustRun(c.t, env, "token", "alice", "--claim", "email="+marked))
	c.secrets = append(c.secrets, token, strings.Split(token, ".")[1], strings.Split(token, ".")[2])
	return token
}

func TestSecretsAreToldToNobody(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	r.CLI("ACL", "SETUSER", podUser, "resetpass", ">"+secretOf("Redis"))
	s := secretSettings().with("redis.username", podUser, "auth.mode", "jwt", "auth.cookie", "session", "log.level", "trace", "admin.pprof", "on")
	for k, v := range quick() {
		s[k] = v
	}
	c := &confidant{t: t}
	p := launchPod(t, r, s)
	p.waitReady()
	good, old := c.token("auth.hmac_secret"), c.token("auth.hmac_secret_old")

	c.handshakes(p, good, http.StatusSwitchingProtocols)
	c.handshakes(p, old, http.StatusSwitchingProtocols)
	c.handshakes(p, marked, http.StatusUnauthorized)
	c.handshakes(p, good+marked, http.StatusUnauthorized)
	c.handshakes(p, good[:len(good)-4], http.StatusUnauthorized)
	c.handshakes(p, strings.Repeat(marked, 100)+".a.b", http.StatusUnauthorized)
	c.frames(p, good)
	for _, bad := range []string{`{"all":true,"data":"` + marked, `{"to":"` + marked + `","data":1}`, marked, `{"all":true,"data":1,"to":"` + marked + `"}`} {
		publish(t, asProducer(r), p.channel, bad)
	}
	c.adminPages(p)
	c.trouble(r, p)

	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid()))
	if err != nil {
		t.Fatal(err)
	}
	c.hear("the process list", string(cmdline))
	p.dumped = true
	p.signal(syscall.SIGQUIT)
	p.wantExit("it prints its goroutines", 2, settle)
	wantLine(t, "the dump", p.stderr.String(), "goroutine ", "[")
	wantLine(t, "refusals are logged", p.stderr.String(), "handshake refused", "401")
	wantLine(t, "wrong admin tokens are logged", p.stderr.String(), "admin request refused", "wrong token")
	c.hear("stderr", p.stderr.String())
	c.hear("stdout", p.stdout.String())
}

// handshakes brings a token in all places.
func (c *confidant) handshakes(p *pod, token string, status int) {
	c.t.Helper()
	for place, request := range map[string]string{
		"Authorization": upgradeRequest("/ws", "Authorization: Bearer "+token),
		"a cookie":      upgradeRequest("/ws", "Cookie: other="+marked+"; session="+token),
		"a subprotocol": upgradeRequest("/ws", "Sec-WebSocket-Protocol: pushpod.v1, bearer."+token),
		"the query":     upgradeRequest("/ws?token=" + token),
		"a plain GET":   request("GET /ws?token="+token+" HTTP/1.1", "Host: "+p.listen),
	} {
		a := exchange(c.t, p.listen, request)
		if want := status; a.status != want && !(place == "a plain GET" && a.status == http.StatusUpgradeRequired) {
			c.t.Errorf("a token by %s: %d %s, want %d", place, a.status, a.body, want)
		}
		c.hear("the answer to a token by "+place, fmt.Sprint(a.header, a.body))
	}
	a := exchange(c.t, p.listen, upgradeRequest("/ws?refuse=close&token="+token))
	c.hear("a close frame", fmt.Sprint(a.header, a.body))
}

// frames sends tokens on a live connection.
func (c *confidant) frames(p *pod, good string) {
	c.t.Helper()
	live := dial(c.t, p, "alice", withQuery("token", good))
	wants := [][2]string{{"rejected", "not_allowed"}, {"rejected", "not_allowed"}, {"rejected", "bad_frame"}, {"accepted", ""}, {"rejected", "unknown_type"}}
	for i, frame := range []string{
		`{"type":"token","id":"1","token":"` + marked + `"}`, `{"type":"token","id":"2","token":"` + good + `x"}`,
		`{"type":"token","id":"3","token":{"` + marked + `":1}}`, `{"type":"token","id":"4","token":"` + good + `"}`, `{"type":"` + marked + `","id":"5"}`,
	} {
		want := wants[i]
		live.say("%s", frame)
		live.wantReceipt("a token frame", fmt.Sprint(i+1), want[0], want[1])
	}
	live.check("it goes on")
	live.leave()
}

// adminPages reads all pages with, without, and with a wrong token.
func (c *confidant) adminPages(p *pod) {
	c.t.Helper()
	client := http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method, path, authorization, form string, status int) {
		c.t.Helper()
		r, err := http.NewRequestWithContext(context.Background(), method, "http://"+p.admin+path, strings.NewReader(form))
		if err != nil {
			c.t.Fatal(err)
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		if form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		answer, err := client.Do(r)
		if err != nil {
			c.t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != status {
			c.t.Errorf("%s %s: %d %v, want %d", method, path, answer.StatusCode, err, status)
		}
		c.hear(method+" "+path, fmt.Sprint(answer.Header, string(body)))
	}
	right := "Bearer " + secretOf("operators")
	for _, path := range []string{
		"/", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap?debug=1",
		"/debug/pprof/allocs?debug=1", "/debug/pprof/threadcreate?debug=1", "/debug/pprof/trace?seconds=0.1",
	} {
		ask("GET", path, "", "", 401)
		ask("GET", path, right, "", 200)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		ask("GET", path, "", "", 200)
	}
	ask("GET", "/", "Bearer "+marked, "", 401)
	ask("GET", "/", "Basic "+marked, "", 401)
	ask("POST", "/login", "", "token="+marked, 401)
	ask("POST", "/login", "", "token="+secretOf("operators"), 303)
}

// trouble lets all that has a secret fail.
func (c *confidant) trouble(r *redistest.Server, p *pod) {
	c.t.Helper()
	r.CLI("ACL", "SETUSER", podUser, "resetpass", ">another")
	r.CLI("CLIENT", "KILL", "USER", podUser)
	p.wantNotReady("the password is wrong now", 20*time.Second)
	_, body := p.readyz()
	c.hear("/readyz", body)
	eventually(c.t, "the log says why", settle, func() (bool, any) {
		return strings.Contains(p.stderr.String(), "WRONGPASS"), tail(p.stderr.String())
	})
	r.CLI("ACL", "SETUSER", podUser, "resetpass", ">"+secretOf("Redis"))
	p.waitReady()

	file := filepath.Join(c.t.TempDir(), "pushpod.yaml")
	bad := "auth:\n  hmac_secret:" + marked + "\nadmin:\n  token: [" + marked + "]\nredis: {username: a password: " + marked + "}\n"
	if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
		c.t.Fatal(err)
	}
	env := secretSettings().env()
	for _, args := range [][]string{
		{"config", "check", file}, {"config", "check", "--json", file}, {"serve", "--config", file}, {"config", "reference"}, {"version"}, {"serve", "--help"},
		{"serve", "--redis.password", marked}, {"--admin.token=" + marked}, {"serve", "--auth.hmac_secret=" + marked}, {"serve", "--redis.pasword=" + marked}, {"serve", "--listen", "x"},
		{"push", "alice", "1", "--redis.password", marked}, {"push", "alice", "1"}, {"pods"},
	} {
		got := run(c.t, env, args...)
		c.hear(strings.Join(args[:1], " "), got.stdout+got.stderr)
	}
}

func TestAdminBeyondLoopbackNeedsAToken(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	_, port, _ := strings.Cut(freeAddr(t), ":")
	everywhere := quick().asPod().with("admin.listen", "0.0.0.0:"+port, "listen", freeAddr(t), "redis.addresses", r.Addr())
	got := run(t, everywhere.env(), "serve")
	if got.status != 2 || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("exit %d, want 2 and one line: %s", got.status, got.stderr)
	}
	wantLine(t, "the refusal", got.stderr, "admin.listen", "0.0.0.0:"+port, "admin.token", "admin.insecure")

	p := launchPod(t, r, everywhere.with("admin.insecure", "on"))
	p.admin = "127.0.0.1:" + port
	p.waitReady()
	wantLine(t, "a warning", p.stderr.String(), `"level":"warn"`, "admin.insecure is on")
	if status, body := p.get("/"); status != 200 {
		t.Errorf("/ with admin.insecure: %d %s", status, body)
	}
	p.sigterm()
	p.wantExit("it leaves", 0, 20*time.Second)

	p = launchPod(t, r, everywhere.with("admin.token", "a token of operators"))
	p.admin = "127.0.0.1:" + port
	p.waitReady()
	for path, want := range map[string]int{"/healthz": 200, "/metrics": 200, "/": 401, "/debug/pprof/": 401} {
		if status, body := p.get(path); status != want {
			t.Errorf("%s with admin.token: %d %s, want %d", path, status, short(body), want)
		}
	}
	if _, body := p.get("/"); !strings.Contains(body, `action="/login"`) {
		t.Errorf("no form in %s", body)
	}
}
