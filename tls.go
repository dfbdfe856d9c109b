package main

import (
	"crypto/tls"
	"fmt"
	"time"

	"pushpod/certs"
)

// readCerts reads the certificate, where one is given.
func (p *pod) readCerts() (err error) {
	t := p.cfg.TLS
	if t.CertFile == "" {
		return nil
	}
	p.certs, err = certs.New(certs.Options{CertFile: t.CertFile, KeyFile: t.KeyFile, ClientCAFile: t.ClientCAFile, Log: events(p.log)})
	if err != nil {
		return fmt.Errorf("tls.cert_file: %w", err)
	}
	if end := p.certs.Expires(); time.Now().After(end) {
		p.log.Warn().Time("expired", end).Msg("the certificate has expired")
	}
	return nil
}

// clientTLS is how clients speak TLS; nil: they don't.
func (p *pod) clientTLS() func() *tls.Config {
	if p.certs == nil {
		return nil
	}
	return p.certs.Clients
}

// adminTLS is how operators speak TLS; nil: they don't.
func (p *pod) adminTLS() func() *tls.Config {
	if !p.cfg.Admin.TLS {
		return nil
	}
	return p.certs.Operators
}

// certExpires tells when the certificate expires; nil: there is none.
func (p *pod) certExpires() func() time.Time {
	if p.certs == nil {
		return nil
	}
	return p.certs.Expires
}
