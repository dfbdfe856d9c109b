package hub

import (
	"net/http"
	"net/netip"
	"sync/atomic"

	"pushpod/conn"
)

// unnamed is a proxy, as it seems, that auth.trusted_proxies does not name: all its
// clients count as one address.
type unnamed struct {
	from atomic.Pointer[netip.Addr] // nil: none was seen
	seen chan struct{}              // capacity 1: there is one, to be logged
}

// warning says what is wrong; "": nothing is.
func (u *unnamed) warning() string {
	from := u.from.Load()
	if from == nil {
		return ""
	}
	return "limits.per_ip counts all connections from " + from.String() + " as one address, and it seems to be a proxy that auth.trusted_proxies does not name: " +
		"name it there, and let it send X-Forwarded-For, or speak the PROXY protocol (proxy_protocol: on)"
}

// lookForProxy looks whether a handshake comes through a proxy that nobody has named, and
// says so once. That it seems so where a private address sends X-Forwarded-For or has
// reached limits.per_ip, or a public one does both: a client may send the field too.
// refusal is what the gate says. A loop is locked.
func (h *Hub) lookForProxy(r *conn.Request, refusal *conn.Refusal) {
	by := h.settings.Load()
	if by.Limits.PerIP == 0 || h.unnamed.from.Load() != nil {
		return
	}
	forwards := r.Field(forwardedFor) != ""
	full := refusal != nil && refusal.Status == http.StatusTooManyRequests && refusal.Error == tooMany
	private := isPrivate(r.From)
	if !(private && (forwards || full) || forwards && full) || by.Proxies.Trust(r.From) {
		return
	}
	from := r.From.Unmap()
	if h.unnamed.from.CompareAndSwap(nil, &from) {
		h.unnamed.seen <- struct{}{} // there is room: it happens once. A log that is slow holds no loop up
	}
}

// isPrivate reports whether an address is of no public network: where proxies are.
func isPrivate(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a) // RFC 6598
}
