package hub

import (
	"sync"
	"testing"
	"time"
)

func TestAliveWaitsForWhateverHangs(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	alive := func() <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Alive()
		}()
		return done
	}
	returns := func(why string, done <-chan struct{}) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatalf("%s: it does not return", why)
		}
	}
	returns("all goes on", alive())
	for name, mu := range map[string]*sync.Mutex{"the deliverer": &p.delivering, "the registry": &p.registry.mu, "the gate": &p.gate.mu, "the status": &p.status.mu} {
		mu.Lock()
		done := alive()
		select {
		case <-done:
			t.Errorf("%s hangs, and the hub is called alive", name)
		case <-time.After(100 * time.Millisecond):
		}
		mu.Unlock()
		returns(name+" goes on", done)
	}
}
