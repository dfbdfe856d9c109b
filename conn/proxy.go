package conn

import (
	"bytes"
	"net/netip"

	"pushpod/conn/internal/proxyhead"
)

// untrusted reports whether a peer may not connect: it is to send a PROXY header, and
// is not believed.
func (o *Options) untrusted(remote [16]byte) bool {
	return o.ProxyProtocol && (o.TrustProxy == nil || !o.TrustProxy(address(remote)))
}

// proxyInput gathers a connection's first bytes until they are a PROXY header. What is
// behind it goes on as if it had come first.
func (c *Conn) proxyInput(b []byte) {
	in := c.half()
	b, _ = in.gathered(b)
	size, err := proxyhead.Scan(b)
	switch {
	case err != nil:
		c.closeUnheard(err.Error(), CauseProtocol)
	case size > 0:
		in.buf = nil
		c.proxied(b[:size], b[size:])
	case len(in.buf) == 0:
		in.buf = bytes.Clone(b)
	}
}

// proxied takes the client's address from a header. rest came behind it: the beginning
// of whatever comes first without a proxy.
func (c *Conn) proxied(head, rest []byte) {
	source, err := proxyhead.Source(head)
	if err != nil {
		c.closeUnheard(err.Error(), CauseProtocol)
		return
	}
	if source.IsValid() {
		c.in.handshake.remote = source.As16()
	}
	c.clear(flagProxied)
	if c.loop.tls != nil {
		c.beginTLS(rest)
	} else if len(rest) > 0 {
		c.input(rest)
	}
}

// closeUnheard ends a connection without an answer: what it speaks is not known.
func (c *Conn) closeUnheard(reason string, cause Cause) {
	c.tellUnheard(reason)
	c.end(cause)
}

// tellUnheard has it logged why a connection gets no answer.
func (c *Conn) tellUnheard(reason string) {
	c.loop.srv.opts.Admitter.Refused(address(c.in.remote), "", &Refusal{Reason: reason})
}

func address(ip [16]byte) netip.Addr { return netip.AddrFrom16(ip).Unmap() }
