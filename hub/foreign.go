package hub

import "pushpod/conn"

// The header fields in which browsers say what asks (Fetch Metadata), also where they send
// no Origin.
const (
	fetchSite = "Sec-Fetch-Site"
	fetchMode = "Sec-Fetch-Mode"
	fetchDest = "Sec-Fetch-Dest"
)

// isForeign reports whether a page of another origin asks for server-sent events in a way
// in which browsers name no origin: an image, a script, a frame. It could read nothing, but
// it would open a stream with its visitor's cookies, and take one of the places that the user
// has. EventSource and fetch name it, and so do WebSockets always. Following a link is no such thing.
func isForeign(r *conn.Request) bool {
	if !r.Events || r.Origin != "" {
		return false
	}
	switch r.Field(fetchSite) {
	case "cross-site", "same-site":
		return r.Field(fetchMode) != "navigate" || r.Field(fetchDest) != "document"
	}
	return false
}
