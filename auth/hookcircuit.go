package auth

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	circuitRest   = 3 * time.Second  // until a hook that failed is tried again
	circuitWindow = 10 * time.Second // for which successes and failures are counted
)

// circuitSettings spare a hook that is down or overloaded, and its clients the wait for
// it: after five failures one behind the other, or where half of twenty have failed, it
// is not asked for some seconds. Then one question tries it.
func (h *Hook) circuitSettings() gobreaker.Settings {
	return gobreaker.Settings{
		Interval: circuitWindow,
		Timeout:  circuitRest,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.ConsecutiveFailures >= 5 || c.Requests >= 20 && 2*c.TotalFailures >= c.Requests
		},
		IsSuccessful: alive,
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			switch to {
			case gobreaker.StateOpen:
				if !h.open.Swap(true) { // else the question that tried it has failed too
					h.opts.Log("auth hook: the circuit is open", errOften)
				}
			case gobreaker.StateClosed:
				h.open.Store(false)
				h.opts.Log("auth hook: the circuit is closed again", nil)
			}
		},
	}
}

var errOften = errors.New("it failed too often: clients get 503 for " + circuitRest.String() + ", then it is asked again")

// alive reports whether the hook is well, which has answered so. What a client sends may
// make a hook answer nonsense; it must not take the hook from the others.
func alive(err error) bool {
	var denied *Denied
	var odd oddAnswer
	return err == nil || errors.As(err, &denied) || errors.As(err, &odd)
}
