package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unit reads a unit of systemd: its settings by section and name.
func unit(t *testing.T, path string) map[string][]string {
	t.Helper()
	all, section := map[string][]string{}, ""
	for line := range strings.Lines(read(t, path)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Errorf("%s: %q", path, line)
			}
			all[section+"."+name] = append(all[section+"."+name], value)
		}
	}
	return all
}

func TestTheServiceIsStartedWatchedAndHardened(t *testing.T) {
	u := unit(t, "systemd/pushpod.service")
	for name, want := range map[string]string{
		"Service.Type":                     "notify",
		"Service.ExecStart":                "/usr/local/bin/pushpod --config /etc/pushpod/pushpod.yaml",
		"Service.ExecReload":               "/bin/kill -HUP $MAINPID",
		"Service.Restart":                  "on-failure", // not after pushpod drain
		"Service.RestartPreventExitStatus": "2",          // a wrong configuration stays wrong
		"Service.LimitNOFILE":              "1048576",
		"Service.CapabilityBoundingSet":    "",
		"Service.NoNewPrivileges":          "yes",
		"Service.ProtectSystem":            "strict",
		"Service.DynamicUser":              "yes",
	} {
		if got := strings.Join(u[name], ","); len(u[name]) != 1 || got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	watchdog, err := time.ParseDuration(u["Service.WatchdogSec"][0])
	if err != nil || watchdog < 10*time.Second {
		t.Errorf("WatchdogSec %v, %v: a machine that is slow for a moment is not dead", watchdog, err)
	}
	cfg := load(t, "../configs/pushpod.yaml")
	if stop, err := time.ParseDuration(u["Service.TimeoutStopSec"][0]); err != nil || stop < leaving(cfg)+5*time.Second {
		t.Errorf("TimeoutStopSec %v, %v: it may take %v to leave", stop, err, leaving(cfg))
	}
}

// Where systemd is there, it takes the unit without a word.
func TestSystemdTakesTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	// The program has to be where the unit says.
	text := read(t, "systemd/pushpod.service")
	program := filepath.Join(t.TempDir(), "pushpod")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pushpod.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "/usr/local/bin/pushpod", program)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
	if said := string(out); err != nil || strings.Contains(said, "pushpod.service") {
		t.Errorf("%v\n%s", err, said)
	}
	out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", file).CombinedOutput()
	if err != nil {
		t.Logf("its exposure is not known here: %v %s", err, out)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
	if !strings.Contains(lines[len(lines)-1], " OK ") && !strings.Contains(lines[len(lines)-1], " SAFE ") {
		t.Errorf("it may do more than it needs:\n%s", out)
	}
}
