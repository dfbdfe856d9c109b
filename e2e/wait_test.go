package e2e

import (
	"testing"
	"time"
)

// slack is added to a bound that the documentation states, for a busy machine.
// It is no part of any promise.
const slack = 2 * time.Second

// settle is how long a test waits for what must happen, where no bound is
// stated.
const settle = 10 * time.Second

// eventually waits until ok says so, for at most the time given, and ends the
// test otherwise. ok returns what it saw, for the message.
func eventually(t testing.TB, why string, within time.Duration, ok func() (bool, any)) {
	t.Helper()
	start := time.Now()
	for {
		done, saw := ok()
		if done {
			return
		}
		if time.Since(start) > within {
			t.Fatalf("%s: not within %v; last seen: %v", why, within, saw)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// always checks that ok holds for the time given.
func always(t testing.TB, why string, during time.Duration, ok func() (bool, any)) {
	t.Helper()
	for start := time.Now(); time.Since(start) < during; time.Sleep(20 * time.Millisecond) {
		if holds, saw := ok(); !holds {
			t.Fatalf("%s: no longer so after %v; seen: %v", why, time.Since(start).Round(time.Millisecond), saw)
		}
	}
}
