//go:build linux

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
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
	var r report
	if err := json.Unmarshal([]byte(runBench(t, "--quick", "--points", "200", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for _, w := range r.Points[0].Rows {
		seen.WriteString(w.Measure + "\n")
		for _, bad := range []string{"LOST", "has ended", "cut the pod off"} {
			if strings.Contains(w.Measure, bad) {
				t.Errorf("%s: %v", w.Measure, w.Value)
			}
		}
		if w.Limit != nil && *w.Limit <= 0 {
			t.Errorf("%s: the limit is %v", w.Measure, *w.Limit)
		}
		if !strings.HasPrefix(w.Measure, "RSS") && w.Value <= 0 {
			t.Errorf("%s is %v", w.Measure, w.Value)
		}
	}
	for _, want := range []string{
		"handshakes: server CPU", "RSS per idle", "idle: server CPU", "100 broadcasts at once: deliveries", "6 broadcasts/s: server CPU",
		"200 pushes/s: PUBLISH to receipt, p50", "flat out: frames per write", "beside 3 broadcasts/s: PUBLISH to receipt, p99", "after the load",
		"handshakes: Redis CPU", "200 pushes/s: Redis CPU", "by push.lua: Redis CPU", "flat out by pushpod_push: Redis CPU",
	} {
		if !strings.Contains(seen.String(), want) {
			t.Errorf("no row %q; there are\n%s", want, seen.String())
		}
	}
}

func TestOnlyTheStagesAskedForRunAndTheTableGoesIntoAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(file, []byte("before\n"+tableBegin+"\nold\n"+tableEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := runBench(t, "--quick", "--points", "20,50x1024", "--only", "open", "--markdown", file)
	for _, want := range []string{"20 × 128 B", "50 × 1,024 B", "CPU for each"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "broadcasts at once") {
		t.Errorf("a stage ran that was not asked for:\n%s", out)
	}
	got, err := os.ReadFile(file)
	if want := "before\n" + tableBegin + "\n" + out + tableEnd + "\nafter\n"; err != nil || string(got) != want {
		t.Errorf("the file holds\n%s\nwant\n%s(%v)", got, want, err)
	}
}

func TestNothingThatListensIsAClearError(t *testing.T) {
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	status := run(t.Context(), []string{"--url", "ws://" + addr + "/ws", "--redis", addr, "--points", "5", "--only", "open"}, &stdout, &stderr)
	if status != 1 || !strings.Contains(stderr.String(), "refused") {
		t.Errorf("exit %d, stderr:\n%s", status, stderr.String())
	}
}
