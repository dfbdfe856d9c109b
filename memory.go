package main

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	memoryLook   = time.Second
	memoryCalm   = 50   // connections that may come or go in a look, and it is still calm
	memoryChange = 1000 // connections that have come or gone since memory was last given back
)

// giveBackMemory returns memory to the system once a crowd of connections has
// come or gone, and it is calm again: what their handshakes needed is garbage,
// which Go would keep for minutes.
func giveBackMemory(ctx context.Context, connections func() int) {
	t := time.NewTicker(memoryLook)
	defer t.Stop()
	last, given := 0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n := connections()
		calm := max(n-last, last-n) <= memoryCalm
		last = n
		if calm && max(n-given, given-n) >= memoryChange {
			given = n
			debug.FreeOSMemory()
		}
	}
}
