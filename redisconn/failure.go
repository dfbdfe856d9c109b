package redisconn

import (
	"errors"
	"fmt"
	"sync"
)

// Errors in what is configured, which do not go away by themselves.
var (
	ErrDatabase = errors.New("redis.db must be 0: a Cluster has only this database")
	ErrSentinel = errors.New("redis.addresses leads to a Sentinel: give the name of the master that it watches, as redis.sentinel_master")
	ErrSeveral  = errors.New("redis.addresses has several addresses, as for a Cluster or (with redis.sentinel_master) Sentinels, but a server there is neither: give one address")
)

// IsSetting reports whether an error is one in what is configured.
func IsSetting(err error) bool {
	return errors.Is(err, ErrDatabase) || errors.Is(err, ErrSentinel) || errors.Is(err, ErrSeveral)
}

// fits returns an error where what is configured does not fit to what was answered.
func (r *Redis) fits(a answer) error {
	switch {
	case a.kind == Cluster && r.options.DB != 0:
		return fmt.Errorf("%w, not %d", ErrDatabase, r.options.DB)
	case a.kind == Sentinel:
		return ErrSentinel
	case a.kind == Standalone && r.options.SentinelMaster == "" && len(r.options.Addresses) > 1:
		return ErrSeveral
	}
	return nil
}

// failure is why something fails; nil: it does not.
type failure struct {
	mu   sync.Mutex // protects following
	err  error
	told func(error) // where it changes; nil: nobody is
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// tell has somebody told from now on.
func (f *failure) tell(told func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = told
}

func (f *failure) set(err error) {
	f.mu.Lock()
	same := err == nil && f.err == nil || err != nil && f.err != nil && err.Error() == f.err.Error()
	f.err = err
	told := f.told
	f.mu.Unlock()
	if !same && told != nil {
		told(err)
	}
}
