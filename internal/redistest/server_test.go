package redistest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

func TestServerAnswersAndRestartsEmptyOnItsPort(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	ctx := t.Context()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := s.CLI("GET", "k"); got != "v" {
		t.Fatalf("redis-cli GET = %q, want v", got)
	}
	addr := s.Addr()
	s.Kill()
	if err := c.Ping(ctx).Err(); err == nil {
		t.Fatal("a killed server answered")
	}
	s.Restart()
	if s.Addr() != addr {
		t.Fatalf("the server moved from %s to %s", addr, s.Addr())
	}
	if n, err := c.Exists(ctx, "k").Result(); err != nil || n != 0 {
		t.Fatalf("EXISTS after restart = %d, %v; want 0", n, err)
	}
}

func TestPausedServerIsSilentUntilResumed(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx).Err(); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "timeout") {
		t.Fatalf("ping of a paused server: %v, want a timeout", err)
	}
	s.Resume()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestArgumentsReachTheServer(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "hunter2")
	if _, err := s.TryCLI("PING"); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Fatalf("PING without a password: %v, want NOAUTH", err)
	}
	if got := s.CLI("-a", "hunter2", "--no-auth-warning", "PING"); got != "PONG" {
		t.Fatalf("PING with the password = %q", got)
	}
}
