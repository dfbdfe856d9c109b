// Bench measures a pod of pushpod, and beside each figure the limit that the
// same machine sets in the same run, since absolute times mean little between
// machines:
//
//	go run ./scripts/bench                       # a pod and a Redis of its own
//	go run ./scripts/bench --url ws://10.0.3.7:8080/ws --redis 10.0.3.2:6379
//
// It opens connections (clients.go), publishes through Redis (publisher.go),
// and counts what comes back (tally.go). The client has to be cheap, or it
// measures itself: one goroutine reads all sockets with raw system calls, and
// one more publishes. Both hold their processor while they wait, because a
// thread that Go hands around costs more than a frame does.
//
// The limits are a bare server that writes each frame with one write(2)
// (bareserver.go, run as a child process), and a bare subscriber of Redis
// (subscriber.go).
//
// The stages stand in session.go, in the order in which they run. What a
// figure means, and how to read it: docs/performance.md.
package main
