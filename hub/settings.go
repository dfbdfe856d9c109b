package hub

import (
	"net/netip"

	"pushpod/auth"
)

// Settings are the options that may change while the hub runs: see [Hub.Set].
type Settings struct {
	Limits  Limits
	Origins auth.Origins // which pages may connect
	// Tokens verifies tokens, auth.mode jwt; nil: none are looked at, which does not
	// change. The hub does not run it.
	Tokens  *auth.Verifier
	Cookie  string       // in which a token may be; "": in none
	Proxies auth.Proxies // who says where a client is, and in auth.mode header who

	UplinkMaxLength int64 // entries in the uplink's stream
	UplinkMaxBytes  int64 // about what they may take in Redis; 0: no bound
}

// Set changes the settings, as one value: each handshake is decided by those before or by
// these. Connections that are there stay. It may be called at any time, from any goroutine
// without a loop locked.
func (h *Hub) Set(to Settings) {
	h.settings.Store(&to)
	h.gate.set(to.Limits, h.registry)
	h.uplink.caps.Store(&caps{to.UplinkMaxLength, to.UplinkMaxBytes})
}

// Settings returns what was set last.
func (h *Hub) Settings() Settings { return *h.settings.Load() }

// TrustsProxy says whether a peer is believed about where a client is. It may be called
// with a loop locked.
func (h *Hub) TrustsProxy(peer netip.Addr) bool { return h.settings.Load().Proxies.Trust(peer) }

// tokens is Settings.Tokens.
func (h *Hub) tokens() *auth.Verifier { return h.settings.Load().Tokens }

// set changes the limits. Where connections of one address are to be bounded that were not
// counted before, it counts those of r; of one that is about to enter r or has just left,
// one too few may be counted until all of its address have gone.
func (g *gate) set(to Limits, r *registry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.limits
	g.limits = to
	if to.HandshakesPerSecond != before.HandshakesPerSecond {
		g.handshakes = newRate(to.HandshakesPerSecond)
	}
	switch {
	case to.PerIP == 0:
		clear(g.perIP)
	case before.PerIP == 0:
		r.each(func(s *session) { g.perIP[Network(s.address())]++ })
	}
}
