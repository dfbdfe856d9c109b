package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"pushpod/internal/redistest"
)

// atTerminal runs a command whose stdout is a terminal, and returns what that shows.
func atTerminal(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	person, program, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer person.Close()
	shows := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, person) // it ends with an error once the program's side is closed
		shows <- b.String()
	}()
	root := &cobra.Command{Use: "pushpod", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(deps{version: "1.2.3", environ: func() []string { return environ }}.commands()...)
	root.SetArgs(args)
	root.SetOut(program)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = root.ExecuteContext(ctx)
	program.Close()
	text := <-shows
	if err != nil {
		t.Errorf("%v: %v", args, err)
	}
	return strings.ReplaceAll(text, "\r\n", "\n")
}

func podsInEachState(t *testing.T, s *redistest.Server) {
	t.Helper()
	putPods(t, s, []podInRedis{
		{"alive:1", 0, `{"started":1700000000000,"version":"v1","connections":12}`},
		{"dead:1", time.Hour, `{"version":"v1","connections":7}`},
		{"draining:1", 0, `{"version":"v2","connections":3,"draining":true}`},
		{"twice:1", 0, `{"version":"\u001b[2J","conflict":true}`},
	})
}

func TestTablesAreColouredOnATerminalOnly(t *testing.T) {
	s := redistest.Start(t)
	podsInEachState(t, s)
	args := []string{"pods", "--presence.lease", "10m"} // however slow the machine is
	shown := atTerminal(t, at(s), args...)
	lines := strings.Split(shown, "\n")
	if len(lines) != 6 {
		t.Fatalf("%q", shown)
	}
	for i, begins := range []string{"\x1b[1mPOD", "alive:1", "\x1b[31mdead:1", "\x1b[33mdraining:1", "\x1b[31mtwice:1"} {
		isPlain := !strings.HasPrefix(begins, "\x1b")
		if !strings.HasPrefix(lines[i], begins) || strings.HasSuffix(lines[i], "\x1b[0m") == isPlain {
			t.Errorf("line %d is %q, want it to begin with %q", i, lines[i], begins)
		}
	}
	if strings.Contains(shown, "\x1b[2J") {
		t.Errorf("what a pod tells gets to the terminal: %q", shown)
	}
	for why, text := range map[string]string{
		"a pipe":      run(t, at(s), args...).stdout,
		"NO_COLOR":    atTerminal(t, append(at(s), "NO_COLOR=1"), args...),
		"TERM=dumb":   atTerminal(t, append(at(s), "TERM=dumb"), args...),
		"JSON":        atTerminal(t, at(s), append(args, "--json")...),
		"top to pipe": run(t, at(s), "top", "--once", "--interval", "100ms").stdout,
	} {
		if strings.Contains(text, "\x1b") || !strings.Contains(text, "draining:1") {
			t.Errorf("%s: %q", why, text)
		}
	}
	if plain := strings.Split(run(t, at(s), args...).stdout, "\n"); columns(plain[2]) != columns(strings.TrimPrefix(lines[2], "\x1b[31m")) {
		t.Errorf("colours move columns: %q, %q", plain[2], lines[2])
	}
	if empty := atTerminal(t, append(at(s), "NO_COLOR="), args...); !strings.Contains(empty, "\x1b[31m") {
		t.Errorf("an empty NO_COLOR takes the colours: %q", empty)
	}
}

// columns is where the second column begins.
func columns(line string) int { return strings.Index(line, "7") }

func TestThePresenceTableIsColouredToo(t *testing.T) {
	s := redistest.Start(t)
	connect(t, s.Client(), "alice", uuid1, "push:pod:a:1")
	if text := atTerminal(t, at(s), "presence", "alice"); !strings.HasPrefix(text, "\x1b[1mUUID") || !strings.Contains(text, "\n"+uuid1) {
		t.Errorf("%q", text)
	}
}
