//go:build linux

package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// runBench runs the tool as its user does, and fails the test where it fails.
func runBench(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr strings.Builder
	if status := run(ctx, args, &stdout, &stderr); status != 0 {
		t.Fatalf("bench %q: exit %d; stderr:\n%s", args, status, stderr.String())
	}
	return stdout.String()
}

func TestAPodIsMeasuredFromEndToEnd(t *testing.T) {
	out := runBench(t, "--quick", "--connections", "200", "--json")
	var p point
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	seen := make(map[string]bool)
	for _, r := range p.Rows {
		seen[r.Stage] = true
		if strings.Contains(r.Measure, "LOST") || strings.Contains(r.Measure, "ended so far") || strings.Contains(r.Measure, "cut the pod off") {
			t.Errorf("%s: %s: %v", r.Stage, r.Measure, r.Value)
		}
		if r.Limit != nil && *r.Limit <= 0 {
			t.Errorf("%s: %s: the limit is %v", r.Stage, r.Measure, *r.Limit)
		}
		if r.Stage != "memory" && r.Value <= 0 {
			t.Errorf("%s: %s is %v", r.Stage, r.Measure, r.Value)
		}
	}
	for _, stage := range stageNames()[1:] {
		if !seen[stage] {
			t.Errorf("stage %s has no figure; there are %v", stage, seen)
		}
	}
}

func TestOnlyTheStagesAskedForRun(t *testing.T) {
	out := runBench(t, "--quick", "--connections", "50", "--only", "open", "--curve", "connections=20,50", "--out", t.TempDir())
	for _, want := range []string{"20 connections", "50 connections", "CPU per handshake"} {
		if !strings.Contains(out, want) {
			t.Errorf("the tables lack %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "broadcast") {
		t.Errorf("a stage ran that was not asked for:\n%s", out)
	}
}

func TestNothingThatListensIsAClearError(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	f := newFakeRedis(t, ":0\r\n")
	var stdout, stderr strings.Builder
	url := "ws://127.0.0.1:" + group(int64(port))
	url = strings.ReplaceAll(url, ",", "") + "/ws"
	status := run(t.Context(), []string{"--url", url, "--redis", f.listener.Addr().String(), "--connections", "5", "--only", "open"}, &stdout, &stderr)
	if status != 1 || !strings.Contains(stderr.String(), "refused") {
		t.Errorf("exit %d, stderr:\n%s", status, stderr.String())
	}
}
