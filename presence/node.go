package presence

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// shared is what a Store and its node have in common.
type shared struct {
	// Static after construction.
	opt     Options
	channel string
	epoch   time.Time
	seed    maphash.Seed

	count counters
}

// now returns the time since the store's epoch, by the monotonic clock.
func (s *shared) now() time.Duration { return time.Since(s.epoch) }

// node is all that belongs to one Redis server: what waits to be sent there, and
// at which pace, the state of the connection to it (link), how entries expire there,
// and what was found in its users' hashes.
type node struct {
	*shared
	client redis.UniversalClient
	dials  *atomic.Uint64 // connections made
	wake   chan struct{}  // something was queued

	mu    sync.Mutex // protects what follows
	q     queue
	alarm alarm

	// Owned by the goroutine of run.
	link    link
	expiry  expiry
	batch   batch
	sweeper sweeper
	sent    time.Duration // when the last pipeline was
	calls   []outcome     // whose callbacks are being called

	failure atomic.Pointer[error]
}

func newNode(s *shared, c redis.UniversalClient) *node {
	return &node{
		shared:  s,
		client:  c,
		dials:   redisconn.CountDials(c),
		wake:    make(chan struct{}, 1),
		q:       newQueue(s.opt.Backlog),
		batch:   newBatch(s.opt, s.channel),
		sweeper: newSweeper(s.opt),
		sent:    -time.Hour,
	}
}

// open reports whether the node takes more; the caller then holds n.mu, and
// calls queued.
func (n *node) open() bool {
	n.mu.Lock()
	if n.q.closed {
		n.mu.Unlock()
		return false
	}
	return true
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
	before := n.err()
	if err == nil {
		if before != nil {
			n.failure.Store(nil)
			n.opt.Log.Info().Str("pod", n.channel).Msg("Redis accepts presence writes again")
		}
		return
	}
	n.failure.Store(&err)
	if before == nil {
		n.opt.Log.Warn().Str("pod", n.channel).Err(err).Msg("Redis does not accept presence writes; new connections get 503 until it does")
	}
}

// run is Store.Run.
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
		if now >= deadline || done == nil && n.finished() {
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
	return n.q.joining.len()+n.q.staying.len()+n.q.leaving.len()+n.q.exams.len() == 0
}

func (n *node) callOutcomes() {
	for {
		n.mu.Lock()
		n.calls, n.q.outcomes = n.q.outcomes, n.calls[:0]
		n.mu.Unlock()
		if len(n.calls) == 0 {
			return
		}
		last := len(n.calls) - 1
		for last >= 0 && n.calls[last].registered == nil {
			last--
		}
		for i := range n.calls {
			n.calls[i].result.More = i < last
			n.calls[i].call()
		}
		clear(n.calls)
	}
}
