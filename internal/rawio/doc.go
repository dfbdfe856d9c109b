// Package rawio makes system calls of which Go's scheduler is not told. That is for
// calls that don't block: an ordinary one wakes the runtime's monitor thread where
// all else sleeps, which then looks around every 20 us for a while, and costs more
// than a small message does. What has to wait waits in the runtime's poller, through
// an [Epoll] or the descriptor's own syscall.RawConn.
//
// A descriptor must not be closed during a call with it: whoever owns it sees to that.
package rawio
