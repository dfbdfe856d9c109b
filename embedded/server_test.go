package embedded

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/proto"
)

// patience is how long a test waits for what must come; slow machines need it.
const patience = 20 * time.Second

func start(t *testing.T, addr string) *Server {
	t.Helper()
	s, err := Start(addr, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

type client struct {
	t *testing.T
	c *proto.Client
}

func dial(t *testing.T, s *Server) client {
	t.Helper()
	c, err := proto.Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{t, c}
}

func (c client) do(command ...string) string {
	c.t.Helper()
	reply, err := c.c.Do(command...)
	if err != nil {
		c.t.Fatalf("%s: %v", command, err)
	}
	return strings.TrimSpace(reply)
}

func (c client) want(reply string, command ...string) {
	c.t.Helper()
	if got := c.do(command...); got != reply {
		c.t.Fatalf("%s answers %q, want %q", command, got, reply)
	}
}

// wantSoon repeats the command until it answers so.
func (c client) wantSoon(reply string, command ...string) {
	c.t.Helper()
	got := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(tick / 4) {
		if got = c.do(command...); got == reply {
			return
		}
	}
	c.t.Fatalf("%s answers %q, want %q", command, got, reply)
}

func TestKeyExpiresInRealTime(t *testing.T) {
	c := dial(t, start(t, "127.0.0.1:0"))
	c.want("+OK", "SET", "stays", "x")
	begun := time.Now()
	c.want("+OK", "SET", "goes", "x", "PX", "700")
	c.want(":1", "EXISTS", "goes")
	c.wantSoon(":0", "EXISTS", "goes")
	// Early by a tick at most; how late is the machine's affair.
	if passed := time.Since(begun); passed < 700*time.Millisecond-2*tick {
		t.Errorf("700 ms passed in %s", passed)
	}
	c.want(":1", "EXISTS", "stays")
}

func TestHashFieldExpiresInRealTime(t *testing.T) {
	c := dial(t, start(t, "127.0.0.1:0"))
	c.want(":2", "HSET", "user", "a", "pod", "b", "pod")
	begun := time.Now()
	c.want("*1\r\n:1", "HEXPIRE", "user", "1", "FIELDS", "1", "a")
	c.wantSoon(":0", "HEXISTS", "user", "a")
	if passed := time.Since(begun); passed < time.Second-2*tick {
		t.Errorf("a second passed in %s", passed)
	}
	c.want(":1", "HEXISTS", "user", "b")
	c.want("*1\r\n:1", "HEXPIRE", "user", "1", "FIELDS", "1", "b")
	c.wantSoon(":0", "EXISTS", "user")
}

func TestRenewedKeyStays(t *testing.T) {
	c := dial(t, start(t, "127.0.0.1:0"))
	c.want("+OK", "SET", "renewed", "x")
	for begun := time.Now(); time.Since(begun) < 1500*time.Millisecond; time.Sleep(tick) {
		c.want(":1", "EXPIRE", "renewed", "60")
	}
	c.want(":1", "EXISTS", "renewed")
}

func TestTimeIsTheMachines(t *testing.T) {
	c := dial(t, start(t, "127.0.0.1:0"))
	read := func() time.Time {
		parts, err := proto.ReadStrings(c.do("TIME") + "\r\n")
		if err != nil || len(parts) != 2 {
			t.Fatalf("TIME: %q, %v", parts, err)
		}
		seconds, _ := strconv.ParseInt(parts[0], 10, 64)
		micros, _ := strconv.ParseInt(parts[1], 10, 64)
		return time.Unix(seconds, micros*1000)
	}
	for range 3 {
		before := time.Now().Truncate(time.Microsecond)
		got := read()
		if after := time.Now(); got.Before(before) || got.After(after) {
			t.Errorf("TIME is %s, between %s and %s", got, before, after)
		}
		time.Sleep(2 * tick)
	}
	c.want(":"+strconv.FormatInt(read().Unix(), 10)[:6], "EVAL", "return tonumber(string.sub(redis.call('TIME')[1], 1, 6))", "0")
}

func TestNextFreePortIsTaken(t *testing.T) {
	first := start(t, "127.0.0.1:0")
	var told []string
	second, err := Start(first.Addr(), func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	a, b := port(t, first.Addr()), port(t, second.Addr())
	// Others on this machine may have the ports in between.
	if b == a || b > a && b >= a+portTries {
		t.Errorf("beside port %d stands %d", a, b)
	}
	if len(told) != 1 || !strings.Contains(told[0], first.Addr()) || !strings.Contains(told[0], second.Addr()) {
		t.Errorf("told: %q", told)
	}
	dial(t, second).want("+PONG", "PING")
	third, err := Start(first.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	third.Close()
}

func TestCandidatesEndWithAnyFreePort(t *testing.T) {
	for _, c := range []struct {
		port, n int
		first   int
	}{{6379, 101, 6379}, {65535, 2, 65535}, {65500, 37, 65500}, {0, 1, 0}} {
		ports := candidates(c.port)
		if len(ports) != c.n || ports[0] != c.first || ports[len(ports)-1] != 0 || slices.Max(ports) > maxPort {
			t.Errorf("after %d: %d ports, %v", c.port, len(ports), ports)
		}
	}
}

func TestAddressThatCannotBeListenedOnIsNamed(t *testing.T) {
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "203.0.113.1:6379", "nowhere.invalid:6379"} {
		s, err := Start(addr, nil)
		if err == nil {
			s.Close()
			t.Errorf("Start(%q) listens on %s", addr, s.Addr())
			continue
		}
		if !strings.HasPrefix(err.Error(), "embedded: ") || !strings.Contains(err.Error(), addr) {
			t.Errorf("Start(%q): %v", addr, err)
		}
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	s := start(t, "127.0.0.1:0")
	dial(t, s).want("+OK", "SET", "a", "1")
	dial(t, s).do("SUBSCRIBE", "push:all")
	waiting := dial(t, s)
	if err := proto.Write(rawConn(t, s), []string{"BLPOP", "list", "0"}); err != nil {
		t.Fatal(err)
	}
	waiting.want("+PONG", "PING")

	var wg sync.WaitGroup
	for range 3 {
		wg.Go(s.Close)
	}
	wg.Wait()
	s.Close()
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("still listening")
	}
	// miniredis's readers end with their connections, a moment after Close.
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestCloseEndsASubscriberThatDoesNotRead: its socket fills, miniredis waits
// for it with its lock held, and nothing else is answered.
func TestCloseEndsASubscriberThatDoesNotRead(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	if err := proto.Write(rawConn(t, s), []string{"SUBSCRIBE", "push:all"}); err != nil {
		t.Fatal(err)
	}
	dial(t, s).wantSoon("*2\r\n$8\r\npush:all\r\n:1", "PUBSUB", "NUMSUB", "push:all")

	publisher := rawConn(t, s)
	message := strings.Repeat("x", 1<<20)
	for range 64 {
		publisher.SetWriteDeadline(time.Now().Add(time.Second))
		if proto.Write(publisher, []string{"PUBLISH", "push:all", message}) != nil {
			break
		}
	}
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close hangs")
	}
}

func rawConn(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func port(t *testing.T, addr string) int {
	t.Helper()
	_, digits, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
