package redisconn

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/backoff"
)

const (
	asksApart  = 200 * time.Millisecond // between two questions for the map, at least
	askEvery   = 10 * time.Second       // in a Cluster
	firstWait  = 100 * time.Millisecond
	lastWait   = 2 * time.Second
	keepUnused = time.Minute // a node that is in no map any more
)

// Redis is Redis as a pod has it, whatever it is: its nodes, and which of them has which
// key. Where it is no Cluster, and before that is known, it has one node.
//
// All methods may be called from any goroutine. Whoever sees a redirection or a node that
// fails says so by Refresh; Run then has the map asked for anew.
type Redis struct {
	// Static after construction.
	options Options
	epoch   time.Time
	fixed   bool  // there is nothing to ask
	first   *Node // what is configured

	current atomic.Pointer[Map]
	wanted  chan struct{} // capacity 1
	failure failure

	mu    sync.Mutex // protects what follows, and the replacement of current
	nodes map[string]*Node
}

// Open returns a Redis that has not connected to anything. The caller closes it.
func Open(o Options) *Redis {
	a := o.accounts()
	o.changing = new(atomic.Pointer[Accounts])
	o.changing.Store(&a)
	r := &Redis{options: o, epoch: time.Now(), wanted: make(chan struct{}, 1), nodes: map[string]*Node{}}
	if o.SentinelMaster == "" && len(o.Addresses) > 1 {
		o.Addresses = o.Addresses[:1] // until one of them has said what it is
	}
	name := ""
	if len(o.Addresses) > 0 {
		name = o.Addresses[0]
	}
	r.first = newNode(name, o)
	r.current.Store(oneNode(Unknown, r.first))
	return r
}

// Of returns a Redis of one server, of which the caller has a client that does not retry:
// it is asked for nothing, and the caller closes the client.
func Of(c redis.UniversalClient) *Redis {
	n := &Node{once: c, again: c, dials: CountDials(c)}
	r := &Redis{fixed: true, first: n, epoch: time.Now(), wanted: make(chan struct{}, 1), nodes: map[string]*Node{}}
	r.current.Store(oneNode(Standalone, n))
	return r
}

// SetAccounts changes as whom connections log in that are made from now on; those that are
// there stay as they are. It may be called from any goroutine.
func (r *Redis) SetAccounts(a Accounts) {
	if r.options.changing != nil {
		r.options.changing.Store(&a)
	}
}

// Username is the user as whom connections to servers log in; "": the default one.
func (r *Redis) Username() string { return r.options.accounts().Username }

// Close closes the clients of all nodes. Run has ended.
func (r *Redis) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.nodes {
		n.close()
	}
	r.first.close()
}

// Map returns what is known now.
func (r *Redis) Map() *Map { return r.current.Load() }

// Err says why the map could not be asked for the last time, or that no Sentinel answers;
// nil where it could, or has not been asked for. IsSetting says which is which.
func (r *Redis) Err() error { return r.failure.get() }

// Refresh has the map asked for anew, soon. It does not wait.
func (r *Redis) Refresh() {
	select {
	case r.wanted <- struct{}{}:
	default: // it will be
	}
}

// Run keeps the map true until ctx ends: it asks for it at once, when Refresh is called,
// and in a Cluster every 10 s. changed is told of each map that takes another's place, from
// Run's goroutine; it must not block. failed is told of Err where that changes, from any
// goroutine of Run's.
func (r *Redis) Run(ctx context.Context, changed func(before, now *Map), failed func(error)) {
	r.failure.tell(failed)
	var watching sync.WaitGroup
	defer watching.Wait()
	if e := r.first.endpoint; e != nil {
		watching.Go(func() { e.Watch(ctx, r.failure.set) })
	}
	for failures := 0; ctx.Err() == nil; {
		asked, before := time.Now(), r.Map()
		err := r.Ask(ctx)
		if now := r.Map(); now.replaced != before.replaced && changed != nil {
			changed(before, now)
		}
		var due <-chan time.Time // nil: only when it is wanted
		switch {
		case err != nil && ctx.Err() == nil:
			failures++
			due = time.After(backoff.After(failures+1, firstWait, lastWait))
		case r.Map().Kind == Cluster:
			failures = 0
			due = time.After(askEvery/2 + rand.N(askEvery))
		default:
			failures = 0
		}
		select {
		case <-ctx.Done():
		case <-due:
		case <-r.wanted:
			// Many may want it at the same moment, of many pods.
			backoff.Sleep(ctx, asksApart-time.Since(asked)+rand.N(asksApart/4))
		}
	}
}

// Ask asks for the map once. The error says why no server could tell.
func (r *Redis) Ask(ctx context.Context) error {
	if r.fixed {
		return nil
	}
	answer, err := r.askAll(ctx)
	if err == nil {
		err = r.fits(answer)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.failure.set(err)
		}
		return err
	}
	if r.options.SentinelMaster == "" { // else nobody was asked
		r.failure.set(nil)
	}
	r.take(answer)
	return nil
}

// take makes an answer the map, where it says something else than the one before.
func (r *Redis) take(a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.current.Load()
	next := oneNode(Standalone, r.first)
	if a.kind == Cluster {
		next = r.cluster(a)
	}
	switch {
	case !next.same(before):
		r.current.Store(next)
		close(before.replaced)
	case !slices.Equal(next.replicas, before.replicas):
		next.replaced = before.replaced // nobody need look at it
		r.current.Store(next)
	default:
		next = before
	}
	r.sweep(next)
}

// cluster makes the map of a Cluster. The caller holds r.mu.
func (r *Redis) cluster(a answer) *Map {
	m := &Map{Kind: Cluster, slots: new([Slots]uint16), replicas: a.replicas, replaced: make(chan struct{})}
	index := map[string]uint16{}
	for _, s := range a.ranges {
		i := index[s.master]
		if i == 0 {
			m.Masters = append(m.Masters, r.nodeLocked(s.master))
			i = uint16(len(m.Masters))
			index[s.master] = i
		}
		for slot := s.from; slot <= s.to; slot++ {
			m.slots[slot] = i
		}
	}
	return m
}

// Node returns the node at an address of a Cluster, whether or not it has slots.
func (r *Redis) Node(addr string) *Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodeLocked(addr)
}

func (r *Redis) nodeLocked(addr string) *Node {
	n := r.nodes[addr]
	if n == nil {
		o := r.options
		o.Addresses, o.SentinelMaster, o.DB = []string{addr}, "", 0
		n = newNode(addr, o)
		r.nodes[addr] = n
	}
	n.lost.Store(int64(time.Since(r.epoch)))
	return n
}

// sweep closes nodes that no map has had for long. The caller holds r.mu.
func (r *Redis) sweep(m *Map) {
	now := time.Since(r.epoch)
	for addr, n := range r.nodes {
		switch {
		case m.Has(n):
			n.lost.Store(int64(now))
		case now-time.Duration(n.lost.Load()) > keepUnused:
			n.close()
			delete(r.nodes, addr)
		}
	}
}

// errNoAnswer is returned where there is nobody to ask.
var errNoAnswer = errors.New("no address of Redis is known")
