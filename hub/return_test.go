package hub

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/conn/conntest"
	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// fleet is some pods on one Redis, in one process, whose connections have no sockets.
type fleet struct {
	t     *testing.T
	redis *redistest.Server
	admin *redis.Client
	each  int // connections of a pod
	pods  []*Hub
}

// startFleet starts pods with so many connections each, and waits until all are present.
func startFleet(t *testing.T, r *redistest.Server, pods, each int, renew time.Duration) *fleet {
	t.Helper()
	f := &fleet{t: t, redis: r, admin: r.Client(), each: each}
	for i := range pods {
		f.start(i, renew)
	}
	for i, h := range f.pods {
		f.eventually(fmt.Sprint("pod ", i, " is ready and full"), func() bool { return len(h.Problems()) == 0 && h.Stats().Connections == each })
	}
	f.wantWhole("at first", time.Minute)
	return f
}

func (f *fleet) start(number int, renew time.Duration) {
	address := fmt.Sprintf("10.0.0.%d:8080", number)
	keys := presence.NewKeys("push:")
	nodes := redisconn.Open(redisconn.Options{Addresses: []string{f.redis.Addr()}, Timeout: 3 * time.Second})
	f.t.Cleanup(nodes.Close)
	var h *Hub
	pods := presence.NewPods(presence.PodsOptions{Redis: nodes, Keys: keys, Pod: address, Regained: func(time.Duration) { h.Rewrite() }, Log: zerolog.Nop()})
	store := presence.NewStore(presence.Options{
		Redis: nodes, Keys: keys, Pod: address, Pods: pods, Limit: presence.Limit{PerUser: 100}, Renew: renew, TTL: 3 * renew, Log: zerolog.Nop(),
		Own:     func(user string) int { return h.CountUser(user) },
		Refused: func(e presence.Entry, r *presence.Refused) { h.Revoke(e, r) },
	})
	h = New(Options{
		Pod: address, Keys: keys, Presence: store, Pods: pods, Uplink: nodes, Log: zerolog.Nop(),
		Redis: Redis{Nodes: nodes, MaxEnvelope: 1 << 20, Timeout: 3 * time.Second, Probe: 3 * time.Second},
	})
	void := conntest.NewVoid()
	server := conn.New(conn.Options{Admitter: h, Network: void, MaxConns: 2 * f.each, Loops: 1, Now: pods.NowMs, Settings: conn.Settings{Renew: renew, Ping: time.Hour}})
	h.Attach(server)
	if err := server.Serve(); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = h.Run(ctx) })
	running.Go(func() { _ = store.Run(ctx) })
	f.t.Cleanup(func() {
		cancel()
		running.Wait()
		server.Close()
	})
	f.pods = append(f.pods, h)
	f.eventually(address+" is ready", func() bool { return len(h.Problems()) == 0 })
	const atOnce = 500 // else some would wait for too long, and be refused
	for i := range f.each {
		if i%atOnce == 0 {
			f.eventually("those before are let in", func() bool { return store.Stats().Registered == uint64(i) })
		}
		void.Connect(fmt.Sprintf("GET /ws?user=user-%d-%d HTTP/1.1\r\nHost: void\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", number, i))
	}
}

func (f *fleet) eventually(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("never: %s", what)
		}
	}
}

// wantWhole waits until every connection has its entry, and returns how long that took.
func (f *fleet) wantWhole(why string, within time.Duration) time.Duration {
	f.t.Helper()
	begun := time.Now()
	want := len(f.pods)*f.each + 2 // and the pods' own keys
	for {
		n := f.admin.DBSize(context.Background()).Val()
		if n == int64(want) {
			return time.Since(begun)
		}
		if time.Since(begun) > within {
			f.t.Fatalf("%s: after %v there are %d keys, want %d", why, within, n, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// scheduled is for how long Redis's main thread has had a processor, and for how long it has
// waited for one that others had: what a client waits because of that is this machine's.
func (f *fleet) scheduled() (ran, stood time.Duration) { return scheduled(f.pid()) }

func (f *fleet) pid() string { return field(f.redis.CLI("INFO", "server"), "process_id") }

func scheduled(pid string) (ran, stood time.Duration) {
	b, err := os.ReadFile("/proc/" + pid + "/schedstat")
	if err != nil {
		return 0, 0 // not Linux
	}
	var r, s int64
	_, _ = fmt.Sscan(string(b), &r, &s)
	return time.Duration(r), time.Duration(s)
}

// bystander measures what one more client of the same Redis waits for its replies, in a
// process of its own: by the clock, and by the time for which Redis had a processor
// meanwhile. The second is what Redis did before it came to this client, whatever else the
// machine is busy with; the kernel tells it to a few milliseconds.
type bystander struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

// bystanderOf is the variable in which the process finds the server's address and process.
const bystanderOf = "PUSHPOD_TEST_BYSTANDER"

func startBystander(t *testing.T, addr, pid string) *bystander {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), bystanderOf+"="+addr+" "+pid)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // which ends it
		_ = cmd.Wait()
	})
	return &bystander{t: t, in: in, out: bufio.NewScanner(out)}
}

