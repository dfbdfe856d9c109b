package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// crowdSize is how many connections TestCrowd opens: 10,000, or fewer where
// asked for or where this process may not have so many descriptors.
func crowdSize(t *testing.T) int {
	t.Helper()
	const many, few = 10_000, 2_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	switch {
	case testing.Short():
		return few
	case limit.Cur < many+many/5:
		t.Logf("at most %d descriptors: %d connections instead of %d", limit.Cur, few, many)
		return few
	}
	return many
}

// joinCrowd connects one of a crowd. It has no reader of its own: what is pushed waits
// in the socket until somebody looks.
func joinCrowd(t *testing.T, addr string, i int) (*client, error) {
	c, refusal, err := tryDial(t, addr, fmt.Sprintf("user-%d", i), func(d *dialing) {
		d.paused, d.from = true, fmt.Sprintf("127.0.%d.%d", 1+i/200%50, 1+i%200)
	})
	if refusal != nil {
		return nil, fmt.Errorf("refused: %d %s", refusal.status, refusal.body)
	}
	return c, err
}

// readNext reads one frame, and checks that it is a message with that data.
func (c *client) readNext(data string) error {
	_ = c.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, payload, err := readFrame(c.br)
	if want := `{"type":"message","data":` + data + `}`; err != nil || string(payload) != want {
		return fmt.Errorf("%s got %s (%w), want %s", c.user, payload, err, want)
	}
	return nil
}

// registered counts those of a crowd whose entry stands in Redis.
func registered(t *testing.T, db *redis.Client, p *pod, crowd []*client) (n int) {
	t.Helper()
	for first := 0; first < len(crowd); first += 1000 {
		pipe := db.Pipeline()
		for _, m := range crowd[first:min(first+1000, len(crowd))] {
			pipe.HGet(t.Context(), userKey(m.user), m.uuid)
		}
		replies, err := pipe.Exec(t.Context())
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatalf("presence of the crowd: %v", err)
		}
		for _, reply := range replies {
			if reply.(*redis.StringCmd).Val() == p.channel {
				n++
			}
		}
	}
	return n
}

// forEach does something for each of n from a few goroutines, and returns the
// first error.
func forEach(n int, do func(i int) error) error {
	const workers = 16
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && ctx.Err() == nil; i += workers {
				if err := do(i); err != nil {
					once.Do(func() { first = err })
					cancel()
				}
			}
		})
	}
	wg.Wait()
	return first
}

// TestCrowd does not run beside others: it loads the machine, and its figures
// would mean nothing.
func TestCrowd(t *testing.T) {
	n := crowdSize(t)
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, quick().with("conn.ping", "5m", "presence.ttl", "10m", "presence.renew", "30s", "presence.lease", "5s", "redis.timeout", "5s"))
	dial(t, p, "warm-up").leave()
	cpu, rss := p.cpu(), p.rss()

	crowd := make([]*client, n)
	start := time.Now()
	if err := forEach(n, func(i int) (err error) {
		crowd[i], err = joinCrowd(t, p.listen, i)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("%d connections in %v: %.0f handshakes/s, %v of the pod's CPU each, %.1f KiB RSS each",
		n, took.Round(time.Millisecond), float64(n)/took.Seconds(),
		((p.cpu() - cpu) / time.Duration(n)).Round(100*time.Nanosecond), float64(p.rss()-rss)/float64(n)/1024)

	// All are registered, and counted by those who look.
	registered := registered(t, db, p, crowd)
	if registered != n {
		t.Errorf("%d of %d are registered", registered, n)
	}
	eventually(t, "push:pods:info counts them", settle, func() (bool, any) {
		got := p.info(r).Connections
		return got == n, got
	})
	p.wantMetric("all are connected", float64(n), "pushpod_connections")

	// One push to each, then one to all, behind which nothing else has come.
	start = time.Now()
	for first := 0; first < n; first += 1000 {
		pipe := db.Pipeline()
		for i, m := range crowd[first:min(first+1000, n)] {
			pipe.Publish(t.Context(), p.channel, fmt.Sprintf(`{"to":%q,"data":%d}`, m.uuid, first+i))
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatalf("publish to the crowd: %v", err)
		}
	}
	publish(t, db, p.channel, `{"all":true,"data":"mark"}`)
	if err := forEach(n, func(i int) error {
		if err := crowd[i].readNext(strconv.Itoa(i)); err != nil {
			return err
		}
		return crowd[i].readNext(`"mark"`)
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pushes and one to all in %v", n, time.Since(start).Round(time.Millisecond))
	wantBooks(t, p, books{published: n + 1, written: 2 * n})

	// They leave all at once.
	start = time.Now()
	all := r.Client()
	for _, m := range crowd {
		_ = m.conn.Close()
	}
	eventually(t, "all have left", 30*time.Second, func() (bool, any) {
		left, keys := p.metric("pushpod_connections"), all.DBSize(t.Context()).Val()
		return left == 0 && keys == 2, fmt.Sprint(left, " connections, ", keys, " keys")
	})
	t.Logf("all gone, presence too, after %v", time.Since(start).Round(time.Millisecond))
}

// cpu is the processor time that the process has used.
func (p *process) cpu() time.Duration {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
	if err != nil {
		p.t.Fatal(err)
	}
	// proc(5): utime and stime are the 14th and 15th field, in ticks of 10 ms;
	// the second may hold spaces.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			p.t.Fatalf("/proc/…/stat: %v", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// rss is the process's resident memory in bytes.
func (p *process) rss() int64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid()))
	if err != nil {
		p.t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		p.t.Fatalf("/proc/…/statm: %v", err)
	}
	return resident * int64(os.Getpagesize())
}
