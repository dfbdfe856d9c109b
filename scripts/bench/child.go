//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// child is a process that this one has started. What it logs goes to this one's
// standard error.
type child struct {
	process
	name  string
	end   context.CancelFunc
	ended chan struct{} // closed once it has been reaped, after err is set
	err   error
}

// startChild starts a command on the given core. It ends with ctx: asked first, and
// killed where it doesn't within 10 s.
func startChild(ctx context.Context, name string, on core, prepare func(*exec.Cmd), command ...string) (*child, error) {
	ctx, end := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = os.Stderr
	// The kernel ends it where this process is killed and can't.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	prepare(cmd)
	if err := on.start(cmd); err != nil {
		end()
		return nil, fmt.Errorf("bench: start %s: %w", name, err)
	}
	c := &child{process: process{cmd.Process.Pid}, name: name, end: end, ended: make(chan struct{})}
	go func() { // ends with the process; stop waits for it
		c.err = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// gone says why the child is no longer there, or nil.
func (c *child) gone() error {
	select {
	case <-c.ended:
		return fmt.Errorf("bench: %s ended: %v", c.name, c.err)
	default:
		return nil
	}
}

// stop ends the child and waits for its end.
func (c *child) stop() {
	c.end()
	<-c.ended
}

// bareChild is the bare server, as a child process. One goroutine uses it.
type bareChild struct {
	*child
	target target
	orders io.Writer
	says   *bufio.Reader
}

// startBare starts this program once more, as a bare server, and waits until
// it listens.
func startBare(ctx context.Context, on core) (*bareChild, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: find this program's file: %w", err)
	}
	b := &bareChild{}
	b.child, err = startChild(ctx, "the bare server", on, func(cmd *exec.Cmd) {
		b.orders, _ = cmd.StdinPipe() // they fail only where there is one already
		says, _ := cmd.StdoutPipe()
		b.says = bufio.NewReader(says)
	}, self, bareCommand)
	if err != nil {
		return nil, err
	}
	var port uint16
	if err := b.expect("port %d\n", &port); err != nil {
		b.stop()
		return nil, err
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	b.target = target{addr: addr, host: addr.String(), path: "/ws?user="}
	return b, nil
}

// expect waits for a line of the bare server.
func (b *bareChild) expect(format string, into ...any) error {
	line, err := b.says.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, format, into...)
	}
	if err != nil {
		return fmt.Errorf("bench: the bare server said %q: %w", line, err)
	}
	return nil
}

// send orders messages, as runBareServer describes, and waits for the end.
func (b *bareChild) send(l load, size int) error {
	what := "one"
	if l.kind == broadcast {
		what = "all"
	}
	if _, err := fmt.Fprintf(b.orders, "%s %d %d %g\n", what, size, l.count, l.rate); err != nil {
		return fmt.Errorf("bench: order the bare server: %w", err)
	}
	return b.expect("done\n")
}
