package systemd

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listen stands in for systemd: it returns what is told, one after the other.
func listen(t *testing.T) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		t.Helper()
		b := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("nothing is told: %v", err)
		}
		return string(b[:n])
	}
}

func failing(t *testing.T) func(error) {
	return func(err error) { t.Errorf("it failed: %v", err) }
}

func TestWhatSystemdIsTold(t *testing.T) {
	next := listen(t)
	s := New(failing(t))
	for _, x := range []struct {
		tell func()
		want string // a pattern
	}{
		{s.Ready, `READY=1`},
		{func() { s.Status("not ready: Redis is\naway") }, `STATUS=not ready: Redis is away`}, // a line of its own would be another variable
		{s.Reloading, `RELOADING=1\nMONOTONIC_USEC=[0-9]+\n?`},
		{func() { s.Stopping(90 * time.Second) }, `STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000`},
	} {
		x.tell()
		if got := next(); !regexp.MustCompile(`^` + x.want + `$`).MatchString(got) {
			t.Errorf("told %q, want %q", got, x.want)
		}
	}
}

// watchdog sets WatchdogSec.
func watchdog(t *testing.T, period time.Duration) {
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(period.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
}

func TestTheWatchdogIsFedWhileThereIsLife(t *testing.T) {
	next := listen(t)
	watchdog(t, 300*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	hangs, late, ended := make(chan chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	var asked atomic.Int32
	go func() {
		defer close(ended)
		New(failing(t)).Watch(ctx, func() {
			asked.Add(1)
			select {
			case until := <-hangs:
				<-until
			default:
			}
		}, func() { late <- struct{}{} })
	}()
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Fatalf("told %q", got)
		}
	}
	until := make(chan struct{})
	hangs <- until
	<-late // said before systemd ends the process
	before := asked.Load()
	time.Sleep(400 * time.Millisecond) // longer than the period
	if asked.Load() != before {
		t.Error("it asks again while it hangs")
	}
	close(until)
	next()
	cancel()
	<-ended
}

func TestWithoutAWatchdogNobodyIsAsked(t *testing.T) {
	listen(t)
	New(failing(t)).Watch(t.Context(), func() { t.Error("it asks") }, nil)
}

func TestWithoutSystemdNothingIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	s := New(failing(t))
	s.Ready()
	s.Status("x")
}

func TestAFailureIsSaidOnce(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	var said []string
	s := New(func(err error) { said = append(said, err.Error()) })
	s.Ready()
	s.Ready()
	if len(said) != 1 || !strings.HasPrefix(said[0], "systemd: ") {
		t.Errorf("said %q", said)
	}
}
