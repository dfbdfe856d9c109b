package hub

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/presence"
)

// madePods are Pods of which some answers are the test's.
type madePods struct {
	Pods
	claim func() error
	beat  func() error
	run   func(ctx context.Context)
}

func (p *madePods) Claim(ctx context.Context) error {
	if p.claim != nil {
		return p.claim()
	}
	return p.Pods.Claim(ctx)
}

func (p *madePods) Beat(ctx context.Context) error {
	if p.beat != nil {
		if err := p.beat(); err != nil {
			return err
		}
	}
	return p.Pods.Beat(ctx)
}

func (p *madePods) Run(ctx context.Context) error {
	if p.run != nil {
		p.run(ctx)
		return nil
	}
	return p.Pods.Run(ctx)
}

// An entry that comes back behind its removal would stand until it expires.
func TestARewriteBringsNobodyBackWhoHasLeft(t *testing.T) {
	const n = 3
	p := newVoidPod(t, n, conn.Options{Loops: 2})
	p.pods = &madePods{Pods: p.pods, beat: func() error { // when it is known already who is to be rewritten
		p.server.Close()
		return nil
	}}
	if !p.rewrite(t.Context(), nil) {
		t.Error("it is to be tried again")
	}
	if gone, back := p.presence.unregistered.Load(), p.presence.renewals.Load(); gone != n || back != 0 {
		t.Errorf("%d of %d are unregistered, and %d renewed behind that", gone, n, back)
	}
}

func TestARewriteIsPaced(t *testing.T) {
	const n = 1600
	p := newVoidPod(t, n, conn.Options{Loops: 2})
	begun := time.Now()
	if !p.rewrite(t.Context(), nil) {
		t.Error("it is to be tried again")
	}
	if took := time.Since(begun); took < 30*time.Millisecond {
		t.Errorf("%d entries are rewritten within %v", n, took)
	}
	if got := p.presence.renewals.Load(); got != n {
		t.Errorf("%d of %d entries are rewritten", got, n)
	}
}

// fleetPods are so many pods.
type fleetPods struct {
	Pods
	n int
}

func (p fleetPods) Fleet() int { return p.n }

// What made one pod rewrite mostly made all of them do so.
func TestTheFleetSharesThePaceOfARewrite(t *testing.T) {
	for _, x := range []struct {
		pods, entries int
		perSecond     float64
	}{
		{1, 100, rewritesPerSecond},
		{20, 100, rewritesPerSecond / 20},
		{20, 30_000, 2000}, // in half of 30 s
		{1000, 10_000, 10_000 / 15.},
	} {
		h := New(Options{Pod: testPod, Keys: presence.NewKeys("push:"), Pods: fleetPods{n: x.pods}, Log: zerolog.Nop(), Renew: 30 * time.Second})
		if got := h.pace(x.entries); got != x.perSecond {
			t.Errorf("%d pods, %d entries: %v a second, want %v", x.pods, x.entries, got, x.perSecond)
		}
	}
}

// Whose pod has no score is taken for dead, so it comes first.
func TestARewriteWaitsForTheHeartbeat(t *testing.T) {
	const pause, pauses = 50 * time.Millisecond, 5
	p := newVoidPod(t, 1, conn.Options{Loops: 1})
	p.opts.Redis.Probe, p.opts.Redis.Timeout = pause, time.Second
	var beats, succeeds atomic.Int64
	p.pods = &madePods{Pods: p.pods, beat: func() error {
		beats.Add(1)
		if succeeds.Load() == 0 {
			return errors.New("no heartbeat")
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { p.rewriter(ctx) })
	defer func() { cancel(); running.Wait() }()

	begun := time.Now()
	p.Rewrite()
	for beats.Load() < pauses {
		if time.Since(begun) > patience {
			t.Fatal("it is not tried again")
		}
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(begun); took < (pauses-1)*pause {
		t.Errorf("tried %d times in %v", pauses, took)
	}
	if n := p.presence.renewals.Load(); n != 0 {
		t.Errorf("%d entries are renewed without a heartbeat", n)
	}
	succeeds.Store(1)
	for p.presence.renewals.Load() != 1 {
		if time.Since(begun) > 2*patience {
			t.Fatal("nothing is renewed after a heartbeat")
		}
		time.Sleep(time.Millisecond)
	}
}
