// Package client is a Go client for pushpod's WebSocket endpoint, GET /ws with the subprotocol pushpod.v1.
//
// A [Client] stays connected: it reconnects as the close code, the HTTP answer or the network asks for, drops messages
// it has seen, and repeats a request until a pod has answered it. A [Conn] is one connection and nothing more: it does
// the framing, answers WebSocket pings, and leaves the rest to its caller.
//
// # What ends a Client
//
//	close code 1001, 1013, 4029, 4053 reconnects after the retry_ms in the reason
//	1008                              reconnects, backing off
//	4000, 4100-4499, unknown codes    reconnects with a jittered delay
//	1000, 1002, 1003, 1007, 1009      ends: the client's own fault, repeating it would not help
//	4001, 4003, 4500 and above        ends: the client is to stay away
//	HTTP 408, 425, 429, 5xx           tries again, not before Retry-After
//	any other HTTP answer             ends (501 and 505 too)
//	network failure, silent server    reconnects with a jittered delay
//
// With [Options.Token], each attempt comes with a fresh token. Then a Client reconnects at once after 4000, 4001 and HTTP
// 401; where the fresh token is refused too, it goes on trying, backing off. [Client.Refresh] sends a fresh token over the
// connection that there is, before the one it came with expires.
//
// # Delivery
//
// A push is delivered at most once: what is published while the client reconnects is lost to it. A request is at least
// once: where the connection breaks before the receipt came, it is sent again with the same id, and backends drop by
// (user, id).
//
// # Goroutines
//
// A Client runs on the goroutine that calls [Client.Run]: reading, callbacks and waiting happen there. When its context
// ends, one more writes the close frame, and Run waits for it.
package client
