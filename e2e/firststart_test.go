package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// startAlone starts a pod as one does who tries it out: without configuration,
// with the embedded Redis. Only its ports are given, so that tests don't meet.
func startAlone(t *testing.T, redisAddr string, env ...string) *pod {
	t.Helper()
	p := &pod{settings: settings{}, listen: freeAddr(t), admin: freeAddr(t)}
	p.channel = "push:pod:" + p.listen
	p.process = startProcess(t, "pod "+p.listen, append(env,
		"PUSHPOD_LISTEN="+p.listen, "PUSHPOD_ADMIN_LISTEN="+p.admin, "PUSHPOD_REDIS_EMBEDDED_LISTEN="+redisAddr,
	))
	p.waitReady()
	return p
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	redisAddr := freeAddr(t)
	p := startAlone(t, redisAddr)
	said := func() string { return p.stdout.String() + p.stderr.String() }
	eventually(t, "it says what to do next", settle, func() (bool, any) {
		for _, words := range []string{"ws://" + p.listen + "/ws", redisAddr, "connect alice", "push alice", "http://" + p.admin + "/demo"} {
			if !strings.Contains(said(), words) {
				return false, fmt.Sprintf("no %q in:\n%s", words, said())
			}
		}
		return true, nil
	})

	// Two more terminals.
	connect := startProcess(t, "pushpod connect", nil, "connect", "alice", "--url", "ws://"+p.listen+"/ws")
	env := []string{"PUSHPOD_REDIS_EMBEDDED_LISTEN=" + redisAddr}
	eventually(t, "alice is connected", settle, func() (bool, any) {
		out := run(t, env, "presence", "alice", "--json")
		return out.status == 0 && strings.Contains(out.stdout, p.channel), out
	})
	out := mustRun(t, env, "push", "alice", `{"text":"hi"}`)
	if !strings.Contains(out, "1") {
		t.Errorf("pushpod push printed %q, want the count 1", out)
	}
	eventually(t, "the push is printed", settle, func() (bool, any) {
		return strings.Contains(connect.stdout.String(), `{"text":"hi"}`), connect.stdout.String()
	})

	// What is documented for redis-cli works there, too.
	raw := dial(t, p, "bob")
	host, port, err := net.SplitHostPort(redisAddr)
	if err != nil {
		t.Fatal(err)
	}
	cli := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("redis-cli", append([]string{"-e", "-h", host, "-p", port}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got, want := cli("HGETALL", userKey("bob")), raw.uuid+"\n"+p.channel; got != want {
		t.Errorf("HGETALL: %q, want %q", got, want)
	}
	cli("PUBLISH", p.channel, `{"to":"`+raw.uuid+`","data":{"text":"hi"}}`)
	raw.wantMessage("PUBLISH", `{"text":"hi"}`)
	if n := cli("--eval", script("push.lua"), userKey("bob"), ",", `{"text" : "ho"}`); n != "1" {
		t.Errorf("push.lua returned %s, want 1", n)
	}
	raw.wantMessage("push.lua", `{"text" : "ho"}`)
	raw.request("a request", "x", `1`)
	if got := cli("XLEN", "push:uplink"); got != "1" {
		t.Errorf("push:uplink holds %s entries, want 1", got)
	}

	raw.leave()
	p.sigterm()
	p.wantExit("leaving", 0, 45*time.Second)
}

// With tokens, what is printed says how to get one.
func TestFirstStartWithTokens(t *testing.T) {
	t.Parallel()
	env := []string{"PUSHPOD_AUTH_MODE=jwt", "PUSHPOD_AUTH_HMAC_SECRET=" + tokenSecret}
	p := startAlone(t, freeAddr(t), env...)
	eventually(t, "it says what to do next", settle, func() (bool, any) {
		said := p.stdout.String()
		return strings.Contains(said, "token alice") && strings.Contains(said, `connect alice --url ws://`+p.listen+`/ws --token "$TOKEN"`) && !strings.Contains(said, "?user="), said
	})
	token := strings.TrimSpace(mustRun(t, env, "token", "alice"))
	connect := startProcess(t, "pushpod connect", nil, "connect", "alice", "--url", "ws://"+p.listen+"/ws", "--token", token)
	eventually(t, "alice is connected", settle, func() (bool, any) {
		return strings.Contains(connect.stdout.String(), `"welcome"`), connect.stderr.String()
	})

	others := startAlone(t, freeAddr(t), "PUSHPOD_AUTH_MODE=jwt", "PUSHPOD_AUTH_JWKS_URL=https://127.0.0.1:1/keys")
	eventually(t, "it says whose token is needed", settle, func() (bool, any) {
		said := others.stdout.String()
		return strings.Contains(said, "your issuer") && strings.Contains(said, "$TOKEN"), said
	})
}
