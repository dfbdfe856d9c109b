package hub

import (
	"sync"
	"time"
)

// BadEnvelope is an envelope that was dropped. Of what was in it, it says nothing.
type BadEnvelope struct {
	At     int64  `json:"at"` // Unix ms, by this machine's clock
	Reason string `json:"reason"`
	Bytes  int    `json:"bytes"`
}

const mostBad = 50

// badEnvelopes are the last ones. A flood of them costs each a lock that nobody holds for
// long.
type badEnvelopes struct {
	mu   sync.Mutex // protects following
	ring [mostBad]BadEnvelope
	n    uint64 // so many have been added
}

func (b *badEnvelopes) add(reason string, bytes int) {
	at := time.Now().UnixMilli()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ring[b.n%mostBad] = BadEnvelope{At: at, Reason: reason, Bytes: bytes}
	b.n++
}

// BadEnvelopes returns the last envelopes that were dropped, at most 50, the newest first.
// It may be called from anywhere.
func (h *Hub) BadEnvelopes() []BadEnvelope {
	b := &h.badEnvelopes
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]BadEnvelope, 0, mostBad)
	for i := b.n; i > 0 && b.n-i < mostBad; i-- {
		list = append(list, b.ring[(i-1)%mostBad])
	}
	return list
}
