package source

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pushpod/internal/redistest"
	"pushpod/redisconn"
)

// Redis sends records of 16 KiB and less, however much there is: what goes to one client
// goes in one write only if it is read at once.
func TestAllRecordsOfTLSThatAreThereAreReadAtOnce(t *testing.T) {
	certs := redistest.NewCerts(t, "redis.test")
	r := redistest.StartTLS(t, certs)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := redisconn.Dial(ctx, redisconn.Options{Addresses: []string{r.Addr()}, TLS: &redisconn.TLS{CAFile: certs.CA}})
	if err != nil {
		t.Fatal(err)
	}
	s := New(conn, new(atomic.Bool))
	defer s.Close()
	b := make([]byte, 100_000)
	if err := s.Write([]byte("SUBSCRIBE news\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(b, true); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if n, err := s.Read(b, false); n != 0 || err != nil {
		t.Fatalf("a read that shall not wait: %d, %v", n, err)
	}
	message := strings.Repeat("x", 1000)
	pipe := r.Client().Pipeline()
	for range 50 {
		pipe.Publish(ctx, "news", message)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // all has come
	n, err := s.Read(b, false)
	if got := strings.Count(string(b[:n]), message); err != nil || got != 50 {
		t.Errorf("%d messages are read at once, of 50: %v", got, err)
	}
	// The end is told, also where something is read before it.
	if err := r.Client().Publish(ctx, "news", "last").Err(); err != nil {
		t.Fatal(err)
	}
	r.CLI("CLIENT", "KILL", "TYPE", "pubsub")
	time.Sleep(100 * time.Millisecond)
	if n, err := s.Read(b, true); err != nil || !strings.Contains(string(b[:n]), "last") {
		t.Errorf("%q, %v", b[:n], err)
	}
	for _, wait := range []bool{false, true} {
		if n, err := s.Read(b, wait); err == nil {
			t.Errorf("after the end: %d bytes", n)
		}
	}
}

// Where a connection can't say whether there is more, it is read once.
func TestAConnectionThatIsNoSocketIsReadAsAStream(t *testing.T) {
	ours, theirs := net.Pipe()
	s := New(ours, new(atomic.Bool))
	b := make([]byte, 10)
	if n, err := s.Read(b, false); n != 0 || err != nil {
		t.Errorf("a read that shall not wait: %d, %v", n, err)
	}
	go func() { _, _ = io.WriteString(theirs, "abc") }()
	if n, err := s.Read(b, true); string(b[:n]) != "abc" || err != nil {
		t.Errorf("%q, %v", b[:n], err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.Read(b, true)
		ended <- err
	}()
	s.End()
	if err := <-ended; err == nil {
		t.Error("a read goes on after the end")
	}

	ours, theirs = net.Pipe()
	New(ours, new(atomic.Bool)).Close()
	if _, err := theirs.Read(b); err != io.EOF {
		t.Errorf("the connection is not closed: %v", err)
	}
}
