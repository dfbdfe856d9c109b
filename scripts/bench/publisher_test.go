//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pushpod/internal/resp"
)

func TestThePacerIsEven(t *testing.T) {
	const start = int64(1_700_000_000_000_000_000)
	for rate, want := range map[float64]int64{0: 0, 0.5: 2e9, 6: 166_666_666, 10_000: 100_000} {
		p := pacer{start, rate}
		for i := range 5000 {
			if got := p.due(i+1) - p.due(i); got < want-300 || got > want+300 { // a float64 of such a sum is exact to 256 ns
				t.Fatalf("rate %v: %d ns from message %d to the next, want %d", rate, got, i, want)
			}
		}
	}
}

func TestAPublisherWaitsForAnswersUnlessThatIsTooSlow(t *testing.T) {
	const ms = int64(time.Millisecond)
	a := inflight{limit: 1}
	for now := int64(0); now < 1000*ms; now += ms { // in time, but for a stall
		due := now
		if 200*ms < now && now < 240*ms {
			due = 200 * ms
		}
		a.late(now, due)
	}
	if a.limit != 1 {
		t.Fatalf("%d in flight in spite of a rate that is reached, want 1", a.limit)
	}
	for now := 1000 * ms; now < 1200*ms; now += ms { // always late
		a.late(now, now-10*ms)
	}
	if a.limit != 16 {
		t.Errorf("%d in flight after 200 ms behind the pace, want 16", a.limit)
	}
	for now := 1200 * ms; now < 9000*ms; now += ms {
		a.late(now, now-10*ms)
	}
	if a.limit != maxInflight {
		t.Errorf("%d in flight, want the bound, %d", a.limit, maxInflight)
	}
}

func TestAPacedPublisherDoesNotSendAheadOfTheAnswers(t *testing.T) {
	f := newFakeRedis(t, "")
	p, err := newPublisher(t.Context(), f.server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if err := p.publish(ctx, load{count: 1000, rate: 1000}, numbers); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want the deadline", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// 1, and twice as many every 50 ms; all that are due would be 150.
	if n := len(f.got); n < 1 || n > 20 {
		t.Errorf("%d messages without an answer in 150 ms, want 1 to 20", n)
	}
}

// fakeRedis answers every command with reply, and keeps what it was sent.
type fakeRedis struct {
	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	got      []string // the last argument of each PUBLISH
}

func newFakeRedis(t *testing.T, reply string) *fakeRedis {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeRedis{listener: l}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.serve(c, reply) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.wg.Wait()
	})
	return f
}

func (f *fakeRedis) serve(c net.Conn, answer string) {
	defer c.Close()
	var in []byte
	r := resp.Reader{MaxString: 1000, MaxFields: 10} // a command looks like an array in a reply
	for buf := make([]byte, 4096); ; {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		in = append(in, buf[:n]...)
		for {
			taken, err := r.Parse(in)
			if err != nil || taken == 0 {
				break
			}
			say := answer
			if string(r.Fields[0]) == "PUBLISH" {
				f.mu.Lock()
				f.got = append(f.got, string(r.Fields[2]))
				f.mu.Unlock()
			} else {
				say = "+PONG\r\n"
			}
			in = in[taken:]
			if _, err := c.Write([]byte(say)); err != nil {
				return
			}
		}
	}
}

func (f *fakeRedis) server(t *testing.T) redisServer {
	t.Helper()
	return redisServer{addr: f.listener.Addr().String()}
}

func (f *fakeRedis) wantNumbers(t *testing.T, n int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) != n {
		t.Fatalf("%d messages were published, want %d", len(f.got), n)
	}
	for i, text := range f.got {
		if text != strconv.Itoa(i) {
			t.Fatalf("message %d is %q: out of order", i, text)
		}
	}
}

func numbers(dst []byte, i int, _ int64) []byte {
	return appendPublish(dst, "c", []byte(strconv.Itoa(i)))
}

func TestEachMessageIsPublishedOnceInOrder(t *testing.T) {
	t.Run("paced", func(t *testing.T) {
		f := newFakeRedis(t, ":1\r\n")
		p, err := newPublisher(t.Context(), f.server(t))
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		start := time.Now()
		if err := p.publish(t.Context(), load{count: 300, rate: 1000}, numbers); err != nil {
			t.Fatal(err)
		}
		f.wantNumbers(t, 300)
		// The last is due after 299 ms; a bound below only: above it is the machine's.
		if took := time.Since(start); took < 299*time.Millisecond {
			t.Errorf("300 messages at 1,000/s took %v: too fast", took)
		}
		if p.receivers != 300 || p.waiting != 0 {
			t.Errorf("receivers %d, waiting %d; want 300, 0", p.receivers, p.waiting)
		}
	})
	t.Run("flat out", func(t *testing.T) {
		f := newFakeRedis(t, ":2\r\n")
		p, err := newPublisher(t.Context(), f.server(t))
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		if err := p.publish(t.Context(), load{count: 10*window + 3}, numbers); err != nil {
			t.Fatal(err)
		}
		f.wantNumbers(t, 10*window+3)
		if want := int64(2 * (10*window + 3)); p.receivers != want {
			t.Errorf("receivers %d, want %d", p.receivers, want)
		}
	})
}

func TestPublishingEndsWhereRedisRefusesOrIsSilent(t *testing.T) {
	refusing, err := newPublisher(t.Context(), newFakeRedis(t, "-NOPERM no\r\n").server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer refusing.close()
	if err := refusing.publish(t.Context(), load{count: 5}, numbers); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("error %v, want what Redis said", err)
	}

	silent, err := newPublisher(t.Context(), newFakeRedis(t, "").server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := silent.publish(ctx, load{count: 5}, numbers); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "5 PUBLISHes") {
		t.Errorf("error %v, want the context's, and how many answers are missing", err)
	}
}

func TestAPublishIsACommandInRESP(t *testing.T) {
	const want = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$4\r\na\r\nb\r\n"
	if got := appendPublish(nil, "c", []byte("a\r\nb")); !bytes.Equal(got, []byte(want)) {
		t.Errorf("got %q, want %q", got, want)
	}
}
