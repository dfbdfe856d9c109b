package redistest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pushpod/internal/certtest"
)

// Certs is an authority, and a certificate of it that servers and clients show, in
// files.
type Certs struct {
	CA, Cert, Key string // paths

	pool *x509.CertPool
	pair tls.Certificate
}

// NewCerts makes an authority, and a certificate for 127.0.0.1 and for the name.
func NewCerts(t testing.TB, name string) *Certs {
	t.Helper()
	a := certtest.NewAuthority("redistest")
	dir := t.TempDir()
	c := &Certs{
		CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "redis.crt"), Key: filepath.Join(dir, "redis.key"),
		pool: a.Pool(), pair: a.Issue(name, net.IPv4(127, 0, 0, 1)),
	}
	cert, key := certtest.PEM(c.pair)
	for path, text := range map[string][]byte{c.CA: a.PEM(), c.Cert: cert, c.Key: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatalf("redistest: %v", err)
		}
	}
	return c
}

// StartTLS is Start for a server that speaks TLS, and nothing else. Clients need a
// certificate where the args say so (--tls-auth-clients yes). It skips the test where
// redis-server was built without TLS.
func StartTLS(t testing.TB, c *Certs, args ...string) *Server {
	t.Helper()
	needTLS(t)
	return run(t, &Server{certs: c, args: args})
}

// needTLS skips the test where redis-server was built without TLS: it then does not know
// the option.
func needTLS(t testing.TB) {
	t.Helper()
	out, _ := exec.Command(serverBinary(), "--tls-auth-clients", "wrong").CombinedOutput()
	if !strings.Contains(string(out), "argument(s) must be one of") && !strings.Contains(string(out), "must be one of") {
		t.Skipf("redistest: %s speaks no TLS: %s", serverBinary(), out)
	}
}

// config is a client's; nil without TLS.
func (c *Certs) config() *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{RootCAs: c.pool, Certificates: []tls.Certificate{c.pair}, ServerName: "127.0.0.1"}
}

func (c *Certs) serverArgs() []string {
	return []string{"--tls-cert-file", c.Cert, "--tls-key-file", c.Key, "--tls-ca-cert-file", c.CA, "--tls-auth-clients", "optional"}
}

func (c *Certs) cliArgs() []string {
	if c == nil {
		return nil
	}
	return []string{"--tls", "--cacert", c.CA, "--cert", c.Cert, "--key", c.Key}
}
