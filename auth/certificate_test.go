package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"testing"
)

// certificate is one as it comes over the wire.
func certificate(t *testing.T, template x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUsersOfCertificates(t *testing.T) {
	spiffe := &url.URL{Scheme: "spiffe", Host: "example.com", Path: "/alice"}
	name := func(values ...string) (n pkix.Name) {
		for _, v := range values {
			n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: []int{2, 5, 4, 3}, Value: v})
		}
		return n
	}
	for why, c := range map[string]struct {
		template x509.Certificate
		cn, san  string // "": refused
	}{
		"a common name":    {x509.Certificate{Subject: pkix.Name{CommonName: "alice", Organization: []string{"bob"}}}, "alice", ""},
		"a comma in it":    {x509.Certificate{Subject: name("alice,CN=bob")}, "alice,CN=bob", ""},
		"two common names": {x509.Certificate{Subject: name("alice", "bob")}, "", ""},
		"an empty one":     {x509.Certificate{Subject: name("")}, "", ""},
		"a DNS name":       {x509.Certificate{DNSNames: []string{"alice.example.com"}, IPAddresses: []net.IP{{10, 0, 0, 1}}}, "", "alice.example.com"},
		"an e-mail":        {x509.Certificate{Subject: name("Alice"), EmailAddresses: []string{"alice@example.com"}}, "Alice", "alice@example.com"},
		"a URI":            {x509.Certificate{URIs: []*url.URL{spiffe}}, "", "spiffe://example.com/alice"},
		"two names":        {x509.Certificate{DNSNames: []string{"alice", "bob"}}, "", ""},
		"two kinds":        {x509.Certificate{DNSNames: []string{"alice"}, URIs: []*url.URL{spiffe}}, "", ""},
		"nothing":          {x509.Certificate{}, "", ""},
	} {
		x := certificate(t, c.template)
		if got, err := CommonName(x); got != c.cn || (c.cn == "") != (err == ErrCommonName) {
			t.Errorf("%s: common name %q, %v", why, got, err)
		}
		if got, err := AlternativeName(x); got != c.san || (c.san == "") != (err == ErrAlternativeName) {
			t.Errorf("%s: alternative name %q, %v", why, got, err)
		}
	}
	for _, f := range []func(*x509.Certificate) (string, error){CommonName, AlternativeName} {
		if got, err := f(nil); got != "" || err != ErrNoCertificate {
			t.Errorf("no certificate: %q, %v", got, err)
		}
	}
}
