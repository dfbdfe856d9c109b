package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExitCodesAndWhereThingsAreSaid(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("conn:\n  ping: fast\n  pingg: 1s\nlisten: nowhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		args   []string
		status int
		stdout string
		stderr []string
	}{
		{"version", []string{"version"}, 0, "dev", nil},
		{"the version as a flag", []string{"--version"}, 0, "pushpod dev", nil},
		{"the reference", []string{"config", "reference"}, 0, "queue_bytes", nil},
		{"unknown flag", []string{"--nope"}, 2, "", []string{"nope"}},
		{"unknown command", []string{"nope"}, 2, "", []string{"nope"}},
		{"all problems at once", []string{"serve", "--config", bad}, 2, "", []string{"conn.ping", "fast", "conn.pingg", "listen", "nowhere"}},
		{"a missing file", []string{"--config", bad + "x"}, 2, "", []string{bad + "x"}},
		{"a bad flag", []string{"--conn.ping", "never"}, 2, "", []string{"conn.ping", "never"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(tc.args, strings.NewReader(""), &stdout, &stderr); status != tc.status {
				t.Errorf("exit %d, want %d; stderr: %s", status, tc.status, &stderr)
			}
			if !strings.Contains(stdout.String(), tc.stdout) {
				t.Errorf("stdout %q lacks %q", &stdout, tc.stdout)
			}
			for _, want := range tc.stderr {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("stderr %q lacks %q", &stderr, want)
				}
			}
		})
	}
}
