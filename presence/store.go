package presence

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/redisconn"
)

const (
	defaultTimeout = 3 * time.Second
	defaultTTL     = 90 * time.Second
	defaultRenew   = 30 * time.Second
	defaultLease   = 10 * time.Second
	defaultBatch   = 512
	defaultPace    = 4 * time.Millisecond
	defaultBacklog = 100_000
)

// Options says how a Store works.
type Options struct {
	Redis *redisconn.Redis
	Keys  Keys
	Pod   string // own address, host:port

	TTL     time.Duration // an entry that is not renewed is gone after it; 0: 90 s
	Renew   time.Duration // how often the hub renews each entry; 0: 30 s
	Lease   time.Duration // as for Pods; 0: 10 s
	Timeout time.Duration // bound on a batch, and on the wait of a registration; 0: 3 s

	Limit // what the store starts with; see SetLimit

	// Own returns how many connections of the user this pod holds. It is asked
	// from the store's goroutine where a user's hash holds several fields, and
	// must not block or call the store. Nil stands for 1.
	Own func(user string) int

	// Refused is told of each entry that is renewed although a key in Redis speaks
	// against it: with every renewal, until it is unregistered. It is called as the
	// callbacks are. Nil: nobody is told.
	Refused func(Entry, *Refused)

	// Replaced says what the pod is told whose entry of the user is replaced, and on which
	// channel that is published. It is called from the store's goroutine, and must not block or
	// call the store. Nil: nobody is told.
	Replaced func(user string, old Located) (channel string, message []byte)

	// Pods judges which pods are dead, and writes the own score before any
	// entry is. Where it is nil, nobody is dead.
	Pods *Pods

	Log zerolog.Logger

	Batch int // entries in one pipeline, at most; 0: 512

	// Pace is the time between the starts of two pipelines, unless much waits.
	// An operation after a quiet time does not wait. 0: 4 ms; negative: none.
	Pace time.Duration

	Backlog int // renewals, and unregistrations, that may wait; 0: 100,000
}

func (o Options) withDefaults() Options {
	o.TTL = orDefault(o.TTL, defaultTTL)
	o.Renew = orDefault(o.Renew, defaultRenew)
	o.Lease = orDefault(o.Lease, defaultLease)
	o.Timeout = orDefault(o.Timeout, defaultTimeout)
	if o.Pace == 0 {
		o.Pace = defaultPace
	}
	if o.Batch <= 0 {
		o.Batch = defaultBatch
	}
	o.Batch = max(o.Batch, 8) // every kind of operation has its share of a batch
	if o.Backlog <= 0 {
		o.Backlog = defaultBacklog
	}
	return o
}

// A Store writes this pod's presence entries: one field, the connection's UUID,
// in the hash of its user, with the pod's channel as the value.
//
// Register, Check, Renew, Unregister and Heal never block and may be called from any
// goroutine. What they ask for is sent by Run in batches, to each node of Redis one pipeline
// at a time, while the next one gathers. Operations of one UUID never overtake each
// other, also where its slot moves to another node: while one waits, a later one takes its place, and an unregistration is
// never undone by a renewal that was asked for before it. For one UUID the
// caller calls Register first, Unregister last, and nothing after it.
//
// Callbacks are called one after the other, from goroutines of Run, without a lock that a method takes; they must
// not block. Once Run's context has ended, Register, Check and Unregister return ErrClosed.
type Store struct{ *shared }

// NewStore returns a Store whose Run has not been started. Lookup works without
// Run.
func NewStore(o Options) *Store {
	o = o.withDefaults()
	s := &shared{opt: o, redis: o.Redis, channel: o.Keys.PodChannel(o.Pod), epoch: time.Now(), seed: maphash.MakeSeed()}
	s.limit.Store(&o.Limit)
	s.route(o.Redis.Map())
	return &Store{s}
}

// Register writes an entry, and calls done once Redis has it, or when it is
// known that it will not: within about Options.Timeout, exactly once, and never
// during the call. Where a key in Redis speaks against the entry, it is written for a
// moment, and removed before done hears of it. Where Options.PerUser would be exceeded, see Options.OnExcess.
// Where it returns ErrClosed, nothing was asked for, and done is not called.
//
// The pod's address has been claimed before (Pods.Claim). Heal's held must
// report the UUID from before this call on.
func (s *Store) Register(e Entry, done func(Registered)) error {
	n := s.open(e.User)
	if n == nil {
		return ErrClosed
	}
	n.q.register(e, done, n.now())
	n.queued(n.alarm.join)
	return nil
}

