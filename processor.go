package main

import (
	"context"
	"runtime"
	"time"
)

const (
	spareLook  = 250 * time.Millisecond
	spareFrom  = 100 // messages in a look that are worth a processor (400/s)
	spareBelow = 25  // and those that are not
	spareCalm  = 40  // looks with so few until it is taken back (10 s)
)

// spareProcessor gives Go one processor more (GOMAXPROCS) while messages come in
// quick succession, and then lets keep know that the hub's reader may keep one. A
// pod that only takes connections is better off without: on one core, threads that
// take turns make a handshake dearer by a tenth.
func spareProcessor(ctx context.Context, received func() uint64, keep func(may bool)) {
	t := time.NewTicker(spareLook)
	defer t.Stop()
	given, calm := false, 0
	for last := received(); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := received()
		came := now - last
		last = now
		switch {
		case !given && came >= spareFrom:
			runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
			keep(true)
			given, calm = true, 0
		case !given:
		case came >= spareBelow:
			calm = 0
		default:
			if calm++; calm >= spareCalm {
				keep(false)
				runtime.SetDefaultGOMAXPROCS() // which follows a changed limit again, as a number given doesn't
				given = false
			}
		}
	}
}
