package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pushpod/internal/certtest"
)

// deployed returns a file of deploy/ with pairs of texts replaced, each of which it must hold: a test runs what operators
// take, on its own addresses.
func deployed(t testing.TB, file string, pairs ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(moduleRoot(), "deploy", filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i+1 < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("deploy/%s does not hold %q", file, pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// on pairs the addresses of deploy/'s three pods with those of a test. With fewer pods, each is there several times.
func on(pods ...*pod) []string {
	var pairs []string
	for i := range 3 {
		pairs = append(pairs, fmt.Sprintf("10.0.3.%d:8080", 7+i), pods[i%len(pods)].listen)
	}
	return pairs
}

// startBalancer starts a proxy that people run before pods. Where it is not installed,
// the test is left out.
func startBalancer(t testing.TB, name, configuration string, args func(file string) []string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	file := filepath.Join(t.TempDir(), name+".conf")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	startCommand(t, name, nil, exec.Command(path, args(file)...))
}

// startNginx starts nginx with a file of deploy/nginx, which is to listen on addr.
func startNginx(t testing.TB, file, addr string, pairs ...string) {
	t.Helper()
	dir := t.TempDir()
	if !slices.Contains(pairs, "listen 80;") {
		pairs = append(pairs, "listen 80;", "listen "+addr+";")
	}
	if file != "proxy-protocol.conf" {
		// Debian's directories for these are root's.
		temp := "http {\nkeepalive_timeout 0;\n" // a refused connection ends, as it does at a pod
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temp += fmt.Sprintf("%s_temp_path %s;\n", kind, dir)
		}
		pairs = append(pairs, "http {\n", temp, "access_log /dev/stdout", "access_log "+dir+"/access.log")
	}
	configuration := deployed(t, "nginx/"+file, pairs...)
	if _, module, needs := strings.Cut(configuration, "load_module "); needs {
		module, _, _ = strings.Cut(module, ";")
		if _, err := os.Stat(module); err != nil {
			t.Skipf("nginx has no %s", filepath.Base(module))
		}
	}
	startBalancer(t, "nginx", configuration, func(file string) []string {
		return []string{"-p", dir, "-e", "stderr", "-c", file, "-g", "daemon off; master_process off; pid " + dir + "/pid; error_log stderr warn;"}
	})
}

// startHAProxy starts HAProxy with a file of deploy/haproxy, which is to listen on addr.
func startHAProxy(t testing.TB, file, addr string, pairs ...string) {
	t.Helper()
	if file == "haproxy.cfg" {
		pairs = append(pairs, "mode http\n", "mode http\n option httpclose\n") // a refused connection ends, as it does at a pod
	}
	pairs = append(pairs, "bind :80", "bind "+addr, "maxconn 30000", "maxconn 1000") // a test may not have the descriptors
	configuration := deployed(t, "haproxy/"+file, pairs...)
	startBalancer(t, "haproxy", configuration, func(file string) []string { return []string{"-db", "-f", file} })
}

// through dials until the balancer listens.
func through(t testing.TB, addr, user string) *client {
	t.Helper()
	var c *client
	eventually(t, "a connection through "+addr, settle, func() (bool, any) {
		made, a, err := tryDial(t, addr, user)
		c = made
		return made != nil, fmt.Sprint(a, err)
	})
	return c
}

// wantPushThrough checks a connection both ways, by a request and by a push.
func wantPushThrough(t testing.TB, p *pod, addr, user string) *client {
	t.Helper()
	c := through(t, addr, user)
	if c.user != user {
		t.Errorf("through %s, %s is %q", addr, user, c.user)
	}
	c.request("through "+addr, "r-1", `{"n":1}`)
	if n := luaPush(t, p.redis, user, `{"through":"it"}`); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	c.wantMessage("through "+addr, `{"through":"it"}`)
	return c
}

// startThree starts three pods on one Redis.
func startThree(t testing.TB, s settings) []*pod {
	t.Helper()
	r := startRedis(t)
	var pods []*pod
	for range 3 {
		pods = append(pods, launchPod(t, r, s))
	}
	for _, p := range pods {
		p.waitReady()
	}
	return pods
}

func TestBehindNginx(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	pods := startThree(t, patient().with("auth.trusted_proxies", "loopback", "auth.insecure", "on", "limits.per_ip", "1"))
	startNginx(t, "nginx.conf", addr, append(on(pods...), "X-Forwarded-For $proxy_add_x_forwarded_for", "X-Forwarded-For $http_x_client")...)
	wantPushThrough(t, pods[0], addr, "alice")

	// A refusal passes as the pod has written it. X-Client stands in for another address, which clients can't have here.
	for i := range 2 {
		c, a, err := tryDial(t, addr, fmt.Sprint("user-", i))
		if c == nil {
			t.Fatalf("one of the same address on another pod: %v %v", a, err)
		}
	}
	from := func(lines ...string) answer { return held(t, addr, upgradeRequest("/ws?user=alice", lines...)) }
	refused := from()
	wantRefusal(t, "the fourth of one address", refused, http.StatusTooManyRequests)
	if got := refused.header.Get("Retry-After"); got != "5" {
		t.Errorf("Retry-After is %q, want the pod's, 5", got)
	}
	if a := from("X-Client: 192.0.2.1"); a.status != http.StatusSwitchingProtocols {
		t.Errorf("one of another address: %d %s", a.status, a.body)
	}

	// So does what a page asks without Upgrade.
	origin := "Origin: http://" + addr
	a := exchange(t, addr, request("GET /ws?user=alice HTTP/1.1", "Host: "+addr, origin))
	wantRefusal(t, "why not", a, http.StatusTooManyRequests)
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "http://"+addr {
		t.Errorf("Access-Control-Allow-Origin is %q, want the origin: Host must pass as it was sent", got)
	}
	a = exchange(t, addr, request("GET /ws?user=alice HTTP/1.1", "Host: "+addr, origin, "X-Client: 192.0.2.2"))
	wantRefusal(t, "all is well", a, http.StatusUpgradeRequired)
	if got, there := a.header["Upgrade"]; there {
		t.Errorf("Upgrade: %q in an answer without Connection", got)
	}
	if a := exchange(t, addr, request("GET /healthz HTTP/1.1", "Host: "+addr)); a.status != http.StatusOK {
		t.Errorf("/healthz: %d %s", a.status, a.body)
	}
	if a := exchange(t, addr, request("GET /metrics HTTP/1.1", "Host: "+addr)); a.status != http.StatusNotFound {
		t.Errorf("/metrics: %d %s", a.status, a.body)
	}
}

// Over HTTP/2 a field Upgrade makes an answer malformed, so that a page could not read it.
func TestBehindNginxAPageReadsAnswersOverHTTP2(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	ca := certtest.NewAuthority("balancers")
	certPEM, keyPEM := certtest.PEM(ca.Issue("nginx", net.IPv4(127, 0, 0, 1)))
	pair := filepath.Join(t.TempDir(), "pair.pem")
	if err := os.WriteFile(pair, append(certPEM, keyPEM...), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startPod(t, startRedis(t), patient().with("auth.trusted_proxies", "loopback", "auth.insecure", "on"))
	startNginx(t, "nginx.conf", addr, append(on(p), "# listen 443 ssl http2;", "ssl_certificate "+pair+"; ssl_certificate_key "+pair+";",
		"listen 80;", "listen "+addr+" ssl http2;")...)
	client := http.Client{Timeout: settle, Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
	defer client.CloseIdleConnections()
	var a *http.Response
	eventually(t, "an answer", settle, func() (bool, any) {
		var err error
		a, err = client.Get("https://" + addr + "/ws?user=alice")
		return err == nil, err
	})
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, there := a.Header["Upgrade"]; there || a.StatusCode != http.StatusUpgradeRequired || a.ProtoMajor != 2 || !strings.Contains(string(body), `"error"`) {
		t.Errorf("the answer is %s %d %v %s, want 426 over HTTP/2 without Upgrade", a.Proto, a.StatusCode, a.Header, body)
	}
}

func TestBehindNginxWithAuthRequest(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	sessions := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-User") != "" || !strings.HasPrefix(r.Header.Get("X-Original-URI"), "/ws") {
			t.Errorf("the question has X-User %q, X-Original-URI %q", r.Header.Get("X-User"), r.Header.Get("X-Original-URI"))
		}
		cookie, err := r.Cookie("session")
		switch {
		case err != nil:
			w.WriteHeader(http.StatusUnauthorized)
		case cookie.Value == "mallory":
			w.WriteHeader(http.StatusForbidden)
		case cookie.Value == "nobody": // 200, and no user
		default:
			w.Header().Set("X-User", cookie.Value)
		}
	}))
	t.Cleanup(sessions.Close)
	p := startPod(t, startRedis(t), patient().with("auth.mode", "header", "auth.header", "X-User", "auth.trusted_proxies", "loopback"))
	startNginx(t, "auth-request.conf", addr, append(on(p), "10.0.3.20:8000", strings.TrimPrefix(sessions.URL, "http://"))...)

	eventually(t, "nginx listens", settle, func() (bool, any) { return !isFree(addr), nil })
	c := dialThrough(t, addr, "alice", "Cookie: session=alice", "X-User: mallory")
	if n := luaPush(t, p.redis, "alice", `"hi"`); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	c.wantMessage("through nginx", `"hi"`)
	if n := p.redis.CLI("EXISTS", "push:user:{mallory}"); n != "0" {
		t.Error("what the client says itself is believed")
	}
	for _, tc := range []struct {
		cookie string
		status int
		reason string
	}{
		{"Cookie: x=y", http.StatusUnauthorized, "sign in first"},
		{"Cookie: session=mallory", http.StatusForbidden, "may not connect"},
		{"Cookie: session=nobody", http.StatusUnauthorized, ""},
	} {
		for why, a := range map[string]answer{
			"a handshake": exchange(t, addr, upgradeRequest("/ws", tc.cookie, "X-User: mallory")),
			"a plain GET": exchange(t, addr, request("GET /ws HTTP/1.1", "Host: "+addr, tc.cookie)),
		} {
			wantRefusal(t, tc.cookie+", "+why, a, tc.status)
			if !strings.Contains(a.body, tc.reason) {
				t.Errorf("%s, %s: body %s, want a reason with %q", tc.cookie, why, a.body, tc.reason)
			}
		}
	}
	wantRefusal(t, "a plain GET of a user", exchange(t, addr, request("GET /ws HTTP/1.1", "Host: "+addr, "Cookie: session=bob")), http.StatusUpgradeRequired)
	if a := exchange(t, addr, request("GET /healthz HTTP/1.1", "Host: "+addr)); a.status != http.StatusOK {
		t.Errorf("/healthz: %d %s", a.status, a.body)
	}
}

