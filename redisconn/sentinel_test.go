package redisconn

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// patience bounds what a test waits for.
const patience = time.Minute

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// watched returns an Endpoint that is watched until the test ends, and how often no
// Sentinel answered.
func watched(t *testing.T, o Options) *Endpoint {
	t.Helper()
	e := NewEndpoint(o)
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { e.Watch(ctx, func(error) {}) })
	t.Cleanup(func() { cancel(); watch.Wait(); e.Close() })
	return e
}

// leadsTo reports whether a raw connection of the Endpoint leads to the server.
func leadsTo(t *testing.T, e *Endpoint, s *redistest.Server) bool {
	t.Helper()
	c, _, err := e.Dial(soon(t))
	if err != nil {
		return false
	}
	defer c.Close()
	return strings.HasSuffix(c.RemoteAddr().String(), s.Addr())
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestSentinelsLeadToTheMaster(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinels(t, redistest.SentinelOptions{})
	e := watched(t, Options{Addresses: set.Addrs(), SentinelMaster: redistest.MasterName, Timeout: time.Second})
	client := e.NewClient(true, 2)
	defer client.Close()
	writes := func() bool { return client.Set(soon(t), "k", "v", 0).Err() == nil }
	eventually(t, "the master is found", func() bool { return leadsTo(t, e, set.Servers[0]) && writes() })

	// One that hangs holds nobody up, and one that is gone either.
	set.Sentinels[1].Pause()
	if !leadsTo(t, e, set.Servers[0]) {
		t.Error("the master is not found where one Sentinel hangs")
	}
	set.Sentinels[1].Resume()

	// A failover while the master lives.
	moved := e.Left()
	if isClosed(moved) {
		t.Error("moved before a failover")
	}
	set.Failover()
	eventually(t, "it moves", func() bool { return isClosed(moved) })
	eventually(t, "the new master is found", func() bool { return leadsTo(t, e, set.Servers[1]) && writes() })

	// And one where it has died, and comes back.
	set.Await(set.Servers[1])
	set.Sentinels[2].Kill()
	moved = e.Left()
	set.Servers[1].Kill()
	eventually(t, "it moves again", func() bool { return isClosed(moved) })
	eventually(t, "the old master is found again", func() bool { return leadsTo(t, e, set.Servers[0]) && writes() })
	set.Servers[1].Restart()
	eventually(t, "it comes back as a replica", func() bool {
		return strings.Contains(set.Servers[1].CLI("ROLE"), "slave")
	})
	if !leadsTo(t, e, set.Servers[0]) {
		t.Error("led elsewhere")
	}
}

func TestSentinelsWithAccountsAndTLS(t *testing.T) {
	t.Parallel()
	certs := redistest.NewCerts(t, "redis.test")
	set := redistest.StartSentinels(t, redistest.SentinelOptions{Certs: certs, User: "ops", Password: "secret", Sentinels: 1})
	o := Options{
		Addresses: set.Addrs(), SentinelMaster: redistest.MasterName, SentinelUsername: "client", SentinelPassword: "client",
		TLS: &TLS{CAFile: certs.CA}, Timeout: 3 * time.Second,
	}
	reaches(t, o) // with Redis's least rights for clients of Sentinels
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no account":      {func(o *Options) { o.SentinelUsername, o.SentinelPassword = "", "" }, "NOAUTH"},
		"wrong password":  {func(o *Options) { o.SentinelPassword = "x" }, "WRONGPASS"},
		"unknown master":  {func(o *Options) { o.SentinelMaster = "other" }, "redis.sentinel_master"},
		"no TLS":          {func(o *Options) { o.TLS = nil }, "no Sentinel names"},
		"nobody is there": {func(o *Options) { o.Addresses = []string{"127.0.0.1:1"} }, "refused"},
	} {
		wrong := o
		c.change(&wrong)
		fails(t, wrong, c.want, "no Sentinel names the master")
		_ = name
	}
}

// Nobody stays at a replica that he was told is the master.
func TestAReplicaThatSentinelsNameIsNotTaken(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinels(t, redistest.SentinelOptions{DownAfter: time.Minute, Sentinels: 1})
	e := watched(t, Options{Addresses: set.Addrs(), SentinelMaster: redistest.MasterName})
	set.Servers[1].CLI("REPLICAOF", "NO", "ONE")
	set.Servers[0].CLI("REPLICAOF", "127.0.0.1", "1")
	client := e.NewClient(true, 1)
	defer client.Close()
	if err := client.Ping(soon(t)).Err(); !errors.Is(err, errReplica) {
		t.Errorf("client: %v, want %v", err, errReplica)
	}
	if _, _, err := e.Dial(soon(t)); !errors.Is(err, errReplica) {
		t.Errorf("raw connection: %v, want %v", err, errReplica)
	}
	set.Servers[0].CLI("REPLICAOF", "NO", "ONE")
	if err := client.Ping(soon(t)).Err(); err != nil {
		t.Errorf("a master again: %v", err)
	}
}

func TestWatchTellsWhereNoSentinelAnswers(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t) // no Sentinel, so it knows no master
	e := NewEndpoint(Options{Addresses: []string{s.Addr()}, SentinelMaster: redistest.MasterName})
	defer e.Close()
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan error, 8)
	var watch sync.WaitGroup
	watch.Go(func() { e.Watch(ctx, func(err error) { told <- err }) })
	if err := <-told; err == nil || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("told %v", err)
	}
	cancel()
	watch.Wait()
	if len(told) != 0 {
		t.Errorf("told again: %v", <-told)
	}
}
