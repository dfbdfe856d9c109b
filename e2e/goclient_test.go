package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	pushclient "pushpod/clients/go"
)

// A device is a reconnecting client of the project's own, which finds any pod
// that accepts, as behind a load balancer.
type device struct {
	t      *testing.T
	user   string
	client *pushclient.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex // protects what follows
	got      []string   // data of its messages
	connects int
	reasons  []error // of its disconnections
}

// startDevice connects user to one of the addresses, until the test's end.
func startDevice(t *testing.T, user string, addrs ...string) *device {
	t.Helper()
	return startDeviceWith(t, user, nil, addrs...)
}

// startDeviceWith is startDevice for a user who has tokens; nil: none.
func startDeviceWith(t *testing.T, user string, token func(context.Context) (string, error), addrs ...string) *device {
	t.Helper()
	d := &device{t: t, user: user, done: make(chan struct{})}
	var err error
	d.client, err = pushclient.New(pushclient.Options{
		Token: token,
		URL:   "ws://" + addrs[0] + "/ws",
		User:  user,
		NetDial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var failed []error
			for _, i := range rand.Perm(len(addrs)) {
				var dialer net.Dialer
				conn, err := dialer.DialContext(ctx, network, addrs[i])
				if err == nil {
					return conn, nil
				}
				failed = append(failed, err)
			}
			return nil, errors.Join(failed...)
		},
		Backoff:      pushclient.Backoff{Min: 50 * time.Millisecond, Max: 500 * time.Millisecond},
		OnConnect:    func(pushclient.Welcome) { d.note(func() { d.connects++ }) },
		OnMessage:    func(m pushclient.Message) { d.note(func() { d.got = append(d.got, string(m.Data)) }) },
		OnDisconnect: func(err error) { d.note(func() { d.reasons = append(d.reasons, err) }) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() {
		defer close(d.done)
		_ = d.client.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-d.done })
	d.wantConnects(1)
	return d
}

func (d *device) note(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// wantConnects waits until it has been connected that many times, or more.
func (d *device) wantConnects(n int) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%s has connected %d times", d.user, n), settle, func() (bool, any) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.connects >= n, fmt.Sprint(d.connects, " ", d.reasons)
	})
}

// messages returns what it has got so far.
func (d *device) messages() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.got...)
}

// TestRollingRestart replaces three pods one behind the other under users who
// reconnect, while producers push and clients send.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const users = 12
	r := startRedis(t)
	db := asProducer(r)
	s := quick().with("shutdown.drain", "1s", "shutdown.delay", "200ms")
	pods := make([]*pod, 3)
	var addrs []string
	for i := range pods {
		pods[i] = startPod(t, r, s)
		addrs = append(addrs, pods[i].listen)
	}
	var devices []*device
	for i := range users {
		devices = append(devices, startDevice(t, fmt.Sprintf("user-%d", i), addrs...))
	}

	// A producer, and a client that sends, all the while.
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var work sync.WaitGroup
	var pushed, sent int
	work.Go(func() {
		for ; ctx.Err() == nil; pushed++ {
			db.Publish(ctx, "push:all", fmt.Sprintf(`{"all":true,"data":%d,"id":"m-%d"}`, pushed, pushed))
			time.Sleep(5 * time.Millisecond)
		}
	})
	var failed error
	work.Go(func() {
		for ; ctx.Err() == nil; sent++ {
			data := json.RawMessage(fmt.Sprint(sent))
			if err := devices[0].client.RequestID(context.Background(), fmt.Sprintf("r-%d", sent), data); err != nil {
				failed = fmt.Errorf("request %d: %w", sent, err)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	for i, p := range pods {
		p.sigterm()
		p.wantExit("rolling restart", 0, 20*time.Second)
		pods[i] = p.restart()
		pods[i].waitReady()
	}
	stop()
	work.Wait()
	if failed != nil {
		t.Error(failed)
	}

	for _, d := range devices {
		d.wantConnects(2)
		last := -1
		for _, m := range d.messages() {
			var n int
			if _, err := fmt.Sscan(m, &n); err != nil || n <= last {
				t.Fatalf("%s got %s behind %d: out of order or doubled", d.user, m, last)
			}
			last = n
		}
		d.note(func() {
			for _, reason := range d.reasons {
				var closed *pushclient.CloseError
				if !errors.Is(reason, pushclient.ErrHandover) && (!errors.As(reason, &closed) || closed.Code != 1001) {
					t.Errorf("%s was disconnected by %v, want a handover or close code 1001", d.user, reason)
				}
			}
			t.Logf("%s: %d connections, %d of %d messages to all", d.user, d.connects, len(d.got), pushed)
		})
	}
	// Each request that was accepted is in the stream, at least once.
	seen := make(map[string]bool)
	for _, m := range uplink(t, r) {
		seen[fmt.Sprint(m.Values["id"])] = true
	}
	for i := range sent {
		if id := fmt.Sprintf("r-%d", i); !seen[id] {
			t.Errorf("request %s was accepted and is not in the stream", id)
		}
	}

	// All is well again.
	for _, d := range devices {
		eventually(t, "a push reaches "+d.user, settle, func() (bool, any) {
			n := luaPush(t, r, d.user, `"after"`, "id", "after")
			got := d.messages()
			return n == 1 && len(got) > 0 && got[len(got)-1] == `"after"`, fmt.Sprint(n, " ", len(got))
		})
		if got := entriesOf(t, db, d.user); len(got) != 1 {
			t.Errorf("presence of %s: %v, want one entry", d.user, got)
		}
	}
}