// dialThrough is dialAddr for whom the handshake's fields say who it is.
func dialThrough(t testing.TB, addr, user string, lines ...string) *client {
	t.Helper()
	return dialAddr(t, addr, user, func(d *dialing) { d.query.Del("user"); d.lines = lines })
}

func TestBehindNginxWithTheProxyProtocol(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	pods := startThree(t, patient().with("proxy_protocol", "on", "auth.trusted_proxies", "loopback", "limits.per_ip", "1"))
	startNginx(t, "proxy-protocol.conf", addr, on(pods...)...)
	wantPushThrough(t, pods[0], addr, "alice")
	wantRefusalOfTheFourth(t, addr)
}

// wantRefusalOfTheFourth connects until each of three pods has one connection of this address.
func wantRefusalOfTheFourth(t *testing.T, addr string) {
	t.Helper()
	for range 2 {
		if a := held(t, addr, upgradeRequest("/ws?user=bob")); a.status != http.StatusSwitchingProtocols {
			t.Errorf("one of the same address on another pod: %d %s", a.status, a.body)
		}
	}
	a := held(t, addr, upgradeRequest("/ws?user=bob"))
	wantRefusal(t, "the fourth of one address", a, http.StatusTooManyRequests)
	if got := a.header.Get("Retry-After"); got != "5" {
		t.Errorf("Retry-After is %q, want the pod's, 5", got)
	}
}

