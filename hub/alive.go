package hub

import "sync"

// Alive returns once the hub has shown that it goes on: whoever delivers, and what every
// handshake needs, were free for a moment. Where one of them hangs it does not return. It
// does not wait for Redis, and may be called from anywhere but a callback.
func (h *Hub) Alive() {
	for _, mu := range []*sync.Mutex{&h.delivering, &h.registry.mu, &h.gate.mu, &h.status.mu} {
		mu.Lock()
		mu.Unlock() //lint:ignore SA2001 to have had it is all
	}
}
