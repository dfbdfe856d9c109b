package source

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	spareLook  = 250 * time.Millisecond
	spareFrom  = 100 // messages in a look that are worth a processor (400/s)
	spareBelow = 25  // and those that are not
	spareCalm  = 40  // looks with so few until it is taken back (10 s)
)

// SpareProcessor gives Go one processor more (GOMAXPROCS) while messages come in
// quick succession, and says so in spare, until ctx ends; received is how many have
// come. A pod that only takes connections is better off without: on one core,
// threads that take turns make a handshake dearer by a tenth.
func SpareProcessor(ctx context.Context, received func() uint64, spare *atomic.Bool) {
	t := time.NewTicker(spareLook)
	defer t.Stop()
	calm := 0
	for last := received(); ; {
		select {
		case <-ctx.Done():
			takeBack(spare)
			return
		case <-t.C:
		}
		now := received()
		came := now - last
		last = now
		switch given := spare.Load(); {
		case !given && came >= spareFrom:
			runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
			spare.Store(true)
			calm = 0
		case given && came >= spareBelow:
			calm = 0
		case given:
			if calm++; calm >= spareCalm {
				takeBack(spare)
			}
		}
	}
}

func takeBack(spare *atomic.Bool) {
	if spare.Swap(false) {
		runtime.SetDefaultGOMAXPROCS() // which follows a changed limit again, as a number given doesn't
	}
}
