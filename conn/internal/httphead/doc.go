// Package httphead is the head of a request that may become a WebSocket, and
// the answer to it: [Scan] finds where the head ends, [Parser] reads it,
// [Response] and [AppendUpgrade] are what it gets (RFC 9112, RFC 6455 section
// 4.2). It works on bytes, and is stricter than an ordinary server: what could
// be understood in two ways is refused.
package httphead

const (
	Path        = "/ws"        // where clients connect
	EventsPath  = "/sse"       // where those connect that get server-sent events
	HealthPath  = "/healthz"   // where balancers ask whether the pod is ready
	Subprotocol = "pushpod.v1" // the one that is spoken
)
