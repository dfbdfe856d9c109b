package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// curl asks for server-sent events, as the README says.
func curl(t testing.TB, url string, args ...string) *process {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	return startCommand(t, "curl", nil, exec.Command(path, append([]string{"-sSN", "--max-time", "60", url}, args...)...))
}

// wantOutput waits until the process has printed this.
func (p *process) wantOutput(text string) {
	p.t.Helper()
	eventually(p.t, p.name+" prints "+text, settle, func() (bool, any) {
		return strings.Contains(p.stdout.String(), text), p.stdout.String() + p.stderr.String()
	})
}

func TestCurlShowsWhatIsPushed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("conn.ping", "1s", "conn.ping_timeout", "1s"))
	c := curl(t, "http://"+p.listen+"/sse?user=alice", "--include")
	c.wantOutput(`data: {"type":"welcome","uuid":"`)
	if n := luaPush(t, r, "alice", "{\"a\":\n[1]}", "id", "m-1"); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	c.wantOutput("\n\ndata: {\"type\":\"message\",\"id\":\"m-1\",\"data\":{\"a\":\ndata: [1]}}\n\n")
	publish(t, asProducer(r), "push:all", `{"all":true,"data":"to everyone"}`)
	c.wantOutput(`"data":"to everyone"}` + "\n\n")
	c.wantOutput("\n:\n\n")
	wantBooks(t, p, books{published: 2, written: 2})
	for name, want := range map[string]float64{"pushpod_connections": 1, "pushpod_sse_connections": 1} {
		if got := p.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	p.sigterm()
	c.wantOutput("event: close\ndata: {\"type\":\"close\",\"code\":1001,\"reason\":\"retry_ms=")
	c.wantExit("the stream has ended well", 0, settle)
	p.wantExit("its last connection has gone", 0, settle)
	wantEntries(t, asProducer(r), "alice", settle, map[string]string{})
}

func TestEventsOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("pod", "127.0.0.1", 2)
	r := startRedis(t)
	p := startPod(t, r, patient().with("tls.cert_file", a.path("pod.crt"), "tls.key_file", a.path("pod.key")))
	c := curl(t, "https://"+p.listen+"/sse?user=alice", "--cacert", a.path("ca.crt"))
	c.wantOutput(`data: {"type":"welcome","uuid":"`)
	long := fmt.Sprintf("%q", strings.Repeat("x", 50_000))
	luaPush(t, r, "alice", long)
	c.wantOutput(`data: {"type":"message","data":` + long + "}\n\n")
	p.sigterm()
	c.wantOutput("event: close\n")
	c.wantExit("the stream has ended well", 0, settle)
}

// What balancers hold back, or cut off because it is silent, does not come.
func TestEventsComeThroughBalancers(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t testing.TB, addr string, pods []*pod){
		"nginx": func(t testing.TB, addr string, pods []*pod) { startNginx(t, "nginx.conf", addr, on(pods...)...) },
		"HAProxy": func(t testing.TB, addr string, pods []*pod) {
			startHAProxy(t, "haproxy.cfg", addr, append(on(pods...), "timeout client 10s", "timeout client 1s", "timeout server 10s", "timeout server 1s")...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := freeAddr(t)
			p := startPod(t, startRedis(t), patient().with("auth.trusted_proxies", "loopback", "auth.insecure", "on"))
			start(t, addr, []*pod{p})
			through(t, addr, "bob")
			c := curl(t, "http://"+addr+"/sse?user=alice")
			c.wantOutput(`data: {"type":"welcome","uuid":"`)
			time.Sleep(3 * time.Second) // longer than the time-outs above
			luaPush(t, p.redis, "alice", "1")
			c.wantOutput("data: {\"type\":\"message\",\"data\":1}\n\n")
			p.sigterm()
			c.wantOutput("event: close\n")
			c.wantExit("the stream has ended well", 0, settle)
		})
	}
}
