package source

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAProcessorIsSpareWhileMessagesCome(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	runtime.SetDefaultGOMAXPROCS()
	before := runtime.GOMAXPROCS(0)
	var received atomic.Uint64
	var kept atomic.Bool
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { SpareProcessor(ctx, received.Load, &kept) })
	defer func() { cancel(); running.Wait() }()

	received.Add(spareFrom / 2)
	time.Sleep(2 * spareLook)
	if kept.Load() || runtime.GOMAXPROCS(0) != before {
		t.Errorf("%d processors for a few messages, before there were %d", runtime.GOMAXPROCS(0), before)
	}
	wait := func(what string, processors int, each func()) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			each()
			if got := runtime.GOMAXPROCS(0); got == processors {
				return
			} else if time.Now().After(end) {
				t.Fatalf("%s: %d processors, want %d", what, got, processors)
			}
		}
	}
	wait("many", before+1, func() { received.Add(spareFrom) })
	for end := time.Now().Add(time.Second); !kept.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the reader is not told")
		}
	}
	calm := time.Now()
	wait("calm again", before, func() {})
	if lasted := time.Since(calm); lasted < spareCalm*spareLook/2 {
		t.Errorf("taken back after %v of calm", lasted)
	}
	if kept.Load() {
		t.Error("the reader keeps a processor that is not there any more")
	}
	wait("many again", before+1, func() { received.Add(spareFrom) })
	cancel()
	running.Wait()
	if kept.Load() || runtime.GOMAXPROCS(0) != before {
		t.Errorf("%d processors at the end, before there were %d", runtime.GOMAXPROCS(0), before)
	}
}
