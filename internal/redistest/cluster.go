package redistest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterSlots = 16384

	// ClusterNodeTimeout is how long a node of a Cluster is silent before the others call it
	// failed.
	ClusterNodeTimeout = 2 * time.Second

	clusterLimit = 60 * time.Second // for what nodes agree upon by gossip
)

// A Cluster is a Redis Cluster on 127.0.0.1. Its methods are for the test's own goroutine.
type Cluster struct {
	Masters  []*Server // each with a like share of the slots, as it was started
	Replicas []*Server // of the first masters, one of each

	t              testing.TB
	args           []string
	user, password string
	clients        map[*Server]*redis.Client // redis-cli would take its time
}

// StartCluster starts three masters, and a replica for so many of them, waits until all
// agree that the Cluster is well, and kills them when the test ends. Slots that nobody
// has keep nobody from the others. The args are as for Start.
func StartCluster(t testing.TB, replicas int, args ...string) *Cluster {
	t.Helper()
	return StartClusterAs(t, "", "", replicas, args...)
}

// StartClusterAs is StartCluster where the servers are started with users who need to log in:
// as this one do the test and the nodes among each other.
func StartClusterAs(t testing.TB, user, password string, replicas int, args ...string) *Cluster {
	t.Helper()
	const masters = 3
	c := &Cluster{t: t, args: args, user: user, password: password, clients: map[*Server]*redis.Client{}}
	if user != "" {
		c.args = append(slices.Clone(args), "--masteruser", user, "--masterauth", password)
	}
	for i := range masters {
		s := c.start()
		c.do(s, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		c.do(s, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(clusterSlots*i/masters), strconv.Itoa(clusterSlots*(i+1)/masters-1))
		c.Masters = append(c.Masters, s)
	}
	for range replicas {
		c.Replicas = append(c.Replicas, c.start())
	}
	for _, s := range c.all()[1:] {
		c.meet(s)
	}
	c.WaitKnown()
	for i, r := range c.Replicas {
		c.do(r, "CLUSTER", "REPLICATE", c.ID(c.Masters[i]))
	}
	c.WaitWell()
	return c
}

// start starts a node that knows nobody.
func (c *Cluster) start() *Server {
	c.t.Helper()
	bus, err := freePort()
	if err != nil {
		c.t.Fatalf("redistest: %v", err)
	}
	s := Start(c.t, append([]string{
		"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", strconv.FormatInt(ClusterNodeTimeout.Milliseconds(), 10),
		"--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
	}, c.args...)...)
	s.Login(c.user, c.password)
	return s
}

// meet makes a node known to the others.
func (c *Cluster) meet(s *Server) {
	c.t.Helper()
	bus := s.args[slices.Index(s.args, "--cluster-port")+1]
	c.do(c.Masters[0], "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(s.Port()), bus)
}

// Add starts one more master, without slots, and makes it known to the others.
func (c *Cluster) Add() *Server {
	c.t.Helper()
	s := c.start()
	c.meet(s)
	c.Masters = append(c.Masters, s)
	c.WaitKnown()
	return s
}

func (c *Cluster) all() []*Server { return slices.Concat(c.Masters, c.Replicas) }

// Addr returns the address of the first master.
func (c *Cluster) Addr() string { return c.Masters[0].Addr() }

// ID returns a node's name in the Cluster.
func (c *Cluster) ID(s *Server) string { c.t.Helper(); return c.do(s, "CLUSTER", "MYID") }

// do sends a command to one node and returns its reply as text. An error ends the test.
func (c *Cluster) do(s *Server, args ...string) string {
	c.t.Helper()
	text, err := c.try(s, args...)
	if err != nil {
		c.t.Fatalf("redistest: %q to %s: %v", args, s.Addr(), err)
	}
	return text
}

func (c *Cluster) try(s *Server, args ...string) (string, error) {
	if c.clients[s] == nil {
		c.clients[s] = s.Client()
	}
	list := make([]any, len(args))
	for i := range args {
		list[i] = args[i]
	}
	reply, err := c.clients[s].Do(context.Background(), list...).Result()
	return fmt.Sprint(reply), err
}

// keys returns up to 100 keys of a slot that a node holds.
func (c *Cluster) keys(s *Server, slot int) []string {
	c.t.Helper()
	c.do(s, "PING")
	list, err := c.clients[s].ClusterGetKeysInSlot(context.Background(), slot, 100).Result()
	if err != nil {
		c.t.Fatalf("redistest: keys of slot %d at %s: %v", slot, s.Addr(), err)
	}
	return list
}

// Holders returns the nodes, replicas left out, that hold a key.
func (c *Cluster) Holders(key string) (list []*Server) {
	c.t.Helper()
	for _, s := range c.running() {
		if slices.Contains(c.keys(s, c.Slot(key)), key) && strings.Contains(c.do(s, "INFO", "replication"), "role:master") {
			list = append(list, s)
		}
	}
	return list
}

// Of returns the master that has a key's slot.
func (c *Cluster) Of(key string) *Server {
	c.t.Helper()
	return c.At(c.Slot(key))
}

// Slot returns a key's slot.
func (c *Cluster) Slot(key string) int {
	c.t.Helper()
	slot, err := strconv.Atoi(c.do(c.running()[0], "CLUSTER", "KEYSLOT", key))
	if err != nil {
		c.t.Fatalf("redistest: slot of %q: %v", key, err)
	}
	return slot
}

// At returns the node that has a slot, by what it says itself; nil: none that runs.
func (c *Cluster) At(slot int) *Server {
	c.t.Helper()
	for _, s := range c.running() {
		for line := range strings.Lines(c.do(s, "CLUSTER", "NODES")) {
			fields := strings.Fields(line)
			if len(fields) < 8 || !strings.Contains(fields[2], "myself") || strings.Contains(fields[2], "slave") {
				continue
			}
			if has(fields[8:], slot) {
				return s
			}
		}
	}
	return nil
}

// running returns the nodes that have not been killed.
func (c *Cluster) running() (list []*Server) {
	for _, s := range c.all() {
		s.mu.Lock()
		if s.proc != nil {
			list = append(list, s)
		}
		s.mu.Unlock()
	}
	return list
}

// WaitKnown waits until all nodes that run know each other.
func (c *Cluster) WaitKnown() {
	c.t.Helper()
	known := fmt.Sprintf("cluster_known_nodes:%d\r", len(c.all()))
	c.wait("the nodes know each other", func(s *Server) bool {
		return strings.Contains(c.do(s, "CLUSTER", "INFO"), known)
	})
}

// WaitWell waits until all nodes that run take part: all slots that the Cluster had are
// served, and replicas are in step.
func (c *Cluster) WaitWell() {
	c.t.Helper()
	c.wait("the Cluster is well", func(s *Server) bool {
		info := c.do(s, "CLUSTER", "INFO")
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") {
			return false
		}
		replication := c.do(s, "INFO", "replication")
		return !strings.Contains(replication, "role:slave") || strings.Contains(replication, "master_link_status:up")
	})
}

// wait waits until something is so at each node that runs.
func (c *Cluster) wait(what string, is func(*Server) bool) {
	c.t.Helper()
	for deadline := time.Now().Add(clusterLimit); ; time.Sleep(20 * time.Millisecond) {
		i := slices.IndexFunc(c.running(), func(s *Server) bool { return !is(s) })
		if i < 0 {
			return
		}
		if time.Now().After(deadline) {
			s := c.running()[i]
			c.t.Fatalf("redistest: not so in time: %s\n%s\n%s", what, c.do(s, "CLUSTER", "INFO"), c.do(s, "CLUSTER", "NODES"))
		}
	}
}

// BeginMove begins to move a slot: its keys are asked for at both nodes from now on.
func (c *Cluster) BeginMove(slot int, to *Server) {
	c.t.Helper()
	from, n := c.At(slot), strconv.Itoa(slot)
	c.do(to, "CLUSTER", "SETSLOT", n, "IMPORTING", c.ID(from))
	c.do(from, "CLUSTER", "SETSLOT", n, "MIGRATING", c.ID(to))
}

// MoveKeys moves the keys of a slot that is being moved.
func (c *Cluster) MoveKeys(slot int, to *Server) {
	c.t.Helper()
	c.moveKeys(slot, c.At(slot), to)
}

func (c *Cluster) moveKeys(slot int, from, to *Server) {
	c.t.Helper()
	for tries := 0; ; {
		keys := c.keys(from, slot)
		if len(keys) == 0 {
			return
		}
		migrate := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), "", "0", "5000"}
		if c.user != "" {
			migrate = append(migrate, "AUTH2", c.user, c.password)
		}
		_, err := c.try(from, append(append(migrate, "KEYS"), keys...)...)
		if redis.IsClusterDownError(err) || err != nil && strings.Contains(err.Error(), "CLUSTERDOWN") {
			// What the nodes tell each other of the slot's last move may end this one.
			_, _ = c.try(to, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "IMPORTING", c.ID(from))
			if tries++; tries < 100 {
				time.Sleep(20 * time.Millisecond)
				continue
			}
		}
		if err != nil {
			c.t.Fatalf("redistest: move keys of slot %d to %s: %v", slot, to.Addr(), err)
		}
	}
}

