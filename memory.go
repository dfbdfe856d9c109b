package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	memoryLook  = 500 * time.Millisecond
	memoryCalm  = 1 << 20 // bytes a second that are allocated, and it is still calm
	memorySpare = 1 << 18 // bytes that Go may keep beyond what is in use; or an eighth of that
)

// giveBackMemory returns memory to the system once it is calm after a crowd of
// connections or a burst of messages: what those needed is garbage by then,
// which Go would keep for minutes, or for ever where nothing more is allocated.
// trim is called first, to let go of what is kept for the next ones.
func giveBackMemory(ctx context.Context, trim func()) {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	t := time.NewTicker(memoryLook)
	defer t.Stop()
	debug.FreeOSMemory()     // what the start needed
	var last, settled uint64 // bytes allocated in all: at the last look, and when memory was given back
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		trim()
		metrics.Read(s)
		allocated, free, live := s[0].Value.Uint64(), s[1].Value.Uint64()+s[2].Value.Uint64(), s[4].Value.Uint64()
		garbage := s[3].Value.Uint64() - min(s[3].Value.Uint64(), live)
		calm := allocated-last < uint64(memoryCalm*memoryLook.Seconds())
		last = allocated
		spare := max(memorySpare, live/8)
		// Not again before as much has been allocated: it would be in vain.
		if calm && free+garbage > spare && allocated-settled > spare {
			settled = allocated
			debug.FreeOSMemory()
		}
	}
}
