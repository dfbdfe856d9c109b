package conn

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"

	"pushpod/conn/internal/tlsloop"
)

// TLS is how clients speak TLS.
type TLS struct {
	// Config returns the configuration for the next connection. Another one may be
	// returned from some moment on; none may be changed once it was returned. It is
	// called with a loop locked, from any goroutine: it must not block. Required.
	Config func() *tls.Config
	// Failed is told of each handshake of TLS that fails, for the log, with a loop
	// locked: it must not block. It is not told of those in which the client goes, or
	// sends nothing for too long. Required.
	Failed func(remote netip.Addr, err error)
}

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
		l.srv.opts.TLS.Failed(netip.AddrFrom16(c.in.remote).Unmap(), err)
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
