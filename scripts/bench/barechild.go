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
	"strings"
	"time"
)

// bareChild is the bare server, as a child process. One goroutine uses it.
type bareChild struct {
	*child
	target target
	orders io.WriteCloser
	says   *bufio.Reader
	forget func() bool
}

// startBare starts this program once more, as a bare server, and waits until
// it listens. It ends with ctx, or with close.
func startBare(ctx context.Context, core int) (*bareChild, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: find this program's file: %w", err)
	}
	cmd := exec.Command(self, bareCommand)
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: start the bare server: %w", err)
	}
	says, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: start the bare server: %w", err)
	}
	c, err := startChild("the bare server", cmd, core)
	if err != nil {
		return nil, err
	}
	b := &bareChild{child: c, orders: orders, says: bufio.NewReader(says)}
	b.forget = context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // ends whoever waits for an answer
	line, err := b.says.ReadString('\n')
	var port uint16
	if err == nil {
		_, err = fmt.Sscanf(line, "port %d", &port)
	}
	if err != nil {
		b.close()
		return nil, fmt.Errorf("bench: start the bare server: %w; it said: %s", err, c.stderr.String())
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	b.target = target{addr: addr, host: addr.String(), path: "/ws?user="}
	return b, nil
}

func (b *bareChild) close() {
	b.forget()
	_ = b.orders.Close() // its end is an order to leave
	b.stop(2 * time.Second)
}

// send orders messages, as runBareServer describes, and waits for the end.
func (b *bareChild) send(k kind, size, count int, rate float64) error {
	what := "one"
	if k == broadcast {
		what = "all"
	}
	if _, err := fmt.Fprintf(b.orders, "%s %d %d %g\n", what, size, count, rate); err != nil {
		return fmt.Errorf("bench: order the bare server: %w", err)
	}
	line, err := b.says.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "done" {
		return fmt.Errorf("bench: the bare server gave up: %v; it said: %s", err, b.stderr.String())
	}
	return nil
}
