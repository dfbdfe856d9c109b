// Package conn holds end users' connections, which are WebSockets or streams of
// server-sent events: it accepts them, does the handshake (RFC 6455 section 4),
// reads and checks frames (section 5), delivers messages, pings, closes. It knows neither Redis nor users: those come
// from its [Admitter] and from each connection's [Owner].
//
// # Who owns what
//
// A [Server] runs a few loops, one for each processor it may use. A connection
// belongs to one [Loop] from accept to close, and everything about it is guarded
// by that loop's lock. A loop's goroutine waits for readiness and due times;
// any other goroutine may act on a connection too, by taking the lock: a lone push
// is written by the goroutine that read it from Redis, with no hand-over.
// Nothing that holds a loop's lock ever blocks.
//
// An idle connection has no goroutine, no timer and no buffer: one [Conn], one
// slot in its loop's table, one place in the loop's timing wheel, and its owner.
//
// # The life of a connection
//
//	handshaking  the HTTP request is read, behind   → registering, refused, closed
//	             a PROXY header where one must be
//	registering  the Admitter makes it known        → open, refused, closed
//	open         frames go both ways                → closing, closed
//	closing      a close frame is sent or queued    → closed, after 5 s at most
//	refused      an HTTP answer is sent             → closed, after 2 s at most
//	closed       the descriptor is gone
//
// # The way of a message
//
//  1. [Deliverer] gathers messages by loop. Where few connections are concerned
//     it takes the loop's lock itself; else the batch goes to the loop's mailbox,
//     and its worker takes over (deliver.go, mailbox.go).
//  2. A message is queued: within [Settings.QueueBytes], else the policy for slow
//     consumers says what is lost (send.go; the queue is package sendq).
//  3. Connections in whose queue something waits are flushed: all that waits for
//     one goes out in one write, and many writes are made by one system call
//     where the kernel lets us (flush.go; package netloop).
//  4. What the socket does not take stays queued until there is room.
//
// A message for everyone is queued nowhere: it is appended to each loop's log,
// and a sweep brings connection after connection up to date, in slices, so that
// a push to one of them never waits for a large fan-out (broadcast.go). Order
// holds: whatever is queued for a connection first brings it up to date with the
// log.
//
// # Files, from top to bottom
//
//	server.go     what the rest of the program calls
//	options.go    what can be set
//	owner.go      who is told: Admitter, Owner
//	loop.go       a loop: its lock, its slots, its time
//	conn.go       a connection and its states
//	tls.go        where clients speak TLS
//	accept.go → proxy.go → handshake.go → frames.go → close.go    its life
//	keepalive.go  pings, renewals, deadlines; rate.go: too many frames
//	leave.go      drains, ages and places that others take: the client is told before
//	codec.go      what a client is sent looks like: frames; events.go: server-sent events
//	deliver.go → mailbox.go → send.go → flush.go; broadcast.go    the way of a message
//	stats.go      the books
package conn
