package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// The command of a client's author; package conformance has the rules.
func TestConformanceCommand(t *testing.T) {
	t.Parallel()
	addrs := freeAddrs(t, 3)
	// pushpod connect sends nothing back: what it hands on can't be seen.
	good := run(t, nil, "conformance", "--listen", addrs[0], "--json", "--rule", "handshake,welcome,pings,duplicates,close-1001,close-4500",
		"--", program.get(t), "connect", "conformance", "--url", "{url}")
	var result struct {
		OK       bool
		Verdicts []struct{ Rule, About, Result, Reason string }
	}
	if err := json.Unmarshal([]byte(good.stdout), &result); err != nil || good.status != 0 || !result.OK || len(result.Verdicts) != 6 {
		t.Fatalf("exit %d, %v\n%s\n%s", good.status, err, good.stdout, good.stderr)
	}
	for _, v := range result.Verdicts {
		if want := map[bool]string{true: "skip", false: "pass"}[v.Rule == "duplicates"]; v.Result != want || v.About == "" {
			t.Errorf("%+v, want %s", v, want)
		}
	}

	bad := run(t, nil, "conformance", "--listen", addrs[1], "--wait", "1s", "--rule", "pings", "--", "sleep", "60")
	if bad.status != 1 || !strings.HasPrefix(bad.stdout, "fail  pings") || !strings.Contains(bad.stdout, "no connection within 1s") || !strings.Contains(bad.stderr, "breaks rules") {
		t.Errorf("a client that never comes: exit %d\n%s\n%s", bad.status, bad.stdout, bad.stderr)
	}
	for args, why := range map[string]string{
		"--listen :8081":              "on loopback",
		"--rule pongs":                `no rule "pongs"`,
		"--wait 0s":                   "1s to 10m",
		"node client.js":              "put -- before",
		"--listen 127.0.0.1:x":        "listen",
		"--rule pings -- no-such-one": "start the client",
	} {
		r := run(t, nil, append([]string{"conformance"}, strings.Fields(args)...)...)
		want := 2
		if strings.Contains(args, "--rule pings") || strings.Contains(args, ":x") {
			want = 1
		}
		if r.status != want || !strings.Contains(r.stderr, why) || r.stdout != "" {
			t.Errorf("%s: exit %d, stderr %q; want %d and %q", args, r.status, r.stderr, want, why)
		}
	}
}

// The rules by which clients differ; all of them is make test-faults.
func TestTheJavaScriptClientConforms(t *testing.T) {
	t.Parallel()
	conformsJS(t, "--rule", "welcome,app-pings,duplicates,requests,goaway,close-1001,close-4500,frames")
}

func TestFaultsTheJavaScriptClientConforms(t *testing.T) {
	t.Parallel()
	redistest.Faults(t)
	conformsJS(t)
}

func conformsJS(t *testing.T, args ...string) {
	t.Helper()
	if lacks("node", "--version") || isAbsent("clients/js/node_modules/ws") {
		t.Skip("it needs Node and npm ci in clients/js")
	}
	args = append([]string{"conformance", "--listen", freeAddr(t)}, args...)
	args = append(args, "--", "node", filepath.Join(moduleRoot(), "e2e", "testdata", "echo-client.mjs"))
	p := startProcess(t, "conformance of clients/js", nil, args...)
	p.wantExit("the client keeps the rules", 0, 3*time.Minute)
	if out := p.stdout.String(); strings.Contains(out, "skip") || strings.Count(out, "pass  ") < 8 {
		t.Error(out)
	}
}
