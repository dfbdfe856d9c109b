package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// With all descriptors in use a pod does not spin, serves those it has, keeps
// some for Redis and operators, and takes new ones when old ones have gone.
func TestDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	const limit = 200
	r := startRedis(t)
	proxy := redistest.NewProxy(t, r.Addr())
	p := startPodOf(t, r, proxy.Addr(), limit, quick())

	first := dial(t, p, "alice")
	var others []net.Conn
	for range 2 * limit {
		conn, err := net.DialTimeout("tcp", p.listen, time.Second)
		if err != nil {
			break // the backlog is full
		}
		defer conn.Close()
		others = append(others, conn)
		_, _ = conn.Write([]byte(upgradeRequest("/ws?user=crowd")))
	}
	time.Sleep(500 * time.Millisecond)
	cpu := p.cpu()
	time.Sleep(time.Second)
	if used := p.cpu() - cpu; used > 600*time.Millisecond {
		t.Errorf("%v of CPU in a second of nothing: it spins", used)
	}
	t.Logf("%d sockets, %v connections, %d descriptors", len(others), p.metric("pushpod_connections"), p.openFiles())
	first.check("with all descriptors in use")
	if status, body := p.readyz(); status == 0 {
		t.Errorf("no answer from /readyz: %s", body)
	}

	// A new connection to Redis finds a descriptor.
	proxy.Cut()
	p.wantMetric("the pod has noticed", 1, "pushpod_subscription_gaps_total")
	p.waitReady()
	if n := luaPush(t, r, "alice", `1`); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	first.wantMessage("on the new connection to Redis", `1`)

	for _, conn := range others {
		_ = conn.Close()
	}
	eventually(t, "descriptors are free again", settle, func() (bool, any) {
		c, a, err := tryDial(t, p.listen, "bob")
		return c != nil, fmt.Sprint(a, err)
	})
	first.check("all the while")
}

// A log that nobody reads any more does not end the pod.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := launchPod(t, r, quick())
	p.waitReady()
	p.sigkill()

	// The same again, with a pipe whose reader goes.
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program.get(t), "serve")
	cmd.Env = cleanEnv(p.settings.env()...)
	cmd.Stdout, cmd.Stderr = writer, writer
	startGroup(t, cmd)
	_ = writer.Close()
	_ = reader.Close()
	eventually(t, "ready without a log", 20*time.Second, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusOK, fmt.Sprint(status, " ", body)
	})
	c := dial(t, p, "alice")
	for range 20 { // each a line in the log
		publish(t, db, p.channel, `bad`)
		time.Sleep(10 * time.Millisecond)
	}
	publish(t, db, p.channel, to(`1`, c))
	c.wantMessage("without a log", `1`)
	wantBooks(t, p, books{published: 21, bad: 20, written: 1})
}

// startPodOf starts a pod that may have so many descriptors, and reaches Redis at an address.
func startPodOf(t *testing.T, r *redistest.Server, addr string, descriptors int, s settings) *pod {
	t.Helper()
	p := &pod{listen: freeAddr(t), admin: freeAddr(t), redis: r}
	p.channel = "push:pod:" + p.listen
	p.settings = s.asPod().with("listen", p.listen, "admin.listen", p.admin, "redis.addresses", "["+addr+"]", "limits.per_user", "0")
	p.process = startCommand(t, "pod "+p.listen, p.settings.env(), exec.Command("/bin/sh", "-c",
		fmt.Sprintf(`ulimit -n %d && exec "$0" serve`, descriptors), program.get(t)))
	p.waitReady()
	return p
}
