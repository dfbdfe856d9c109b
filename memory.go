package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	memoryLook  = time.Second
	memoryCalm  = 1 << 20 // bytes that are allocated in a look, and it is still calm
	memorySpare = 4 << 20 // bytes that Go may keep beyond what is in use
)

// giveBackMemory returns memory to the system once it is calm after a crowd of
// connections or a burst of messages: what those needed is garbage by then,
// which Go would keep for minutes, or for ever where nothing more is allocated.
func giveBackMemory(ctx context.Context) {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	t := time.NewTicker(memoryLook)
	defer t.Stop()
	var last, given uint64 // bytes allocated in all: at the last look, and when memory was given back
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		metrics.Read(s)
		allocated, free := s[0].Value.Uint64(), s[1].Value.Uint64()+s[2].Value.Uint64()
		garbage := s[3].Value.Uint64() - min(s[3].Value.Uint64(), s[4].Value.Uint64())
		calm := allocated-last < memoryCalm
		last = allocated
		// Not again before as much has been allocated: it would be in vain.
		if calm && free+garbage > memorySpare && allocated-given > memorySpare {
			given = allocated
			debug.FreeOSMemory()
		}
	}
}