// lap returns what the client has waited since the last lap, for people, and the longest
// that Redis had a processor meanwhile.
func (b *bystander) lap() (told string, longest time.Duration) {
	b.t.Helper()
	if _, err := io.WriteString(b.in, "\n"); err != nil || !b.out.Scan() {
		b.t.Fatal(err, b.out.Err())
	}
	nanos, told, _ := strings.Cut(b.out.Text(), " ")
	n, err := strconv.ParseInt(nanos, 10, 64)
	if err != nil {
		b.t.Fatal(err)
	}
	return told, time.Duration(n)
}

// standBy is the process of a bystander.
func standBy(of string) {
	addr, pid, _ := strings.Cut(of, " ")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	laps := make(chan struct{})
	go func() {
		defer close(laps)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			laps <- struct{}{}
		}
	}()
	var waits, busy []time.Duration
	reply := make([]byte, 64)
	for {
		select {
		case _, open := <-laps:
			if !open {
				return
			}
			fmt.Println(int64(slices.Max(append(busy, 0))), len(waits), "PINGs waited", quantiles(waits)+"; Redis had a processor meanwhile for", quantiles(busy))
			waits, busy = waits[:0], busy[:0]
		case <-time.After(time.Millisecond):
		}
		before, _ := scheduled(pid)
		asked := time.Now()
		if _, err := io.WriteString(c, "PING\r\n"); err != nil {
			return
		}
		if _, err := c.Read(reply); err != nil {
			return
		}
		waits = append(waits, time.Since(asked))
		after, _ := scheduled(pid)
		busy = append(busy, after-before)
	}
}

func quantiles(of []time.Duration) string {
	if len(of) == 0 {
		return "nothing"
	}
	slices.Sort(of)
	at := func(q float64) time.Duration {
		return of[min(len(of)-1, int(q*float64(len(of))))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("p50 %v, p99 %v, p99.9 %v, longest %v", at(0.5), at(0.99), at(0.999), at(1))
}

// empties has a Redis emptied under a fleet of pods, as a failover to a replica that had
// nothing does, and returns the longest that another client had to wait for Redis meanwhile,
// by Redis's processor.
func empties(t *testing.T, pods, each int, renew time.Duration) (longest time.Duration) {
	t.Helper()
	r := redistest.Start(t)
	f := startFleet(t, r, pods, each, renew)
	b := startBystander(t, r.Addr(), f.pid())
	time.Sleep(time.Second)
	b.lap()
	time.Sleep(2 * time.Second)
	told, _ := b.lap()
	t.Logf("%d pods with %d connections each, Redis %s; before: %s", pods, each, field(r.CLI("INFO", "server"), "redis_version"), told)

	ran, stood := f.scheduled()
	f.admin.FlushAllAsync(context.Background()) // to free all that memory takes its time
	for _, h := range f.pods {
		h.Rewrite() // as after a lost subscription, all at once
	}
	took := f.wantWhole("after it was emptied", renew)
	told, longest = b.lap()
	ranNow, stoodNow := f.scheduled()
	t.Logf("whole again %v after it was emptied; meanwhile: %s", took.Round(time.Millisecond), told)
	t.Logf("Redis had a processor for %v of that, and waited for one for %v", (ranNow - ran).Round(time.Millisecond), (stoodNow - stood).Round(time.Millisecond))
	for i, h := range f.pods {
		if list := h.Problems(); len(list) > 0 {
			t.Errorf("pod %d: %v", i, list)
		}
	}
	return longest
}

func TestPresenceIsWholeWithinARenewalAfterRedisWasEmptied(t *testing.T) {
	t.Parallel()
	empties(t, 20, 300, 30*time.Second)
}

func TestFaultsPresenceOfAFleetIsWholeWithinARenewal(t *testing.T) {
	redistest.Faults(t)
	if longest := empties(t, 20, 19_000, 30*time.Second); longest > 50*time.Millisecond {
		t.Errorf("a command waited for %v of Redis's work, want 50 ms at most", longest)
	}
}
