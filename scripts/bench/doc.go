// Bench measures a pod of pushpod. Beside each figure stands the limit that the
// same machine sets in the same run, since absolute times mean little between
// machines:
//
//	go run ./scripts/bench                       # a pod and a Redis of its own
//	go run ./scripts/bench --url ws://10.0.3.7:8080/ws --redis 10.0.3.2:6379
//
// It opens connections (clients.go), publishes through Redis (publisher.go),
// and counts what comes back (tally.go). measure.go has the order of the stages,
// load.go what is published in each. The limits (limits.go) are a bare server
// that writes each frame with one write(2), and Redis with one subscriber.
//
// The client has to be cheap, or it measures itself: one goroutine reads all
// sockets with raw system calls, and one more publishes. Both hold their
// processor while they wait.
//
// docs/performance.md says what the figures mean.
package main
