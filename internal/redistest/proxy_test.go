package redistest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// echo listens on a free port and sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func exchange(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("echo of %q = %q, %v", text, got, err)
	}
}

func TestProxyForwardsAndCuts(t *testing.T) {
	p := redistest.NewProxy(t, echo(t))
	c := dial(t, p.Addr())
	exchange(t, c, "hello")
	p.Cut()
	if _, err := io.ReadAll(c); err != nil && !isReset(err) {
		t.Fatalf("read after a cut: %v", err)
	}
	exchange(t, dial(t, p.Addr()), "again")
	if p.Accepted() != 2 || p.Cuts() != 1 {
		t.Fatalf("accepted %d, cuts %d; want 2 and 1", p.Accepted(), p.Cuts())
	}
}

// isReset tells an end of the connection from a deadline that passed.
func isReset(err error) bool {
	var timeout net.Error
	return !errors.As(err, &timeout) || !timeout.Timeout()
}

func TestProxyCutsInTheMiddleOfAReplyOnce(t *testing.T) {
	p := redistest.NewProxy(t, echo(t))
	c := dial(t, p.Addr())
	exchange(t, c, "hello")
	p.CutAfter(3)
	if _, err := io.WriteString(c, "abcdef"); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(c); string(got) != "abc" {
		t.Fatalf("got %q through the cut, want abc", got)
	}
	exchange(t, dial(t, p.Addr()), "whole again")
}

func TestProxyStallsAndLetsGo(t *testing.T) {
	p := redistest.NewProxy(t, echo(t))
	c := dial(t, p.Addr())
	p.Stall(true)
	if _, err := io.WriteString(c, "late"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	if p.Carried() != 0 {
		t.Fatalf("%d bytes went through a stalled proxy", p.Carried())
	}
	p.Stall(false)
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "late" {
		t.Fatalf("after the stall: %q, %v", got, err)
	}
}

func TestProxyRefusesWhileToldSo(t *testing.T) {
	p := redistest.NewProxy(t, echo(t))
	p.Refuse(true)
	c := dial(t, p.Addr())
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("a refusing proxy let a byte through")
	}
	p.Refuse(false)
	exchange(t, dial(t, p.Addr()), "back")
}

func TestProxyRefusesSoManyConnections(t *testing.T) {
	p := redistest.NewProxy(t, echo(t))
	p.RefuseNext(2)
	for range 2 {
		if _, err := dial(t, p.Addr()).Read(make([]byte, 1)); err == nil {
			t.Fatal("a refusing proxy let a byte through")
		}
	}
	exchange(t, dial(t, p.Addr()), "the third")
}

func TestProxyRetargetLeadsToAnotherServer(t *testing.T) {
	p := redistest.NewProxy(t, "127.0.0.1:1") // nothing listens there
	if _, err := dial(t, p.Addr()).Read(make([]byte, 1)); err == nil {
		t.Fatal("a byte came from nowhere")
	}
	p.Retarget(echo(t))
	exchange(t, dial(t, p.Addr()), "there")
}

func TestProxyLeadsNewConnectionsElsewhere(t *testing.T) {
	p := redistest.NewProxy(t, echo(t))
	old := dial(t, p.Addr())
	exchange(t, old, "here")
	p.Lead("127.0.0.1:1")
	if _, err := dial(t, p.Addr()).Read(make([]byte, 1)); err == nil {
		t.Fatal("a byte came from nowhere")
	}
	exchange(t, old, "still here")
}

func TestStrandedBytesArriveAtRelease(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	old := dial(t, p.Addr())
	if _, err := io.WriteString(old, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(old, make([]byte, 7)); err != nil { // it is linked now
		t.Fatal(err)
	}
	p.Strand()
	if _, err := io.WriteString(old, "SET k late\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = old.Close()
	young := dial(t, p.Addr())
	if _, err := io.WriteString(young, "SET k early\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(young, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if got := s.CLI("GET", "k"); got != "early" {
		t.Fatalf("before the release: %q", got)
	}
	p.Release()
	for deadline := time.Now().Add(10 * time.Second); s.CLI("GET", "k") != "late"; {
		if time.Now().After(deadline) {
			t.Fatal("the stranded bytes did not arrive")
		}
	}
}
