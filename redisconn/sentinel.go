package redisconn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/backoff"
)

const (
	// sentinelPoll is how often Sentinels are asked while nothing else happens. Redis's
	// least rights for their clients have no SUBSCRIBE, so that nobody rests on
	// +switch-master.
	sentinelPoll = 400 * time.Millisecond

	// sentinelGrace is how long the others may take once one has answered: who knows
	// the latest failover may be slower than who missed it, and one that hangs holds
	// nobody up.
	sentinelGrace = 100 * time.Millisecond

	// sentinelSettle is for how long a master holds that was just named, where most of
	// the Sentinels name an older one.
	sentinelSettle = 5 * time.Second

	// sentinelTrust is for how long a master holds that no Sentinel names any more,
	// where only some answer, with an older one.
	sentinelTrust = 30 * time.Second
)

// sentinels ask Sentinels which server is the master.
type sentinels struct {
	// Static after construction.
	name    string
	addrs   []string
	clients []*redis.Client
	timeout time.Duration  // of a question
	left    func()         // the master has become another
	running sync.WaitGroup // questions under way

	mu     sync.Mutex // protects following
	choice choice
}

func newSentinels(o Options, left func()) *sentinels {
	s := &sentinels{name: o.SentinelMaster, addrs: o.Addresses, timeout: o.timeout(), left: left}
	for _, addr := range o.Addresses {
		at := Options{
			Addresses: []string{addr}, TLS: o.TLS, Timeout: o.Timeout, PoolSize: 1, NoRetry: true,
		}
		settings := at.settings().Simple()
		settings.CredentialsProvider = o.sentinelCredentials
		settings.PipelinePoolSize = -1
		s.clients = append(s.clients, redis.NewClient(settings))
	}
	return s
}

func (s *sentinels) close() {
	for _, c := range s.clients {
		_ = c.Close()
	}
	s.running.Wait()
}

// watch is Endpoint.Watch.
func (s *sentinels) watch(ctx context.Context, failed func(error)) {
	for failing := false; ctx.Err() == nil; {
		_, err := s.poll(ctx, s.known())
		if ctx.Err() == nil && (err != nil) != failing {
			failing = err != nil
			failed(err)
		}
		backoff.Sleep(ctx, sentinelPoll/2+rand.N(sentinelPoll))
	}
}

// known is the master that was named last; "": none yet.
func (s *sentinels) known() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.choice.addr
}

// master asks all Sentinels which address the master has. Where none of them answers, it
// is the one that they named last: who dials it sees whether it still is the master.
func (s *sentinels) master(ctx context.Context) (string, error) {
	known := s.known()
	if known == "" {
		return s.poll(ctx, "")
	}
	polling, cancel := context.WithTimeout(ctx, s.timeout/3) // which leaves time to dial
	defer cancel()
	if addr, err := s.poll(polling, known); err == nil {
		return addr, nil
	}
	return known, nil
}

// poll asks all Sentinels, of whom some named the known master before.
func (s *sentinels) poll(ctx context.Context, known string) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan vote, len(s.clients))
	for i := range s.clients {
		s.running.Go(func() { answers <- s.ask(ctx, i, known) })
	}
	votes, err := gather(ctx, answers, len(s.clients))
	if err != nil {
		return "", fmt.Errorf("no Sentinel names the master %q: %w", s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.choice.addr != known {
		return s.choice.addr, nil // somebody else has heard more, while these answers were on their way
	}
	s.choice.take(votes, len(s.clients), time.Now())
	if known != "" && known != s.choice.addr {
		s.left()
	}
	return s.choice.addr, nil
}

// gather returns the answers of those who have one, at least one. Once there is one, the
// others are waited for but for a moment.
func gather(ctx context.Context, answers <-chan vote, n int) (votes []vote, err error) {
	var late <-chan time.Time
	var failures []error
	for range n {
		select {
		case v := <-answers:
			if v.err != nil {
				failures = append(failures, v.err)
				continue
			}
			if votes = append(votes, v); late == nil {
				late = time.After(sentinelGrace)
			}
			continue
		case <-late:
		case <-ctx.Done():
			failures = append(failures, ctx.Err())
		}
		break
	}
	if len(votes) == 0 {
		return nil, errors.Join(failures...)
	}
	return votes, nil
}

// ask asks one Sentinel. The epoch is asked for where it may matter: where the master is
// another one than is known.
func (s *sentinels) ask(ctx context.Context, i int, known string) (v vote) {
	defer func() {
		if v.err != nil {
			v.err = fmt.Errorf("ask the Sentinel %s: %w", s.addrs[i], v.err)
		}
	}()
	addr, err := s.clients[i].Do(ctx, "sentinel", "get-master-addr-by-name", s.name).StringSlice()
	switch {
	case errors.Is(err, redis.Nil):
		return vote{err: errors.New("it watches no master of this name (redis.sentinel_master)")}
	case err != nil:
		return vote{err: err}
	case len(addr) != 2:
		return vote{err: errors.New("malformed address of a master")}
	}
	v = vote{addr: net.JoinHostPort(addr[0], addr[1]), epoch: unknownEpoch}
	if v.addr == known {
		return v
	}
	reply, err := s.clients[i].Do(ctx, "sentinel", "master", s.name).Result()
	if err != nil && !IsReply(err) {
		return vote{err: err}
	}
	v.epoch = epochOf(reply)
	return v
}

// epochOf reads the epoch of the configuration in a reply to SENTINEL MASTER.
func epochOf(reply any) int64 {
	fields, _ := reply.([]any)
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "config-epoch" {
			return number(fields[i+1])
		}
	}
	return unknownEpoch
}