func TestBehindHAProxy(t *testing.T) {
	t.Parallel()
	for file, setting := range map[string]string{"haproxy.cfg": "off", "proxy-protocol.cfg": "on"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			addr := freeAddr(t)
			pods := startThree(t, patient().with("auth.trusted_proxies", "loopback", "auth.insecure", "on", "proxy_protocol", setting, "limits.per_ip", "1"))
			startHAProxy(t, file, addr, append(on(pods...), "inter 1s", "inter 100ms")...)
			wantPushThrough(t, pods[0], addr, "alice")
			wantRefusalOfTheFourth(t, addr)
			for _, p := range pods {
				if log := p.stderr.String(); strings.Contains(log, "closed without an answer") {
					t.Errorf("a health check is not understood:\n%s", tail(log))
				}
			}
		})
	}
}

// A pod that leaves fails its checks: it keeps what it has, and gets nothing more, though it would take it.
func TestHAProxySparesAPodThatLeaves(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	pods := startThree(t, patient().with("auth.trusted_proxies", "loopback", "shutdown.delay", "1m"))
	startHAProxy(t, "haproxy.cfg", addr, append(on(pods...), "inter 1s", "inter 100ms")...)
	alice := wantPushThrough(t, pods[0], addr, "alice")
	db := asProducer(pods[0].redis)
	holds := func(p *pod, users ...string) (n int) {
		for _, user := range users {
			for _, channel := range entriesOf(t, db, user) {
				if channel == p.channel {
					n++
				}
			}
		}
		return n
	}
	leaving := pods[0]
	for _, p := range pods {
		if holds(p, "alice") == 1 {
			leaving = p
		}
	}
	leaving.sigterm()
	round := 0
	eventually(t, "HAProxy has noticed", settle, func() (bool, any) {
		round++
		var users []string
		for i := range 6 { // more than the others have, so that it would be its turn
			users = append(users, fmt.Sprintf("user-%d-%d", round, i))
			dialAddr(t, addr, users[i])
		}
		n := holds(leaving, users...)
		return n == 0, n
	})
	if n := luaPush(t, leaving.redis, "alice", `"still"`); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	alice.wantMessage("over a pod that is down for HAProxy", `"still"`)
}
