package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is one run of the program. The test that started it kills it at
// its end, by its pid, and prints what it said where the test failed.
type process struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	stdout output
	stderr output
	quiet  bool          // what it said is the test's to tell
	dumped bool          // it was told to print its goroutines
	ended  chan struct{} // closed once it has been reaped
	status int           // valid once ended is closed; -1: by a signal
}

// startProcess runs the program with args and extra environment.
func startProcess(t testing.TB, name string, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, name, env, exec.Command(program.get(t), args...))
}

// startCommand is startProcess for a command that becomes the program, such as
// a shell that sets a limit before.
func startCommand(t testing.TB, name string, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: cmd, ended: make(chan struct{})}
	p.cmd.Env = cleanEnv(env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	// The kernel ends it where this process is killed and cannot clean up.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Without it a grandchild that holds the pipes would keep Wait waiting.
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { p.reap() }()
	t.Cleanup(p.cleanUp)
	return p
}

func (p *process) reap() {
	defer close(p.ended)
	err := p.cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		p.status = exit.ExitCode()
	default:
		p.status = -1
	}
}

// cleanUp kills the process and looks at what it said.
func (p *process) cleanUp() {
	p.sigkill()
	for _, sign := range []string{"panic:", "DATA RACE", "fatal error:", "goroutine 1 ["} {
		if strings.Contains(p.stderr.String(), sign) && !p.dumped {
			p.t.Errorf("%s: its stderr holds %q", p.name, sign)
		}
	}
	if !p.quiet && p.t.Failed() || os.Getenv("PUSHPOD_E2E_LOGS") != "" {
		p.t.Logf("%s (%s %s)\n%s", p.name, p.cmd.Path, strings.Join(p.cmd.Args[1:], " "), tail(p.stdout.String()+p.stderr.String()))
	}
}

// tail keeps the end of what a process said: a storm of lines is the same line.
func tail(s string) string {
	const most = 16 << 10
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// hasEnded reports whether the process has been reaped.
func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%s: %v: %v", p.name, sig, err)
	}
}

func (p *process) sigterm() { p.t.Helper(); p.signal(syscall.SIGTERM) }

// sigkill ends the process at once and waits until it has gone. It does
// nothing to one that has.
func (p *process) sigkill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// wantExit waits for the process's own end and checks the status.
func (p *process) wantExit(why string, status int, within time.Duration) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.t.Fatalf("%s: %s still runs after %v, want exit %d", why, p.name, within, status)
	}
	if p.status != status {
		p.t.Fatalf("%s: %s ended with exit %d, want %d; stderr:\n%s", why, p.name, p.status, status, tail(p.stderr.String()))
	}
}

// output collects what a process writes. It is safe for use by several
// goroutines.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// result is what a command that ran to its end left.
type result struct {
	status         int
	stdout, stderr string
}

// run runs the program to its end, with a bound.
func run(t testing.TB, env []string, args ...string) result {
	t.Helper()
	return runProgram(t, program.get(t), env, args...)
}

// runProgram is run for another version's program.
func runProgram(t testing.TB, program string, env []string, args ...string) result {
	t.Helper()
	p := startCommand(t, "pushpod "+strings.Join(args, " "), env, exec.Command(program, args...))
	p.quiet = true
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: no end after 30s", p.name)
	}
	return result{p.status, p.stdout.String(), p.stderr.String()}
}

// mustRun is run for a command that has to succeed; it returns its stdout.
func mustRun(t testing.TB, env []string, args ...string) string {
	t.Helper()
	r := run(t, env, args...)
	if r.status != 0 {
		t.Fatalf("pushpod %q: exit %d; stdout:\n%s\nstderr:\n%s", args, r.status, r.stdout, r.stderr)
	}
	return r.stdout
}

// wantLine checks that one of the lines holds all the words.
func wantLine(t testing.TB, why, lines string, words ...string) {
	t.Helper()
search:
	for line := range strings.Lines(lines) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue search
			}
		}
		return
	}
	t.Errorf("%s: no line with %q in:\n%s", why, words, tail(lines))
}

// startGroup starts a script in a process group of its own and kills the whole
// group, by its id, at the test's end: scripts have children.
func startGroup(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
}
