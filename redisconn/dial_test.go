package redisconn

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// soon bounds what a test waits for.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// say sends a command by hand, and returns the beginning of the answer.
func say(t *testing.T, c net.Conn, command string) string {
	t.Helper()
	b := make([]byte, 200)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestDialLogsInAndSelectsTheDatabase(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	o := Options{Addresses: []string{s.Addr()}, Password: "secret", DB: 3}
	c, err := Dial(soon(t), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := say(t, c, "CLIENT INFO"); !strings.Contains(got, " db=3 ") {
		t.Errorf("answered %q", got)
	}
	o.Password = "wrong"
	if c, err := Dial(soon(t), o); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("%v, %v; want WRONGPASS", c, err)
	}
}

// Contract: subscribing needs no command but AUTH, HELLO, SELECT and SUBSCRIBE.
func TestDialNeedsNoRightsBeyondTheLogin(t *testing.T) {
	s := redistest.Start(t)
	if err := s.Client().Do(soon(t), "ACL", "SETUSER", "reader", "on", ">secret", "&*", "+auth", "+hello", "+select", "+subscribe").Err(); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(soon(t), Options{Addresses: []string{s.Addr()}, Username: "reader", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := say(t, c, "SUBSCRIBE news"); !strings.Contains(got, "subscribe") {
		t.Errorf("answered %q", got)
	}
}

func TestDialFailsWhereNobodyAnswersInTime(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s.Addr())
	proxy.Stall(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if c, err := Dial(ctx, Options{Addresses: []string{proxy.Addr()}}); err == nil {
		c.Close()
		t.Error("no error")
	}
	proxy.Refuse(true)
	if c, err := Dial(soon(t), Options{Addresses: []string{proxy.Addr()}}); err == nil {
		c.Close()
		t.Error("no error")
	}
	if c, err := Dial(soon(t), Options{Addresses: []string{s.Addr(), s.Addr()}}); err == nil {
		c.Close()
		t.Error("no error for a Cluster")
	}
}

// Whenever the time of a dial ends, there is a connection or an error.
func TestDialWhoseTimeEndsSaysSo(t *testing.T) {
	s := redistest.Start(t)
	e := NewEndpoint(Options{Addresses: []string{s.Addr()}})
	defer e.Close()
	start := time.Now()
	c, _, err := e.Dial(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	usual := time.Since(start)
	for i := range 400 {
		ctx, cancel := context.WithTimeout(t.Context(), usual/4+usual*time.Duration(i)/200)
		c, _, err := e.Dial(ctx)
		cancel()
		if (c == nil) != (err != nil) {
			t.Fatalf("Dial = %v, %v", c, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

func TestDialsAreCounted(t *testing.T) {
	s := redistest.Start(t)
	c := NewClient(Options{Addresses: []string{s.Addr()}, PoolSize: 1})
	defer c.Close()
	made := CountDials(c)
	for want := uint64(1); want <= 3; want++ {
		for range 5 {
			if err := c.Ping(soon(t)).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := made.Load(); got != want {
			t.Errorf("%d connections are counted, want %d", got, want)
		}
		if err := s.Client().Do(soon(t), "CLIENT", "KILL", "TYPE", "normal").Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // the end must have come here
	}
}
