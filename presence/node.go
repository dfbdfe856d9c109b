package presence

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"pushpod/redisconn"
)

// shared is what a Store and its nodes have in common.
type shared struct {
	// Static after construction.
	opt     Options
	redis   *redisconn.Redis
	channel string
	epoch   time.Time
	seed    maphash.Seed

	limit   atomic.Pointer[Limit]
	count   counters
	calling sync.Mutex // held while callbacks are called

	mu     sync.Mutex // protects what follows, and the queues and alarms of all nodes
	routes routes
}

// now returns the time since the store's epoch, by the monotonic clock.
func (s *shared) now() time.Duration { return time.Since(s.epoch) }

// node is all that belongs to one Redis server: what waits to be sent there, and
// at which pace, the state of the connection to it (link), how entries expire there,
// and what was found in its users' hashes.
type node struct {
	*shared
	server *redisconn.Node
	wake   chan struct{} // something was queued

	// Guarded by shared.mu.
	q      queue
	alarm  alarm
	flight []*item            // of the batch under way
	cancel context.CancelFunc // ends the batch under way; nil: there is none
	gone   bool               // the node is in the map no more

	// Owned by the goroutine of run.
	link    link
	expiry  expiry
	batch   batch
	sweeper sweeper
	sent    time.Duration // when the last pipeline was
	calls   []outcome     // whose callbacks are being called
	trial   trial
	outage  redisconn.Outage // of writes

	failure atomic.Pointer[error]
	away    atomic.Int64 // a time.Duration since the epoch: until then nobody asks the server for keys
}

func newNode(s *shared, server *redisconn.Node) *node {
	return &node{
		shared:  s,
		server:  server,
		wake:    make(chan struct{}, 1),
		q:       newQueue(s.opt.Backlog, &s.routes.held),
		batch:   newBatch(s.opt, s.channel),
		sweeper: newSweeper(s.opt),
		sent:    -time.Hour,
	}
}

// err is Store.Err.
func (n *node) err() error {
	if p := n.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// setErr records why writes fail, or nil, and logs when that changes.
func (n *node) setErr(err error) {
	if err == nil {
		if away, failures := n.outage.Over(); failures > 0 {
			n.failure.Store(nil)
			n.opt.Log.Info().Stringer("redis", n.server).Dur("away_ms", away).Int("failures", failures).Msg("Redis accepts presence writes again")
		}
		return
	}
	n.failure.Store(&err)
	if n.outage.Failed(err) {
		n.opt.Log.Warn().Stringer("redis", n.server).Err(err).Msg("Redis does not accept presence writes; new connections get 503 until it does")
	}
}

// run sends what is queued until ctx ends, and then what is left; or until the node is gone.
func (n *node) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	done, deadline := ctx.Done(), never
	// A batch under way is not broken off when ctx ends: what became of it
	// would not be known.
	work := context.WithoutCancel(ctx)
	for {
		n.callOutcomes()
		now := n.now()
		if done != nil && ctx.Err() != nil {
			n.refuse()
			done, deadline = nil, now+n.opt.Timeout
		}
		if now >= deadline || done == nil && n.finished() || n.leaves() {
			break
		}
		if due := n.due(now, done == nil); due > now {
			timer.Reset(min(due, deadline) - now)
			select {
			case <-n.wake:
			case <-timer.C:
			case <-done:
			}
			continue
		}
		n.turn(work, min(deadline, now+n.opt.Timeout))
	}
	n.mu.Lock()
	n.q.close(ErrClosed)
	n.mu.Unlock()
	n.callOutcomes()
}

// refuse makes the node take nothing more.
func (n *node) refuse() {
	n.mu.Lock()
	n.q.closed = true
	n.mu.Unlock()
}

// finished reports whether an ending Run has nothing left that it could do.
func (n *node) finished() bool {
	if n.link.failures > 1 {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.link.doubt { // there is no time to let it settle
		n.repeatRemovals()
	}
	return n.q.joining.len()+n.q.staying.len()+n.q.leaving.len()+n.q.exams.len()+len(n.q.parked) == 0
}

func (n *node) callOutcomes() {
	for {
		n.mu.Lock()
		n.calls, n.q.outcomes = n.q.outcomes, n.calls[:0]
		n.mu.Unlock()
		if len(n.calls) == 0 {
			return
		}
		n.calling.Lock()
		last := len(n.calls) - 1
		for last >= 0 && n.calls[last].registered == nil {
			last--
		}
		for i := range n.calls {
			n.calls[i].result.More = i < last
			n.calls[i].call()
		}
		n.calling.Unlock()
		clear(n.calls)
	}
}
