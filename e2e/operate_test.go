package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHealthCommandTellsWhetherThePodIsReady(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	if out := mustRun(t, p.settings.env(), "health"); !strings.HasPrefix(out, "ready\n") {
		t.Errorf("health: %q", out)
	}
	r.Pause()
	p.wantNotReady("Redis is silent", settle)
	got := run(t, p.settings.env(), "health")
	if got.status != 1 || got.stdout != "" {
		t.Errorf("exit %d, stdout %q; want exit 1 and reasons on stderr", got.status, got.stdout)
	}
	eventually(t, "it says why", settle, func() (bool, any) { // a heartbeat may be what fails first
		got := run(t, p.settings.env(), "health").stderr
		return strings.Contains(got, "\nunproved: Redis does not take the pod's own probe"), got
	})
	mustRun(t, p.settings.env(), "health", "--live")
	r.Resume()
}

func TestDrainCommandHasThePodLeave(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("admin.token", "a token of operators", "shutdown.delay", "1s"))
	env := p.settings.env()
	c := dial(t, p, "alice")

	got := run(t, p.settings.with("admin.token", "another token of his").env(), "drain")
	if got.status != 1 || !strings.Contains(got.stderr, "PUSHPOD_ADMIN_TOKEN") {
		t.Errorf("another token: exit %d, stderr %q", got.status, got.stderr)
	}
	if status, body := p.readyz(); status != http.StatusOK {
		t.Fatalf("a stranger can drain it: %s", body)
	}

	if out := mustRun(t, env, "drain", "--wait", "0"); !strings.HasPrefix(out, "draining, for ") {
		t.Errorf("without waiting: %q", out)
	}
	p.wantNotReady("it leaves", settle)
	// Asked again it is no second signal, which would end the pod at once.
	if out := mustRun(t, env, "drain"); out != "left\n" {
		t.Errorf("waiting: %q", out)
	}
	p.wantExit("drained", 0, settle)
	c.wantClosed("the pod leaves", 1001, settle)
	wantLine(t, "who asked is logged", p.stderr.String(), "shutting down", "pushpod drain")
	if n := r.CLI("EXISTS", "push:pods", userKey("alice")); n != "0" {
		t.Errorf("%s keys are left", n)
	}
	for _, command := range []string{"health", "drain"} {
		if got := run(t, env, command); got.status != 1 || !strings.Contains(got.stderr, "no pod listens at admin.listen") {
			t.Errorf("%s of a pod that has left: exit %d, stderr %q", command, got.status, got.stderr)
		}
	}
}

func TestDrainCommandSaysWhereThePodDoesNotLeaveInOrder(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("shutdown.delay", "20s"))
	drain := startProcess(t, "pushpod drain", p.settings.env(), "drain")
	p.wantNotReady("it leaves", settle)
	p.sigterm() // the second word: at once
	p.wantExit("cut short", 1, settle)
	drain.wantExit("cut short", 1, settle)
	wantLine(t, "drain says so", drain.stderr.String(), "before it had left in order")
}

// A pod that was killed waits for its own address; meanwhile it says for what, and for how
// long still.
func TestARestartedPodSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("presence.lease", "3s", "presence.heartbeat", "1s"))
	p.sigkill()
	p = p.restart()
	eventually(t, "readyz says what it waits for", settle, func() (bool, any) {
		status, body := p.readyz()
		said := strings.Contains(body, "waiting until the score of "+p.channel+" has stood still for 3s") && strings.Contains(body, "s left")
		return status == http.StatusServiceUnavailable && said, body
	})
	got := run(t, p.settings.env(), "health")
	if got.status != 1 || !strings.Contains(got.stderr, "s left") {
		t.Errorf("health: exit %d, stderr %q", got.status, got.stderr)
	}
	p.waitReady()
}

func TestPodsCommandMarksPodsInConflictAndDeadOnes(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	states := func() map[string]string {
		var list []struct{ Address, State string }
		text := mustRun(t, append(envOf(r, operator), "PUSHPOD_PRESENCE_LEASE=1s", "PUSHPOD_PRESENCE_HEARTBEAT=200ms"), "pods", "--json")
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		states := map[string]string{}
		for _, p := range list {
			states[p.Address] = p.State
		}
		return states
	}
	want := func(address, state string) {
		t.Helper()
		eventually(t, address+" is "+state, settle, func() (bool, any) {
			all := states()
			return all[address] == state, all
		})
	}
	sleeper := startPod(t, r, quick().with("pod.address", "one.example:1"))
	want("one.example:1", "alive")
	sleeper.signal(syscall.SIGSTOP)
	want("one.example:1", "dead")
	startPod(t, r, quick().with("pod.address", "one.example:1")) // takes over
	want("one.example:1", "alive")
	sleeper.signal(syscall.SIGCONT)
	want("one.example:1", "conflict")
}

func TestPushCommandsToOneAndToAll(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	a, b := startPod(t, r, quick()), startPod(t, r, quick())
	one, two := dial(t, a, "alice"), dial(t, b, "alice")
	push := func(want string, args ...string) {
		t.Helper()
		if out := mustRun(t, envOf(r, producer), append([]string{"push"}, args...)...); out != want+"\n" {
			t.Errorf("push %q: %q, want %s", args, out, want)
		}
	}
	push("1", "--to", one.uuid, "alice", `1`)
	one.wantMessage("to one, of alice", `1`)
	push("2", "--to", two.uuid, `2`)
	two.wantMessage("to one, of whomever", `2`)
	push("2", "--all", `3`, "id", "m")
	for _, c := range []*client{one, two} {
		if f := c.wantMessage("to all", `3`); f.ID == nil || *f.ID != "m" {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
	wantBooks(t, a, books{published: 3, written: 2, misses: 1}) // who asks all pods has all but one miss
	wantBooks(t, b, books{published: 2, written: 2})
}

// Balancers look whether a port is open: they connect, and say nothing.
func TestLooksAtThePortMakeNoNoise(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("conn.handshake_timeout", "500ms"))
	dial(t, p, "first").check("the pod has said all that it says at its start")
	handshakes := p.metric("pushpod_handshakes_total")
	eventually(t, "it says that it is ready", settle, func() (bool, any) { return strings.Contains(p.stderr.String(), "the pod is ready"), "" })
	before := p.stderr.String()
	for i := range 30 {
		conn, err := net.DialTimeout("tcp", p.listen, settle)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0:
			_ = conn.Close()
		case 1:
			reset(t, conn)
		default: // who waits is closed, without a byte
			_ = conn.SetReadDeadline(time.Now().Add(settle))
			if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("it is answered: %d bytes, %v", n, err)
			}
			_ = conn.Close()
		}
	}
	eventually(t, "none of them is left", settle, func() (bool, any) {
		n := p.metric("pushpod_handshakes_pending")
		return n == 0, n
	})
	if n := p.metric("pushpod_handshakes_total"); n != handshakes {
		t.Errorf("%v handshakes are counted", n-handshakes)
	}
	if log := p.stderr.String(); log != before {
		t.Errorf("they are logged:\n%s", strings.TrimPrefix(log, before))
	}
	// As chatty ones are answered.
	if a := exchange(t, p.listen, request("GET /healthz HTTP/1.1", "Host: "+p.listen)); a.status != http.StatusOK {
		t.Errorf("GET /healthz: %d %s", a.status, a.body)
	}
	dial(t, p, "alice").check(fmt.Sprint("after ", 30, " of them"))
}
