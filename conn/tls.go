package conn

import (
	"crypto/x509"

	"pushpod/conn/internal/tlsloop"
)

// TLSHandshakes is how many handshakes of TLS have ended in which way. They only grow.
type TLSHandshakes struct {
	OK     uint64
	NotTLS uint64 // what came was not TLS
	Failed uint64 // no version or cipher in common, no good certificate, nonsense, stalled while others waited
	Closed uint64 // the connection ended meanwhile: the client has gone, or the time was up
}

// beginTLS has the client speak TLS from now on, where it shall. early is what has come
// of it.
func (c *Conn) beginTLS(early []byte) {
	if c.loop.tls != nil {
		if err := c.loop.tls.Begin(c.fd, early); err != nil {
			c.readFailed(err)
		}
	}
}

// tlsFailed ends a connection whose handshake of TLS has failed, once the peer has read
// why, or after 2 s.
func (c *Conn) tlsFailed(err error) {
	l := c.loop
	if c.state == stateHandshaking { // else it was refused before
		c.tellUnheard("TLS: " + err.Error())
		l.pending--
		c.state = stateRefused
	}
	c.dropQueue()
	c.dropHalf()
	c.cause = CauseRefused
	c.endAt = l.after(refuseTimeout)
	c.schedule()
	l.io.FinishWrites(c.fd)
}

// peer returns the certificate of the client's; nil: it has shown none.
func (c *Conn) peer() *x509.Certificate {
	if c.loop.tls == nil {
		return nil
	}
	return c.loop.tls.Peer(c.fd)
}

var _ = TLSHandshakes(tlsloop.Stats{}) // one is the other
