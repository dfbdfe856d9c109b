// Package tlsloop speaks TLS 1.2 and 1.3 over the sockets of a [netloop.Network].
// It is one itself: who reads and writes does it as over TCP, in plain text.
//
// A connection at rest has no goroutine. crypto/tls takes an error that is temporary
// as not final, so a [tls.Conn] over a socket which answers so where nothing is
// there (RFC 8446 has no notion of it; see crypto/tls.Conn.Read) is read when epoll
// says that there is something.
//
// # Handshakes
//
// A handshake of crypto/tls can't be left and entered again: it runs in a coroutine,
// which yields where it wants more input. A few workers, half of the processors,
// resume the coroutines for which something has come, so that no loop ever computes
// a signature, and a client that stalls takes no worker. Nothing runs, and no
// coroutine is made, before the ClientHello is whole. See workers.go for what happens
// under attack.
//
// # Writes
//
// The socket may be full in the middle of a record. The rest of the record is kept,
// and nothing more is encrypted before it is written. To the owner one byte less is
// taken than is encrypted, so that its queue is not empty, its frame is begun, and it
// asks to be told when there is room. That byte is left out when it comes again.
//
// # Reads
//
// What lies decrypted in a tls.Conn makes no event. So Read goes on until the tls.Conn
// has nothing more, and takes no more from the socket at once than what fits into its
// buffer.
package tlsloop
