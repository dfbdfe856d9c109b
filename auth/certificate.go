package auth

import (
	"crypto/x509"
	"encoding/asn1"
)

const (
	ErrNoCertificate   = Refused("a client certificate is missing")
	ErrCommonName      = Refused("the client certificate must have one common name")
	ErrAlternativeName = Refused("the client certificate must have one subject alternative name: a DNS name, an e-mail address or a URI")
)

// CommonName returns the one common name of the subject of a certificate that was
// verified; nil: there was none (RFC 5280 section 4.1.2.6).
func CommonName(c *x509.Certificate) (string, error) {
	if c == nil {
		return "", ErrNoCertificate
	}
	commonName, found := asn1.ObjectIdentifier{2, 5, 4, 3}, 0
	for _, n := range c.Subject.Names {
		if n.Type.Equal(commonName) {
			found++
		}
	}
	if found != 1 || c.Subject.CommonName == "" {
		return "", ErrCommonName
	}
	return c.Subject.CommonName, nil
}

// AlternativeName returns the one subject alternative name of a certificate that was
// verified; nil: there was none. IP addresses are passed over (RFC 5280 section 4.2.1.6).
func AlternativeName(c *x509.Certificate) (string, error) {
	if c == nil {
		return "", ErrNoCertificate
	}
	names := append(append([]string{}, c.DNSNames...), c.EmailAddresses...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	if len(names) != 1 || names[0] == "" {
		return "", ErrAlternativeName
	}
	return names[0], nil
}
