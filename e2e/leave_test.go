package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A publisher PUBLISHes numbered messages to a list of connections until it is
// stopped, and keeps when each PUBLISH returned.
type publisher struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	returned []time.Time // by number
	err      error
}

// startPublisher publishes on the channel every interval. prefix and suffix
// stand around the number in the message.
func startPublisher(db *redis.Client, channel, prefix, suffix string, every time.Duration) *publisher {
	ctx, cancel := context.WithCancel(context.Background())
	p := &publisher{cancel: cancel, done: make(chan struct{})}
	go p.run(ctx, db, channel, prefix, suffix, every)
	return p
}

func (p *publisher) run(ctx context.Context, db *redis.Client, channel, prefix, suffix string, every time.Duration) {
	defer close(p.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Not ctx: a PUBLISH that is cut off midway may or may not have been.
		err := db.Publish(context.Background(), channel, fmt.Sprint(prefix, n, suffix)).Err()
		p.mu.Lock()
		if p.err == nil {
			p.err = err
		}
		p.returned = append(p.returned, time.Now())
		p.mu.Unlock()
	}
}

// stop ends the publisher and returns when each message's PUBLISH returned.
func (p *publisher) stop(t testing.TB) []time.Time {
	t.Helper()
	p.cancel()
	<-p.done
	if p.err != nil {
		t.Fatalf("the publisher: %v", p.err)
	}
	return p.returned
}

// numbers reads the data of messages that a publisher sent.
func numbers(t testing.TB, messages []received) []int {
	t.Helper()
	var all []int
	for _, m := range messages {
		var f struct{ Data int }
		if err := json.Unmarshal([]byte(m.text), &f); err != nil {
			t.Fatalf("message %v: %v", m, err)
		}
		all = append(all, f.Data)
	}
	return all
}

func TestLeavingLosesNothing(t *testing.T) {
	t.Parallel()
	const connections, delay, drain = 20, 700 * time.Millisecond, 2 * time.Second
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, quick().with("shutdown.delay", delay.String(), "shutdown.drain", drain.String()))
	var clients []*client
	for i := range connections {
		clients = append(clients, dial(t, p, fmt.Sprintf("user-%d", i)))
	}
	dial(t, p, "stubborn", mute()) // never answers the close frame
	before, after, _ := strings.Cut(to(`NUMBER`, clients...), `NUMBER`)
	load := startPublisher(asProducer(r), p.channel, before, after, 5*time.Millisecond)
	defer load.cancel()
	time.Sleep(300 * time.Millisecond)

	left := time.Now()
	p.sigterm()
	p.wantNotReady("leaving", time.Second)
	if late := time.Since(left); late < delay/2 {
		dial(t, p, "late").vanish() // still accepting
	}
	p.signal(syscall.SIGHUP) // ignored while it leaves
	eventually(t, "push:pods:info says draining", delay+slack, func() (bool, any) {
		info := p.info(r)
		return info.Draining, info
	})
	eventually(t, "the listener closes", delay+slack, func() (bool, any) {
		conn, err := net.DialTimeout("tcp", p.listen, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil, "it accepts"
	})
	if closed := time.Since(left); closed < delay*9/10 {
		t.Errorf("the listener closed after %v, want not before shutdown.delay, %v", closed, delay)
	}

	// Entries go one by one, while the last books are read.
	var last books
	entries := make(map[int]bool)
	for !p.hasEnded() && time.Since(left) < delay+drain+15*time.Second {
		n := 0
		for _, c := range clients {
			n += int(db.Exists(t.Context(), userKey(c.user)).Val())
		}
		entries[n] = true
		if n == 0 {
			load.cancel()
		}
		if all, err := p.scrape(); err == nil {
			last = readBooks(all)
		}
		time.Sleep(10 * time.Millisecond)
	}
	returned := load.stop(t)
	p.wantExit("leaving", 0, settle)
	if len(entries) < connections/4 {
		t.Errorf("presence went in %d steps, want one by one over the drain", len(entries))
	}
	if n := r.CLI("ZCARD", "push:pods"); n != "0" {
		t.Errorf("push:pods holds %s pods after the last has left, want 0", n)
	}

	written := 0
	for _, c := range clients {
		messages, closed := c.wantClosed("leaving", 1001, settle)
		if n := retryMillis(t, closed.reason); n > 1000 {
			t.Errorf("%s: retry_ms=%d, want at most 1000: the closes are spread already", c.name, n)
		}
		got := numbers(t, messages)
		for i, n := range got {
			if n != i {
				t.Fatalf("%s: message %d is number %d: something is lost or out of order", c.name, i, n)
			}
		}
		// A test cannot see when the close frame was sent, only when it came.
		const onTheWay = 250 * time.Millisecond
		if n := len(got); n < len(returned) && returned[n].Before(closed.at.Add(-onTheWay)) {
			t.Errorf("%s: message %d was published %v before the close frame and never came",
				c.name, n, closed.at.Sub(returned[n]))
		}
		written += len(got)
	}
	t.Logf("%d messages to %d connections while leaving, %d written; %+v", len(returned), connections, written, last)

	if last.published != len(returned) || last.bad != 0 {
		t.Errorf("envelopes: %d, %d bad, want the %d published", last.published, last.bad, len(returned))
	}
	if last.written != written {
		t.Errorf("written: %d counted, %d arrived", last.written, written)
	}
	if last.targets() != len(returned)*connections {
		t.Errorf("books: %+v make %d targets, want %d × %d", last, last.targets(), len(returned), connections)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, signals := range map[string][2]syscall.Signal{
		"SIGTERM twice":        {syscall.SIGTERM, syscall.SIGTERM},
		"SIGINT, then SIGTERM": {syscall.SIGINT, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPod(t, startRedis(t), quick().with("shutdown.delay", "20s"))
			dial(t, p, "alice")
			p.signal(signals[0])
			p.wantNotReady("leaving", time.Second)
			p.signal(syscall.SIGHUP)
			time.Sleep(200 * time.Millisecond)
			if p.hasEnded() {
				t.Fatalf("SIGHUP while leaving ended it, exit %d", p.status)
			}
			if status, _ := p.readyz(); status != http.StatusServiceUnavailable {
				t.Errorf("readyz after SIGHUP: %d, want 503", status)
			}
			p.signal(signals[1])
			p.wantExit("the second signal", 1, time.Second+slack)
		})
	}
}

func TestPodWithoutConnectionsLeaves(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("shutdown.drain", "30s"))
	left := time.Now()
	p.sigterm()
	p.wantExit("nobody to wait for", 0, 5*time.Second)
	if took := time.Since(left); took < time.Second {
		t.Errorf("ended after %v: it waits a second for what was already published", took)
	}
	if n := r.CLI("HLEN", "push:pods:info"); n != "0" {
		t.Errorf("push:pods:info holds %s pods, want 0", n)
	}
}
