package cli

import (
	"context"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"pushpod/internal/redistest"
)

const topChild = "PUSHPOD_TEST_TOP_CHILD" // it is no variable of the commands': they get their own

// TestTopChild is the program that TestTop… run in a terminal of its own.
func TestTopChild(t *testing.T) {
	address := os.Getenv(topChild)
	if address == "" {
		t.Skip("it is run by other tests")
	}
	root := &cobra.Command{Use: "pushpod", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(deps{environ: func() []string { return []string{"PUSHPOD_REDIS_ADDRESSES=" + address} }}.commands()...)
	root.SetArgs([]string{"top", "--interval", "100ms", "--presence.lease", "10m", "--admin", "127.0.0.1:1"})
	err := root.ExecuteContext(context.Background())
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
	}
	os.Exit(ExitCode(err))
}

// A seat is a terminal with top in it.
type seat struct {
	t      *testing.T
	person *os.File // what is typed and shown
	tty    *os.File // the terminal itself
	before *term.State
	cmd    *exec.Cmd
	ended  chan error

	mu   sync.Mutex
	text strings.Builder // guarded by mu: all that has been shown
}

func takeSeat(t *testing.T, s *redistest.Server) *seat {
	t.Helper()
	person, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(person, &pty.Winsize{Rows: 24, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	e := &seat{t: t, person: person, tty: tty, ended: make(chan error, 1)}
	if e.before, err = term.GetState(int(tty.Fd())); err != nil {
		t.Fatal(err)
	}
	e.cmd = exec.Command(os.Args[0], "-test.run=^TestTopChild$")
	e.cmd.Env = append(os.Environ(), topChild+"="+s.Addr(), "NO_COLOR=", "TERM=xterm")
	e.cmd.Stdin, e.cmd.Stdout, e.cmd.Stderr = tty, tty, tty
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { e.ended <- e.cmd.Wait() }()
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := person.Read(buffer)
			e.mu.Lock()
			e.text.Write(buffer[:n])
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill() // where it has not ended
		tty.Close()
		person.Close()
		<-read
	})
	return e
}

// waitFor waits until all that was shown, from an offset, holds each text, and returns how
// much there is then.
func (e *seat) waitFor(from int, texts ...string) int {
	e.t.Helper()
	shown := ""
	for range 600 {
		e.mu.Lock()
		shown = e.text.String()
		e.mu.Unlock()
		missing := false
		for _, text := range texts {
			missing = missing || !strings.Contains(shown[from:], text)
		}
		if !missing {
			return len(shown)
		}
		time.Sleep(50 * time.Millisecond)
	}
	e.t.Fatalf("no %q in what ends with %q", texts, shown[max(from, len(shown)-4000):])
	return 0
}

func (e *seat) typed(keys string) {
	e.t.Helper()
	if _, err := io.WriteString(e.person, keys); err != nil {
		e.t.Fatal(err)
	}
}

// isRaw reports whether the terminal has been set up for keys.
func (e *seat) isRaw() bool {
	e.t.Helper()
	state, err := term.GetState(int(e.tty.Fd()))
	if err != nil {
		e.t.Fatal(err)
	}
	return !reflect.DeepEqual(state, e.before)
}

// wantEnd waits for the end and holds that the terminal is as it was.
func (e *seat) wantEnd(why string) {
	e.t.Helper()
	select {
	case err := <-e.ended:
		if err != nil {
			e.t.Errorf("%s: %v", why, err)
		}
	case <-time.After(30 * time.Second):
		e.t.Fatalf("%s: it goes on", why)
	}
	if e.isRaw() {
		e.t.Errorf("%s: the terminal stays raw", why)
	}
	e.waitFor(0, leaveScreen)
}

func TestTopIsALiveView(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	podsInEachState(t, s)
	e := takeSeat(t, s)
	seen := e.waitFor(0, enterScreen, "alive:1", "\x1b[31mdead:1", "\x1b[33mdraining:1", "by pod", "admin 127.0.0.1:1: no pod listens")
	if !e.isRaw() {
		t.Error("keys are not read one by one")
	}
	if e.mu.Lock(); strings.Contains(e.text.String(), "\x1b[2J") {
		t.Error("what a pod tells gets to the terminal")
	}
	e.mu.Unlock()

	e.typed("\x1b[As") // an arrow is no key
	seen = e.waitFor(seen, "by connections")
	c := s.Client()
	now, err := c.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ZAdd(t.Context(), "push:pods", redis.Z{Member: "push:pod:new:1", Score: float64(now.UnixMilli())}).Err(); err != nil {
		t.Fatal(err)
	}
	seen = e.waitFor(seen, "new:1")
	if err := pty.Setsize(e.person, &pty.Winsize{Rows: 7, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	seen = e.waitFor(seen, "more pods do not fit")
	s.Kill()
	e.waitFor(seen, "what follows is old")
	e.typed("q")
	e.wantEnd("q")
}

func TestTopGivesTheTerminalBackHoweverItEnds(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	podsInEachState(t, s)
	for why, end := range map[string]func(*seat){
		"Ctrl-C":  func(e *seat) { e.typed("\x03") },
		"Ctrl-D":  func(e *seat) { e.typed("\x04") },
		"SIGTERM": func(e *seat) { _ = e.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGINT":  func(e *seat) { _ = e.cmd.Process.Signal(syscall.SIGINT) },
		"SIGHUP":  func(e *seat) { _ = e.cmd.Process.Signal(syscall.SIGHUP) },
		"SIGQUIT": func(e *seat) { _ = e.cmd.Process.Signal(syscall.SIGQUIT) },
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			e := takeSeat(t, s)
			e.waitFor(0, enterScreen, "alive:1")
			end(e)
			e.wantEnd(why)
		})
	}
}

func TestTopIsSuspended(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	podsInEachState(t, s)
	e := takeSeat(t, s)
	seen := e.waitFor(0, enterScreen, "alive:1")
	e.typed("\x1a")
	seen = e.waitFor(seen, leaveScreen)
	for range 600 {
		if !e.isRaw() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if e.isRaw() {
		t.Fatal("the terminal stays raw")
	}
	for range 600 { // until it has stopped, SIGCONT would be lost
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(e.cmd.Process.Pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") T ") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := e.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	e.waitFor(seen, enterScreen, "alive:1")
	e.typed("q")
	e.wantEnd("q")
}

func TestEscapeSequencesAreNoKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reads []string
		want  string
	}{
		{[]string{"qs"}, "qs"},
		{[]string{"\x1b[As\x1bOPs\x1b[1;5Cs"}, "sss"},
		{[]string{"\x1b[1", ";5", "Cs"}, "s"},
		{[]string{"\x1bO", "qs"}, "s"},
		{[]string{"\x1b", "q"}, "q"}, // the key of that name, then another one
		{[]string{"\x1bq"}, ""},      // Alt and a key
		{[]string{"\x03\x1a"}, "\x03\x1a"},
	} {
		got, escape := "", nothing
		for _, read := range c.reads {
			var keys []byte
			keys, escape = plainKeys([]byte(read), escape)
			got += string(keys)
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.reads, got, c.want)
		}
	}
}
