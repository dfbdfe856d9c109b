package conn

import (
	"crypto/x509"
	"net/netip"

	"pushpod/conn/internal/httphead"
)

// Request is what a client asked for. It and its strings are valid only during
// the call of Admit.
type Request struct {
	*httphead.Request

	// From is who has connected; behind the PROXY protocol, whom its header names.
	From netip.Addr
	// Remote is where the client is: From, unless Admit says otherwise.
	Remote netip.Addr

	// Peer is the certificate by which the client has proved who it is, checked
	// against the authorities of TLS.Config; nil: it has shown none.
	Peer *x509.Certificate

	// Problem is what is wrong with the request, which can only be refused with
	// it; nil: it is well-formed.
	Problem *Refusal

	// AllowOrigin is set by Admit where pages of Origin may read a refusal.
	AllowOrigin bool
}

// Refusal is the HTTP answer to a handshake that is not let in.
type Refusal = httphead.Response

// Admitter is the side of a [Server] that decides who is let in. Its methods are
// called with a loop locked: they must not block, and of a Conn they may call
// only what says so. They may be called from several goroutines at once.
type Admitter interface {
	// Admit is asked about each request whose head is complete. A refusal is sent,
	// and the connection ends. With an owner the request is answered later by
	// Server.Answer, from any goroutine, not during the call; it is also where
	// the request asks for neither a WebSocket (Request.Upgrade) nor events
	// (Request.Events), and can only be refused. From then on the owner is told what happens to the connection.
	Admit(c *Conn, r *Request) (Owner, *Refusal)

	// Ready says what GET /healthz is answered: 200 or 503.
	Ready() bool

	// Refused is told of each handshake that is refused, for the log. origin is
	// "" where none was sent. Status 0: the connection was closed without an answer.
	Refused(remote netip.Addr, origin string, r *Refusal)
}

// Owner is told of everything that happens to one connection, with its loop
// locked: it must not block, and of the Conn it may call only what says so.
type Owner interface {
	// Message is called for each text message, which is valid UTF-8 and valid
	// only during the call. limited says that the client sends more frames than
	// it may: the message must be refused.
	Message(text []byte, limited bool)

	// Opened is called when the connection is open: its first message is the welcome.
	Opened()

	// Slow is called when a message was dropped, or the connection is about to be closed,
	// because too much waits: so many bytes.
	Slow(waiting int, p Policy)

	// Renew is called every Options.Renew while the connection is open and its
	// peer is alive, and for Conn.Renew.
	Renew()

	// Closed is called once, when the connection has ended for whatever reason.
	Closed(why Cause)
}

// Cause says why a connection ended.
type Cause uint8

const (
	CausePeer     Cause = iota // the peer closed, properly or not
	CauseProtocol              // the peer broke the protocol or a limit
	CauseDead                  // no sign of life after a ping
	CauseSlow                  // slow consumer
	CauseServer                // the pod closed it: drain, age, a producer's close
	CauseRefused               // it was refused
	CauseTimeout               // the handshake was not complete in time
	causes
)

var causeNames = [causes]string{"peer", "protocol", "dead", "slow", "server", "refused", "timeout"}

func (w Cause) String() string { return causeNames[w] }

// Causes lists every cause, for metrics.
func Causes() []Cause {
	all := make([]Cause, causes)
	for i := range all {
		all[i] = Cause(i)
	}
	return all
}
