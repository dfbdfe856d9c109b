package admin

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"pushpod/hub"
)

const (
	triesAtOnce = 10              // wrong tokens from one address
	triesEvery  = 5 * time.Second // and one more
	triesFrom   = 1024            // addresses that are told apart
)

// tries bounds how often tokens are guessed, from each address.
type tries struct {
	mu   sync.Mutex                   // protects following
	from map[netip.Addr]*rate.Limiter // by network
	rest *rate.Limiter                // of all addresses beyond triesFrom
}

func newTries() tries {
	return tries{from: map[netip.Addr]*rate.Limiter{}, rest: newTryLimit()}
}

func newTryLimit() *rate.Limiter { return rate.NewLimiter(rate.Every(triesEvery), triesAtOnce) }

// try has a token looked at, unless too many wrong ones came from the address. Right
// ones are not counted.
func (t *tries) try(remote netip.Addr, look func() bool) (right, looked bool) {
	now := time.Now()
	one := t.limit(remote, now).ReserveN(now, 1)
	if one.DelayFrom(now) > 0 {
		one.CancelAt(now)
		return false, false
	}
	if right = look(); right {
		one.CancelAt(now)
	}
	return right, true
}

func (t *tries) limit(remote netip.Addr, now time.Time) *rate.Limiter {
	network := hub.Network(remote) // the zero one where there is no address
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.from[network]; l != nil {
		return l
	}
	if len(t.from) >= triesFrom {
		t.forget(now)
	}
	if len(t.from) >= triesFrom {
		return t.rest
	}
	l := newTryLimit()
	t.from[network] = l
	return l
}

// forget forgets those who have not guessed for long. The caller holds t.mu.
func (t *tries) forget(now time.Time) {
	for network, l := range t.from {
		if l.TokensAt(now) >= triesAtOnce {
			delete(t.from, network)
		}
	}
}
