// Package hub ties connections (package conn) to presence (package presence)
// and to Redis pub/sub: it is the inside of a pod.
//
// # The way of an envelope
//
//  1. The pod is subscribed to its own channel and to that of all pods
//     (subscription.go), and proves it (probe.go). The subscriber reads the
//     messages from the socket (subscriber.go, internal/resp), by whichever way of
//     waiting is the cheapest (package source), and knows each channel's role.
//  2. A message is parsed as an envelope, strictly (envelope.go, internal/json).
//  3. Its targets are looked up in the registry (route.go, registry.go). A
//     target that is not there is a miss, and is healed.
//  4. The frame is encoded once, and addressed to its connections
//     (conn.Deliverer).
//  5. It is queued and written, all that waits for a connection in one write.
//
// One goroutine does all of it but for writing where there is much, and so keeps
// the order.
//
// # The way of a client's frame
//
// conn hands a whole text message to its session; it is parsed
// (clientframe.go), answered with a receipt, or handed to the uplink
// (uplink.go), which adds it to a Redis stream and then sends the receipt. The
// result comes back later as a push.
//
// # Files, from top to bottom
//
//	hub.go           what a hub is made of, and what runs in it
//	subscription.go  roles of channels; keeping subscribed; gaps
//	probe.go         proves a subscription; what Redis answers that is no failure of it
//	rights.go        what Redis refuses the pod, or does not know (inquiry.go)
//	eviction.go      whether Redis removes keys where its memory ends
//	rewrite.go       presence after a gap, paced, and after a miss
//	subscriber.go    reads what is published
//	envelope.go      what a message may say
//	route.go         from an envelope to its sessions
//	admit.go         who is let in (foreign.go: not by pages of other origins)
//	decide.go        handshakes that are decided off the loops; the hook
//	verify.go        whose a token is, where that takes long
//	verdicts.go      what a hook has said about sessions
//	replace.go       connections that take another's place in presence
//	session.go       one connection's side of the hub
//	clientframe.go   what a client may say
//	uplink.go        from a client to the stream, which has a bound (streamcap.go)
//	registry.go      all sessions, by UUID and by user (table.go)
//	status.go        why the pod is not ready
//	eviction.go, coverage.go  what it warns of
//	stats.go         what has been counted
package hub
