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
// # Handover
//
// A pod that is about to close a connection says so before (goaway), and a Client then opens the next connection at once. Once
// that one has its welcome, it is where frames are sent, and the pod counts it in place of the old one (?replaces=), which is
// read for a second more, since what was addressed to it just before is still on its way, and then closed. Requests under way
// get their receipts over the old one, or are repeated over the new one. Each connection's messages come in order; where both
// are read, those of one may pass those of the other, and what was published to everyone comes over both: OnMessage gets it
// once if it has an id.
//
// Where the next connection is refused or fails, the old one is kept until it is closed, and another attempt is made while
// there is time. A connection that has hardly lasted, or was told goaway before, is not replaced at once: the wait is drawn as
// [Backoff] says.
//
// A connection that has ended without a close frame is named by ?replaces= as well: a pod may still take it for alive, and is
// not to count it beside the new one.
//
// # Delivery
//
// A push is delivered at most once: what is published while the client reconnects is lost to it; in a handover nothing is. A
// request is at least once: where the connection breaks before the receipt came, it is sent again with the same id, and backends
// drop by (user, id).
//
// # Goroutines
//
// A Client runs on the goroutine that calls [Client.Run]: callbacks and waiting happen there. Each connection has a reader,
// which waits for Run to take what came before it reads on, and an attempt to connect has a goroutine while it lasts. One more
// writes the close frame where a connection is to end. Run waits for all of them.
package client
