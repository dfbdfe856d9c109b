//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process that this one has started, and stops by its pid.
type child struct {
	cmd    *exec.Cmd
	name   string
	stderr tail
	ended  chan struct{} // closed once it has been reaped, after err is set
	err    error
}

// startChild starts a command, on the given core where core is not negative.
func startChild(name string, cmd *exec.Cmd, core int) (*child, error) {
	c := &child{cmd: cmd, name: name, ended: make(chan struct{})}
	cmd.Stderr = &c.stderr
	// The kernel ends it where this process is killed and can't.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	if err := startOn(cmd, core); err != nil {
		return nil, fmt.Errorf("bench: start %s: %w", name, err)
	}
	go func() { // ends with the process; stop waits for it
		c.err = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// startOn starts cmd from a thread that is on the core, which a child inherits.
func startOn(cmd *exec.Cmd, core int) error {
	if core < 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	there := oneCore(core)
	if err := unix.SchedSetaffinity(0, &there); err != nil {
		return err
	}
	err := cmd.Start()
	if back := unix.SchedSetaffinity(0, &before); err == nil && back != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		err = back
	}
	return err
}

func (c *child) process() process { return process{c.cmd.Process.Pid} }

// gone says why the child is no longer there, or nil.
func (c *child) gone() error {
	select {
	case <-c.ended:
		return fmt.Errorf("bench: %s ended: %v; it said: %s", c.name, c.err, c.stderr.String())
	default:
		return nil
	}
}

// stop asks the child to end, kills it where it doesn't within patience, and
// waits for its end.
func (c *child) stop(patience time.Duration) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
		return
	case <-time.After(patience):
	}
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// tail keeps the last kilobyte of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if n := len(t.b) - 1024; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
