// Package netloop is what event loops need of the operating system: sockets in,
// readiness out, and writes to many sockets at once. It knows no frames and no
// connections: a socket is a number, and what its events are about is a [Ref]
// that its owner chose.
//
// On Linux a loop is an epoll descriptor that waits in the runtime's poller, so
// that a loop at rest holds no thread (epoll_linux.go). Elsewhere, and where it
// is asked for, each socket has goroutines (portable.go); it behaves the same
// and costs more.
package netloop
