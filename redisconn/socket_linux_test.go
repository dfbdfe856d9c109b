package redisconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// socketPair returns a socket and the other end of its connection.
func socketPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err = dialSocket(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	if _, ok := ours.(*socket); !ok {
		t.Fatalf("a %T", ours)
	}
	return ours, theirs
}

func TestSocketCarriesMoreThanFitsIntoTheSystem(t *testing.T) {
	ours, theirs := socketPair(t)
	sent := make([]byte, 16<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range sent {
		sent[i] = byte(random.Uint32())
	}
	go func() { // echoes
		_, _ = io.Copy(theirs, theirs)
		theirs.(*net.TCPConn).CloseWrite()
	}()
	written := make(chan error, 1)
	go func() {
		_, err := ours.Write(sent)
		ours.(*socket).CloseWrite()
		written <- err
	}()
	got, err := io.ReadAll(ours)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestSocketKeepsItsDeadlines(t *testing.T) {
	ours, _ := socketPair(t)
	for name, act := range map[string]func() error{
		"read":  func() error { _, err := ours.Read(make([]byte, 1)); return err },
		"write": func() error { _, err := ours.Write(make([]byte, 64<<20)); return err },
	} {
		if err := ours.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		err := act()
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v, want a timeout", name, err)
		}
	}
}

func TestSocketIsWokenByItsOwnClose(t *testing.T) {
	ours, _ := socketPair(t)
	time.AfterFunc(10*time.Millisecond, func() { ours.Close() })
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
	if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
}

func TestSocketTellsWhetherItIsAlive(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(theirs net.Conn)
		dead    bool
	}{
		"nothing happens":      {func(net.Conn) {}, false},
		"an unasked answer":    {func(c net.Conn) { _, _ = io.WriteString(c, "+OK") }, true},
		"the other end leaves": {func(c net.Conn) { c.Close() }, true},
		"the other end resets": {func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() }, true},
	} {
		ours, theirs := socketPair(t)
		c.happens(theirs)
		var err error
		for end := time.Now().Add(time.Second); err == nil && c.dead && time.Now().Before(end); time.Sleep(time.Millisecond) {
			_, err = ours.(*socket).SyscallConn()
		}
		if !c.dead {
			_, err = ours.(*socket).SyscallConn()
		}
		if (err != nil) != c.dead {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The library looks at a connection before it uses it again; a client that sends
// each command once at most would otherwise fail for each that Redis has closed.
func TestConnectionsThatRedisHasClosedAreNotUsedAgain(t *testing.T) {
	s := redistest.Start(t)
	c := NewClient(Options{Addresses: []string{s.Addr()}, NoRetry: true})
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 20 {
		if err := c.Ping(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Client().Do(ctx, "CLIENT", "KILL", "TYPE", "normal").Int(); err != nil || n == 0 {
			t.Fatal(n, err)
		}
		time.Sleep(5 * time.Millisecond) // the end must have come here
	}
}