// Check says what Register would say of the keys in Redis that may speak against the
// entry, and writes nothing: a credential for one connection is not used up. done gets
// nil, a *Refused, or ErrUnavailable wrapped around the cause, and is called as for Register.
// Where the entry joins those that stand, the user's are counted too, and done gets
// ErrTooMany where Register would refuse it; one that it Replaces is not.
func (s *Store) Check(e Entry, joins bool, done func(error)) error {
	n := s.open(e.User)
	if n == nil {
		return ErrClosed
	}
	n.q.check(e, joins, done, n.now())
	n.queued(n.alarm.join)
	return nil
}

// Renew makes an entry live for another Options.TTL, and writes it again where
// it is missing. A renewal that fails is not repeated: the next period brings
// another. Options.Refused is told where a key in Redis speaks against the entry.
func (s *Store) Renew(e Entry) {
	n := s.open(e.User)
	if n == nil {
		return
	}
	n.q.renew(e, n.now())
	n.queued(n.alarm.stay)
}

// Unregister removes an entry, and calls done, which may be nil, once it is
// gone. While Redis is away it waits, and is tried again until it succeeds. done
// gets ErrBacklog or ErrClosed where that was given up: the entry is then left to
// expire, and likewise where Unregister itself returns ErrClosed, without calling
// done.
func (s *Store) Unregister(e Entry, done func(error)) error {
	n := s.open(e.User)
	if n == nil {
		return ErrClosed
	}
	n.q.unregister(e, done, n.now())
	n.queued(n.alarm.leave)
	return nil
}

// Run sends what is queued until ctx ends. Then it takes nothing more, still
// sends what is queued, for up to Options.Timeout, and returns nil: all
// callbacks have been called. It is called once.
func (s *Store) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		m, started := s.start()
		for _, n := range started {
			running.Go(func() { n.run(ctx) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.Replaced():
			s.reroute(s.redis.Map())
		}
	}
}

// Err says why the last write was refused or failed; nil once one has
// succeeded. While it is not nil, the store itself tries again, at least every
// second: readiness may rest on it. In a Cluster it is not nil where all nodes fail: to be
// without one of them is a fault of that node's users, who would fare no better on another pod.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, n := range s.routes.of {
		if err = n.err(); err == nil {
			return nil
		}
	}
	return err
}

// Failing says which of a Cluster's masters do not take writes, and why, where others do: their
// users' new connections are refused. Nil: none, or all, of which Err tells.
func (s *Store) Failing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failing []error
	for _, n := range s.routes.of {
		if err := n.err(); err != nil {
			failing = append(failing, fmt.Errorf("%s: %w", n.server, err))
		}
	}
	if len(failing) == len(s.routes.of) {
		return nil
	}
	slices.SortFunc(failing, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(failing...)
}

// Lookup reads where a user's connections are (HGETALL), oldest first. It may
// hold stale entries. Fields that are no UUIDs are left out.
func (s *Store) Lookup(ctx context.Context, user string) ([]Located, error) {
	return Lookup(ctx, s.redis, s.opt.Keys, user)
}

// Lookup reads where a user's connections are, without a Store.
func Lookup(ctx context.Context, r *redisconn.Redis, k Keys, user string) ([]Located, error) {
	if err := ValidUser(user); err != nil {
		return nil, err
	}
	key := k.User(user)
	found := redis.NewMapStringStringCmd(ctx, "hgetall", key)
	if err := r.Process(ctx, key, found); err != nil {
		return nil, fmt.Errorf("%w: look up: %w", ErrUnavailable, err)
	}
	return locate(found.Val()), nil
}

// locate returns the entries among a hash's fields, oldest first.
func locate(fields map[string]string) []Located {
	found := make([]Located, 0, len(fields))
	for field, channel := range fields {
		if u, ok := ParseUUID(field); ok {
			found = append(found, Located{UUID: u, Channel: channel})
		}
	}
	slices.SortFunc(found, func(a, b Located) int { return slices.Compare(a.UUID[:], b.UUID[:]) })
	return found
}
