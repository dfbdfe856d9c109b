// Package conn holds end users' WebSocket connections: it accepts them, does
// the handshake (RFC 6455 section 4), reads and checks frames (section 5),
// writes frames, pings, closes. It knows no Redis and no users' rules; those
// come from its [Handler].
//
// # Who owns what
//
// A [Server] runs a few loops, one for each processor it may use. A connection
// belongs to one loop from accept to close, and everything about it is guarded
// by that loop's lock. A loop's goroutine waits for readiness and due times;
// any other goroutine may act on a connection too, by taking the lock: a push
// is written by the goroutine that read it from Redis, with no hand-over.
// Nothing that holds a loop's lock ever blocks.
//
// An idle connection has no goroutine, no timer and no buffer: one struct, one
// slot in its loop's table, one place in the loop's timing wheel.
//
// # The life of a connection
//
//	handshaking  the HTTP request is read           → registering, refused, closed
//	registering  the handler makes it known         → open, refused, closed
//	open         frames go both ways                → closing, closed
//	closing      a close frame is sent or queued    → closed, after 5 s at most
//	refused      an HTTP answer is sent             → closed, after 2 s at most
//	closed       the descriptor is gone
//
// # The way of a message
//
// [Deliverer] encodes a frame, and appends it to the queues of its connections:
// as bytes where it is for one of them alone, shared ([Message]) where it is for
// several. Then each of those is flushed: all that waits goes out in one write,
// and, where the kernel lets us, for many connections by one system call. What
// the socket does not take stays queued, within [Options.QueueBytes]. A message for every connection is not queued anywhere:
// it is appended to each loop's broadcast log, and a sweep brings connection
// after connection up to date, in slices, so that a push to one connection
// never waits for a large fan-out. Order holds: whatever is sent to a connection
// first brings that connection up to date with the log.
package conn
