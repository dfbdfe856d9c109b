package redisconn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

func TestTheBestAnswerIsBelieved(t *testing.T) {
	at := func(master string) []slotRange { return []slotRange{{0, Slots - 1, master}} }
	good := answer{kind: Cluster, well: true, epoch: 7, ranges: at("a:1")}
	for name, said := range map[string][]answer{
		"alone":                            {good},
		"one that is well":                 {good, {kind: Cluster, epoch: 9, ranges: at("b:1")}},
		"the latest epoch":                 {{kind: Cluster, well: true, epoch: 6, ranges: at("b:1")}, good},
		"what most say":                    {{kind: Cluster, well: true, epoch: 7, ranges: at("b:1")}, good, good},
		"a Cluster's, not a single server": {{kind: Standalone, epoch: 9}, good},
	} {
		if got := best(said); got.epoch != 7 || got.ranges[0].master != "a:1" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRepliesToClusterSlotsAreRead(t *testing.T) {
	node := func(host any, port int64) any { return []any{host, port, "id", []any{}} }
	a, err := parseSlots([]any{
		[]any{int64(8192), int64(16383), node("10.0.0.2", 7001)},
		[]any{int64(0), int64(8191), node("", 7000), node("?", 7003), node(nil, 7004)},
	}, "::1")
	if err != nil || !slices.Equal(a.ranges, []slotRange{{0, 8191, "[::1]:7000"}, {8192, 16383, "10.0.0.2:7001"}}) {
		t.Errorf("%+v, %v", a.ranges, err)
	}
	if !slices.Equal(a.replicas, []string{"[::1]:7003", "[::1]:7004"}) {
		t.Errorf("replicas %q", a.replicas)
	}
	for name, reply := range map[string]any{
		"nothing": nil, "no slots": []any{}, "text": "OK", "no node": []any{[]any{int64(0), int64(1)}}, "numbers as text": []any{[]any{"0", "1", node("a", 1)}},
		"from behind": []any{[]any{int64(5), int64(1), node("a", 1)}}, "too many": []any{[]any{int64(0), int64(Slots), node("a", 1)}},
		"no port": []any{[]any{int64(0), int64(1), node("a", 0)}}, "a node that is none": []any{[]any{int64(0), int64(1), "a"}},
	} {
		if _, err := parseSlots(reply, "h"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// One address is enough; the map follows failovers and slots, and redirections are obeyed
// before it does.
func TestRedisFollowsACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	r := Open(Options{Addresses: []string{cluster.Addr()}, Timeout: 3 * time.Second})
	defer r.Close()
	get := func(key string) string {
		t.Helper()
		c := redis.NewStringCmd(soon(t), "get", key)
		if err := r.Process(soon(t), key, c); err != nil {
			t.Fatalf("GET %s: %v", key, err)
		}
		return c.Val()
	}
	keys := []string{"a", "b", "c", "d", "e", "f"}
	for _, key := range keys { // nothing is known yet
		if err := r.Process(soon(t), key, redis.NewStatusCmd(soon(t), "set", key, key)); err != nil {
			t.Fatal(err)
		}
	}
	if r.Map().Kind != Unknown {
		t.Fatalf("the map is of %s", r.Map().Kind)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	first := r.Map()
	running.Go(func() { r.Run(ctx, nil, nil) })
	defer func() { stop(); running.Wait() }()
	<-first.Replaced()
	if m := r.Map(); m.Kind != Cluster || len(m.Masters) != 3 || m.Covered() != Slots {
		t.Fatalf("%s of %v", m.Kind, m.Masters)
	}
	for _, key := range keys {
		if at := r.Map().Of(key).String(); at != cluster.Of(key).Addr() {
			t.Errorf("%s is thought to be at %s", key, at)
		}
	}
	// TRYAGAIN: of two keys of a slot that is being moved one has moved.
	slot := cluster.Slot("{pair}1")
	for _, key := range []string{"{pair}1", "{pair}2"} {
		if err := r.Process(soon(t), key, redis.NewStatusCmd(soon(t), "set", key, "x")); err != nil {
			t.Fatal(err)
		}
	}
	from := cluster.At(slot)
	to := cluster.Masters[(slices.Index(cluster.Masters, from)+1)%3]
	cluster.BeginMove(slot, to)
	from.CLI("MIGRATE", "127.0.0.1", strings.TrimPrefix(to.Addr(), "127.0.0.1:"), "{pair}1", "0", "5000")
	both := redis.NewIntCmd(soon(t), "exists", "{pair}1", "{pair}2")
	time.AfterFunc(30*time.Millisecond, func() {
		_ = from.Client().Migrate(context.Background(), "127.0.0.1", strings.TrimPrefix(to.Addr(), "127.0.0.1:"), "{pair}2", 0, 5*time.Second).Err()
	})
	if err := r.Process(soon(t), "{pair}1", both); err != nil || both.Val() != 2 {
		t.Errorf("two keys of which one has moved: %d, %v", both.Val(), err)
	}
	// A transaction is obeyed as a whole: ASKING goes before MULTI.
	multi := []redis.Cmder{redis.NewStatusCmd(soon(t), "multi"), redis.NewStatusCmd(soon(t), "set", "{pair}3", "y"), redis.NewStatusCmd(soon(t), "get", "{pair}3"), redis.NewCmd(soon(t), "exec")}
	p := r.Pipeline(false)
	p.Add("{pair}3", multi...)
	p.Exec(soon(t))
	if replies, err := multi[3].(*redis.Cmd).Slice(); err != nil || len(replies) != 2 || replies[1] != "y" {
		t.Errorf("a transaction in a slot that is being moved: %v, %v", replies, err)
	}
	cluster.MoveKeys(slot, to)
	cluster.EndMove(slot, to)
	if get("{pair}3") != "y" {
		t.Error("the slot has moved")
	}
	for _, key := range keys { // a takeover asks the master for nothing: its replica must have all
		if cluster.Of(key) != cluster.Masters[0] {
			continue
		}
		c := cluster.Of(key).Client().Conn()
		_ = c.Set(soon(t), key, key, 0).Err() // WAIT is for what its own connection wrote
		if n, err := c.Wait(soon(t), 1, 5*time.Second).Result(); n != 1 || err != nil {
			t.Fatalf("%d replicas have %s: %v", n, key, err)
		}
		_ = c.Close()
	}
	before := r.Map()
	cluster.Failover(cluster.Replicas[0])
	r.Refresh()
	for before == r.Map() || !slices.ContainsFunc(r.Map().Masters, func(n *Node) bool { return n.String() == cluster.Replicas[0].Addr() }) {
		if soon(t).Err() != nil {
			t.Fatal("the map does not follow the failover")
		}
		r.Refresh()
		time.Sleep(20 * time.Millisecond)
	}
	for _, key := range keys {
		if get(key) != key {
			t.Errorf("%s is not there", key)
		}
	}
	if err := Open(Options{Addresses: []string{cluster.Addr()}, DB: 3}).Ask(soon(t)); !errors.Is(err, ErrDatabase) {
		t.Errorf("a database of a Cluster: %v", err)
	}
}

// A login that Redis refuses is the error of each command: the library leaves them without one.
func TestCommandsWhoseLoginIsRefusedFail(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	r := Open(Options{Addresses: []string{s.Addr()}, Password: "wrong"})
	defer r.Close()
	a, b := redis.NewStatusCmd(soon(t), "set", "a", "1"), redis.NewStatusCmd(soon(t), "set", "b", "1")
	r.Map().Single().Send(soon(t), []redis.Cmder{a, b})
	for _, c := range []redis.Cmder{a, b} {
		if c.Err() == nil || !IsReply(c.Err()) {
			t.Errorf("%v", c)
		}
	}
}
