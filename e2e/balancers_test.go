package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// startBalancer starts a proxy that people run before pods. Where it is not installed,
// the test is left out.
func startBalancer(t *testing.T, name, configuration string, args func(file string) []string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	file := filepath.Join(t.TempDir(), name+".conf")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	startCommand(t, name, nil, exec.Command(path, args(file)...))
}

func startNginx(t *testing.T, configuration string) {
	t.Helper()
	dir := t.TempDir()
	startBalancer(t, "nginx", "daemon off; master_process off; pid "+dir+"/pid; error_log stderr warn;\n"+configuration,
		func(file string) []string { return []string{"-p", dir, "-e", "stderr", "-c", file} })
}

func startHAProxy(t *testing.T, configuration string) {
	t.Helper()
	startBalancer(t, "haproxy", "defaults\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n timeout tunnel 1h\n"+configuration,
		func(file string) []string { return []string{"-db", "-f", file} })
}

// through dials until the balancer listens.
func through(t *testing.T, addr, user string) *client {
	t.Helper()
	var c *client
	eventually(t, "a connection through "+addr, settle, func() (bool, any) {
		made, a, err := tryDial(t, addr, user)
		c = made
		return made != nil, fmt.Sprint(a, err)
	})
	return c
}

func TestBehindNginx(t *testing.T) {
	t.Parallel()
	addr, temp := freeAddr(t), t.TempDir()
	p := launchPod(t, startRedis(t), patient().with("auth.mode", "header", "auth.header", "X-User", "auth.trusted_proxies", "loopback", "limits.per_ip", "1"))
	startNginx(t, fmt.Sprintf(`events {}
http {
	access_log off; keepalive_timeout 0;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server {
		listen %[2]s;
		location / {
			proxy_pass http://%[3]s;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $http_x_client;
			proxy_set_header X-User $arg_user;
			proxy_read_timeout 1h;
		}
	}
}`, temp, addr, p.listen))
	p.waitReady()
	c := through(t, addr, "alice")
	c.check("through nginx")
	if c.user != "alice" {
		t.Errorf("it is %q", c.user)
	}
	// X-Client stands in for another address, which clients can't have here.
	from := func(lines ...string) answer { return held(t, addr, upgradeRequest("/ws?user=alice", lines...)) }
	wantRefusal(t, "another one of the same address", from(), http.StatusTooManyRequests)
	if a := from("X-Client: 192.0.2.1", "X-User: mallory", "X-Forwarded-For: 6.6.6.6"); a.status != http.StatusSwitchingProtocols {
		t.Errorf("one of another address: %d %s", a.status, a.body)
	}
	wantRefusal(t, "nobody, with a header of its own", exchange(t, addr, upgradeRequest("/ws", "X-Client: 192.0.2.2", "X-User: mallory")), http.StatusUnauthorized)
	if n := p.redis.CLI("EXISTS", "push:user:{mallory}"); n != "0" {
		t.Error("what the client says itself is believed")
	}
}

func TestBehindNginxWithTheProxyProtocol(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so" // Debian's
	if _, err := os.Stat(module); err != nil {
		t.Skip("nginx has no stream module")
	}
	p := launchPod(t, startRedis(t), patient().with("proxy_protocol", "on", "auth.trusted_proxies", "loopback"))
	startNginx(t, fmt.Sprintf("load_module %s;\nevents {}\nstream { server { listen %s; proxy_pass %s; proxy_protocol on; proxy_timeout 1h; } }", module, addr, p.listen))
	p.waitReady()
	through(t, addr, "alice").check("through nginx")
}

func TestBehindHAProxy(t *testing.T) {
	t.Parallel()
	addrs := freeAddrs(t, 3)
	r := startRedis(t)
	s := patient().with("auth.trusted_proxies", "loopback", "auth.insecure", "on")
	direct, wrapped := launchPod(t, r, s), launchPod(t, r, s.with("proxy_protocol", "on"))
	startHAProxy(t, fmt.Sprintf(`
frontend http
 mode http
 bind %[1]s
 default_backend http
backend http
 mode http
 option forwardfor
 option httpchk GET /healthz
 http-check expect status 200
 server pod %[4]s check inter 200ms
listen v1
 mode tcp
 bind %[2]s
 option httpchk GET /healthz
 http-check expect status 200
 server pod %[5]s send-proxy check inter 200ms
listen v2
 mode tcp
 bind %[3]s
 option httpchk GET /healthz
 http-check expect status 200
 server pod %[5]s send-proxy-v2 proxy-v2-options crc32c,unique-id check check-send-proxy inter 200ms
`, addrs[0], addrs[1], addrs[2], direct.listen, wrapped.listen))
	direct.waitReady()
	wrapped.waitReady()
	for i, why := range []string{"HTTP", "version 1", "version 2"} {
		c := through(t, addrs[i], "alice")
		c.check(why)
		c.leave()
	}
	if log := wrapped.stderr.String(); strings.Contains(log, "closed without an answer") {
		t.Errorf("a health check is not understood:\n%s", tail(log))
	}
}
