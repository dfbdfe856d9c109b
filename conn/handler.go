package conn

// Handler is the side of a [Server] that knows users. Its methods are called
// with the connection's loop locked: they must not block, and of a Conn they
// may call only what says that it may be called there. They may be called from
// several goroutines at once, for connections of different loops.
type Handler interface {
	// AllowOrigin says whether pages of this origin may connect to this host,
	// and read why not.
	AllowOrigin(origin, host string) bool

	// Check says whether a request would be let in, without letting it in.
	// nil means yes.
	Check(r *Request) *Refusal

	// Handshake decides about a connection whose request has the right form.
	// A refusal is sent to the client, and the connection ends. With nil the
	// connection is registering: the handler has called c.Identify, and calls
	// c.Accept or c.Refuse later, once, from another call than this one.
	// Every connection for which Handshake returned nil gets one Closed.
	Handshake(c *Conn, r *Request) *Refusal

	// Receive is called for each text message, which is valid UTF-8 and valid
	// only during the call. limited says that the client sends more frames
	// than it may: the message must be refused.
	Receive(c *Conn, message []byte, limited bool)

	// Renew is called every Options.Renew while the connection is open and
	// its peer is alive.
	Renew(c *Conn)

	// Closed is called once the connection has ended, for whatever reason.
	Closed(c *Conn, why Cause)
}

// Cause says why a connection ended.
type Cause uint8

const (
	CausePeer     Cause = iota // the peer closed, properly or not
	CauseProtocol              // the peer broke the protocol or a limit
	CauseDead                  // no sign of life after a ping
	CauseSlow                  // slow consumer
	CauseServer                // the pod closed it: drain, age, a producer's close
	CauseRefused               // it was refused while registering
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