// EndMove gives a slot that is being moved to its new node, of which all masters are told.
func (c *Cluster) EndMove(slot int, to *Server) {
	c.t.Helper()
	from, id, n := c.At(slot), c.ID(to), strconv.Itoa(slot)
	c.do(to, "CLUSTER", "SETSLOT", n, "NODE", id)
	for _, s := range c.running() {
		for tries := 0; s != to; tries++ {
			_, err := c.try(s, "CLUSTER", "SETSLOT", n, "NODE", id)
			if err == nil || strings.Contains(c.do(s, "INFO", "replication"), "role:slave") {
				break
			}
			if tries == 100 {
				c.t.Fatalf("redistest: end the move of slot %d at %s: %v", slot, s.Addr(), err)
			}
			if s == from {
				c.moveKeys(slot, from, to)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	c.wait("all agree where the slot is", func(s *Server) bool { return c.ownerBy(s, slot) == to.Addr() })
	epoch := c.epoch(to)
	c.wait("all have heard of the last change", func(s *Server) bool { return c.epoch(s) >= epoch })
}

// ownerBy returns the address of the node that has a slot, as a node says.
func (c *Cluster) ownerBy(s *Server, slot int) string {
	c.t.Helper()
	for line := range strings.Lines(c.do(s, "CLUSTER", "NODES")) {
		if fields := strings.Fields(line); len(fields) > 8 && strings.Contains(fields[2], "master") && has(fields[8:], slot) {
			addr, _, _ := strings.Cut(fields[1], "@")
			return addr
		}
	}
	return ""
}

// has reports whether a slot is among those that CLUSTER NODES names in the end of a line.
func has(ranges []string, slot int) bool {
	return slices.ContainsFunc(ranges, func(r string) bool {
		from, to, several := strings.Cut(r, "-")
		if !several {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		return err1 == nil && err2 == nil && low <= slot && slot <= high
	})
}

// epoch returns the Cluster's epoch as a node knows it.
func (c *Cluster) epoch(s *Server) int {
	c.t.Helper()
	_, text, _ := strings.Cut(c.do(s, "CLUSTER", "INFO"), "cluster_current_epoch:")
	text, _, _ = strings.Cut(text, "\r")
	epoch, _ := strconv.Atoi(text)
	return epoch
}

// Move moves a slot and its keys.
func (c *Cluster) Move(slot int, to *Server) {
	c.t.Helper()
	c.BeginMove(slot, to)
	c.MoveKeys(slot, to)
	c.EndMove(slot, to)
}

// Failover makes a replica the master, by hand, and waits until it is.
func (c *Cluster) Failover(replica *Server) {
	c.t.Helper()
	c.do(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
	c.WaitMaster(replica)
}

// WaitMaster waits until a replica has become a master.
func (c *Cluster) WaitMaster(replica *Server) {
	c.t.Helper()
	for deadline := time.Now().Add(clusterLimit); ; time.Sleep(20 * time.Millisecond) {
		if strings.Contains(c.do(replica, "INFO", "replication"), "role:master") {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("redistest: the replica has not become a master\n%s", c.do(replica, "CLUSTER", "NODES"))
		}
	}
}
