package hub

import (
	"context"
	"slices"
	"time"
)

// readyLook is how often the pod looks whether it is ready, for the log.
const readyLook = time.Second

// tellReady logs each change of readiness, and of what hinders it, until ctx ends. A
// change that is over within a second may be missed: others say what it was.
func (h *Hub) tellReady(ctx context.Context) {
	t := time.NewTicker(readyLook)
	defer t.Stop()
	var said []string // why it is not ready; empty: it is
	since, first := time.Now(), true
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		names := problemNames(h.Problems())
		if !first && slices.Equal(names, said) {
			continue
		}
		now := time.Now()
		switch {
		case len(names) > 0:
			h.lines.notReady.Event().Strs("problems", names).Send()
		default:
			h.lines.ready.Event().Dur("not_ready_ms", now.Sub(since).Round(time.Millisecond)).Send()
		}
		if first || len(said) == 0 {
			since = now
		}
		said, first = names, false
	}
}

// problemNames are the names of problems, each once, in order.
func problemNames(list []Problem) (names []string) {
	for _, p := range list {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
