package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// act has the console of a pod do something.
func (p *pod) act(path, body string) (status int, said map[string]any) {
	p.t.Helper()
	answer, err := http.Post("http://"+p.admin+"/console/"+path, "application/json", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		p.t.Fatal(err)
	}
	return answer.StatusCode, said
}

// The console acts with the rights that configs/redis-acl.conf gives to pods, on
// connections of whichever pod.
func TestTheConsoleActsOnEveryPod(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	a, b := startPod(t, r, quick()), startPod(t, r, quick())
	one, two := dial(t, a, "alice"), dial(t, b, "alice")
	if status, said := a.act("push", `{"user":"alice","data":"{\"a\": 1 }"}`); status != 200 || said["addressed"] != 2.0 {
		t.Errorf("to a user: %d %v", status, said)
	}
	one.wantMessage("to a user", `{"a": 1 }`)
	two.wantMessage("to a user", `{"a": 1 }`)
	if status, said := a.act("push", `{"user":"alice","connections":["`+two.uuid+`"],"data":"2"}`); status != 200 || said["addressed"] != 1.0 {
		t.Errorf("to a connection: %d %v", status, said)
	}
	two.wantMessage("to a connection", `2`)
	if status, said := a.act("push", `{"all":true,"data":"3"}`); status != 200 {
		t.Errorf("to all: %d %v", status, said)
	}
	one.wantMessage("to all", `3`)
	two.wantMessage("to all", `3`)

	status, body := a.get("/console/user?id=alice")
	if status != 200 || !strings.Contains(body, `"uuid":"`+one.uuid+`"`) || strings.Count(body, `"address":"127.0.0.1"`) != 1 || strings.Count(body, `"seen":`) != 2 {
		t.Errorf("%d %s", status, body)
	}
	if status, said := a.act("kick", `{"user":"alice","block_ms":60000,"reason":"spam"}`); status != 200 || said["closed"] != 2.0 {
		t.Errorf("kick: %d %v", status, said)
	}
	one.wantClose("kicked", 4500)
	if got := two.wantClose("kicked", 4500); got.reason != "blocked: spam" {
		t.Errorf("the reason is %q", got.reason)
	}
	if status, said := b.act("unblock", `{"user":"alice"}`); status != 200 || said["was"] != true {
		t.Errorf("unblock: %d %v", status, said)
	}
	dial(t, b, "alice")
	if log := a.stderr.String(); !strings.Contains(log, `"action":"kick","whom":"alice"`) {
		t.Errorf("the log does not tell what was done:\n%s", log)
	}
}

// A pod without the right to block says so, and is ready all the same.
func TestTheConsoleSaysWhatRedisRefuses(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	r.CLI("ACL", "SETUSER", podUser, "clearselectors", "(~push:used:* -@all +set)")
	c := dial(t, p, "alice")
	if status, said := p.act("kick", `{"user":"alice","block_ms":60000}`); status != http.StatusBadGateway || !strings.Contains(fmt.Sprint(said["error"]), "NOPERM") {
		t.Errorf("%d %v", status, said)
	}
	if status, body := p.readyz(); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	p.act("push", `{"user":"alice","data":"1"}`)
	c.wantMessage("nothing was closed", `1`)
}

// scripts/demo.sh shows two pods, and leaves nothing behind at Ctrl-C.
func TestDemoOfTwoPods(t *testing.T) {
	t.Parallel()
	addrs := freeAddrs(t, 5)
	_, first, _ := net.SplitHostPort(addrs[0])
	demo := startCommand(t, "demo.sh", []string{"DEMO_PORT=" + first, "PUSHPOD=" + program.get(t)}, exec.Command(filepath.Join(moduleRoot(), "scripts", "demo.sh")))
	page := "http://" + addrs[2] + "/demo"
	eventually(t, "it says where the page is", settle, func() (bool, any) {
		return strings.Contains(demo.stdout.String(), page), demo.stdout.String() + demo.stderr.String()
	})
	answer, err := http.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 {
		t.Errorf("the page: %d", answer.StatusCode)
	}
	out := mustRun(t, []string{"PUSHPOD_REDIS_ADDRESSES=" + addrs[4]}, "pods", "--json")
	if !strings.Contains(out, `"address":"`+addrs[0]+`"`) || !strings.Contains(out, `"address":"`+addrs[1]+`"`) || strings.Count(out, `"state":"alive"`) != 2 {
		t.Errorf("the pods: %s", out)
	}
	if err := demo.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	demo.wantExit("Ctrl-C", 0, 45*time.Second)
	for _, addr := range addrs {
		if !isFree(addr) {
			t.Errorf("something still listens on %s", addr)
		}
	}
}
