package source

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// newTestSocket returns a source, and the other end of its connection.
func newTestSocket(t testing.TB) (*socket, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	spare := new(atomic.Bool)
	spare.Store(runtime.GOMAXPROCS(0) > 1)
	s, ok := New(ours, spare).(*socket)
	if !ok {
		t.Fatal("a TCP connection is not read as a socket")
	}
	if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is not taken over: %v", err)
	}
	t.Cleanup(func() { s.Close(); theirs.Close() })
	return s, theirs
}

// Pauses on both sides of the time for which the reader keeps its processor: it
// changes from one way of waiting to the other again and again.
func TestNothingIsLostBetweenTheTwoWaysOfWaiting(t *testing.T) {
	t.Parallel()
	s, theirs := newTestSocket(t)
	const messages = 3000
	go func() {
		random := rand.New(rand.NewPCG(3, 4))
		pause := time.Duration(0)
		for i := range messages {
			if i%50 == 0 {
				pause = []time.Duration{0, 100 * time.Microsecond, time.Millisecond, keepFor, 2 * keepFor}[random.IntN(5)]
			}
			if pause > time.Millisecond && i%10 > 0 {
				time.Sleep(time.Duration(random.Int64N(int64(time.Millisecond))))
			} else {
				time.Sleep(pause)
			}
			if _, err := io.WriteString(theirs, strconv.Itoa(i)+"\n"); err != nil {
				return
			}
		}
		theirs.Close()
	}()
	var got []byte
	b := make([]byte, 1000)
	kept, parked := 0, 0
	for {
		n, err := s.Read(b, true)
		if err == io.EOF {
			break
		}
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		got = append(got, b[:n]...)
		if s.watched {
			parked++
		} else {
			kept++
		}
	}
	for i, line := range bytes.Split(bytes.TrimSuffix(got, []byte("\n")), []byte("\n")) {
		if string(line) != strconv.Itoa(i) {
			t.Fatalf("message %d is %q", i, line)
		}
	}
	if runtime.GOMAXPROCS(0) > 1 && (kept == 0 || parked == 0) {
		t.Errorf("%d reads with the processor kept, %d in the poller: one way was not tried", kept, parked)
	}
}

// The runtime would interrupt a reader that never waits where it knows of it.
func TestTheProcessorIsGivenUpNowAndThenWhileMessagesCome(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("with one processor none is kept")
	}
	s, theirs := newTestSocket(t)
	const looks = 25
	go func() {
		for end := time.Now().Add(looks * keepMost); time.Now().Before(end); time.Sleep(keepFor / 20) {
			_, _ = io.WriteString(theirs, "x")
		}
		theirs.Close()
	}()
	parked := 0
	for {
		_, err := s.Read(make([]byte, 10), true)
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if s.watched {
			parked++
		}
	}
	if parked < looks/5 {
		t.Errorf("given up %d times in %d times as long as it may be kept", parked, looks)
	}
}

func TestAReadThatShallNotWaitDoesNot(t *testing.T) {
	s, theirs := newTestSocket(t)
	b := make([]byte, 10)
	if n, err := s.Read(b, false); n != 0 || err != nil {
		t.Error(n, err)
	}
	_, _ = io.WriteString(theirs, "abc")
	if n, err := s.Read(b, true); string(b[:n]) != "abc" || err != nil {
		t.Errorf("%q, %v", b[:n], err)
	}
	theirs.Close()
	if _, err := s.Read(b, true); err != io.EOF {
		t.Errorf("%v, want EOF", err)
	}
}

func TestAReadThatWaitsIsEndedFromElsewhere(t *testing.T) {
	for name, wait := range map[string]time.Duration{"while it keeps its processor": 0, "while it is in the poller": 4 * keepFor} {
		s, _ := newTestSocket(t)
		time.AfterFunc(wait, func() { s.End(); s.End() })
		if n, err := s.Read(make([]byte, 10), true); err == nil {
			t.Errorf("%s: read %d bytes", name, n)
		}
		s.Close()
		s.End() // it comes too late, and does nothing
		s.Close()
	}
}

// openDescriptors counts those of this process.
func openDescriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A pod makes a source for each subscription; it lives for months.
func TestClosingLeavesNoDescriptorOpen(t *testing.T) {
	endToEnd := func() {
		s, theirs := newTestSocket(t)
		s.Close()
		theirs.Close()
	}
	endToEnd() // the runtime's own are made once
	before := openDescriptors(t)
	for range 5 {
		endToEnd()
	}
	if now := openDescriptors(t); now != before {
		t.Errorf("%d descriptors are open, before there were %d", now, before)
	}
}

// The descriptors' numbers may be others' by then.
func TestWhatComesAfterCloseTouchesNobodyElse(t *testing.T) {
	s, _ := newTestSocket(t)
	s.Close()
	var others []*socket
	var feeds []net.Conn
	for range 5 {
		other, theirs := newTestSocket(t)
		others, feeds = append(others, other), append(feeds, theirs)
	}
	before := openDescriptors(t)
	s.End()
	s.Close()
	if now := openDescriptors(t); now != before {
		t.Errorf("%d descriptors are open, before there were %d", now, before)
	}
	b := make([]byte, 10)
	for i, other := range others {
		_, _ = io.WriteString(feeds[i], "abc")
		if n, err := other.Read(b, true); string(b[:n]) != "abc" || err != nil {
			t.Errorf("source %d reads %q, %v", i, b[:n], err)
		}
	}
}

// With one processor all else would wait while the reader keeps it.
func TestOneProcessorIsNotKept(t *testing.T) {
	s, theirs := newTestSocket(t)
	s.spare.Store(false)
	for range 10 {
		_, _ = io.WriteString(theirs, "x")
		if _, err := s.Read(make([]byte, 10), true); err != nil || !s.watched {
			t.Fatal(err, s.watched)
		}
	}
}
