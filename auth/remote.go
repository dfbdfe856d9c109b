package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// timing is how often and how long a JWKS endpoint is asked.
type timing struct {
	pace    time.Duration // from one request to the next, at least
	request time.Duration // for one request and its answer
	wait    time.Duration // how long a token waits for its key
	refresh time.Duration // from one request to the next, where no token needs one
	retry   time.Duration // in its place, where the last one failed
}

func usualTiming() timing {
	return timing{pace: time.Second, request: 5 * time.Second, wait: 3 * time.Second, refresh: 5 * time.Minute, retry: 15 * time.Second}
}

// maxWaiting bounds how many tokens wait for their keys.
const maxWaiting = 256

// remote is a source of keys that are fetched from a JWKS endpoint. Keys that it has
// named stay while it names no others.
type remote struct {
	url    string
	client *http.Client
	timing timing
	log    func(string, error)
	keys   atomic.Pointer[[]key] // nil: it has never answered

	waiting atomic.Int32
	wanted  chan struct{} // somebody waits for next

	mu   sync.Mutex // protects next
	next *fetch     // the one that has not begun
}

// fetch is one request to the endpoint.
type fetch struct {
	done chan struct{} // closed when it has ended
	err  error         // of it; may be read once done is closed
}

func newFetch() *fetch { return &fetch{done: make(chan struct{})} }

func newRemote(address string, log func(string, error)) (*remote, error) {
	if err := checkURL(address); err != nil {
		return nil, err
	}
	r := &remote{url: address, timing: usualTiming(), log: log, wanted: make(chan struct{}, 1), next: newFetch()}
	r.client = &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			MaxResponseHeaderBytes: 64 << 10,
			IdleConnTimeout:        90 * time.Second,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("it redirects too often")
			}
			return checkURL(to.URL.String())
		},
	}
	return r, nil
}

// checkURL holds that nobody between can name keys: https, or this machine.
func checkURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "":
		return errors.New("a JWKS endpoint must be an https URL")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("a JWKS endpoint must be an https URL, or an http one on loopback")
}

// run fetches the keys, at once and again, until ctx ends.
func (r *remote) run(ctx context.Context) {
	defer r.client.CloseIdleConnections()
	var last error
	for {
		began := time.Now()
		err := r.fetch(ctx)
		if err != nil && (last == nil || err.Error() != last.Error()) && ctx.Err() == nil {
			r.log("JWKS endpoint not read, keys that are known stay", err)
		} else if err == nil && last != nil {
			r.log("JWKS endpoint read again", nil)
		}
		last = err
		if !r.rest(ctx, began, err) {
			return
		}
	}
}

// rest waits until the endpoint is to be asked again. It returns false where ctx ends.
func (r *remote) rest(ctx context.Context, began time.Time, err error) bool {
	idle := r.timing.refresh
	if err != nil {
		idle = r.timing.retry
	}
	due := time.NewTimer(idle)
	defer due.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-due.C:
	case <-r.wanted:
	}
	paced := time.NewTimer(r.timing.pace - time.Since(began))
	defer paced.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-paced.C:
		return true
	}
}

// fetch asks the endpoint once, and lets those go on who waited for that.
func (r *remote) fetch(ctx context.Context) error {
	r.mu.Lock()
	now := r.next
	r.next = newFetch()
	select {
	case <-r.wanted: // by those who wait for this one
	default:
	}
	r.mu.Unlock()
	defer close(now.done)
	keys, err := r.get(ctx)
	if err == nil {
		r.keys.Store(&keys)
	}
	now.err = err
	return err
}

func (r *remote) get(ctx context.Context) ([]key, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timing.request)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, errors.New("the URL can't be asked")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers with status %d", resp.StatusCode)
	}
	b, err := readAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading its answer: %w", withoutURL(err))
	}
	return parseJWKS(b, false, true)
}

// withoutURL takes the URL out of an error: there may be a password in it.
func withoutURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// again waits for a fetch that begins after the call, for a bounded time. It returns
// ErrUnavailable where that fails, or does not end in time.
func (r *remote) again(ctx context.Context) error {
	if r.waiting.Add(1) > maxWaiting {
		r.waiting.Add(-1)
		return ErrUnavailable
	}
	defer r.waiting.Add(-1)
	r.mu.Lock()
	next := r.next
	r.mu.Unlock()
	select {
	case r.wanted <- struct{}{}:
	default: // it is known already
	}
	bound := time.NewTimer(r.timing.wait)
	defer bound.Stop()
	select {
	case <-next.done:
		if next.err == nil {
			return nil
		}
	case <-bound.C:
	case <-ctx.Done():
	}
	return ErrUnavailable
}
