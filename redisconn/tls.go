package redisconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
)

// TLS says how to speak TLS to Redis. The files are read at each connection; where
// they can't be used, the connection fails, and the error names the key of the
// configuration and the file. It may be used from any goroutine, and by several
// Options.
type TLS struct {
	CAFile     string // authorities to trust, in PEM; "": those of the system
	CertFile   string // certificate to show, in PEM, with KeyFile; "": none
	KeyFile    string
	ServerName string // what the server's certificate must be for; "": the host that is dialed

	mu   sync.Mutex  // protects following
	read tlsFiles    // what last was made a configuration of
	made *tls.Config // of read; keeps sessions, so that a further connection is cheap
}

// tlsFiles are the contents of the files.
type tlsFiles struct{ ca, cert, key []byte }

func (f tlsFiles) equal(other tlsFiles) bool {
	return bytes.Equal(f.ca, other.ca) && bytes.Equal(f.cert, other.cert) && bytes.Equal(f.key, other.key)
}

// client makes a connection to the host one of TLS.
func (t *TLS) client(ctx context.Context, c net.Conn, host string) (net.Conn, error) {
	config, err := t.config()
	if err != nil {
		return nil, err
	}
	config.ServerName = host
	if t.ServerName != "" {
		config.ServerName = t.ServerName
	}
	secured := tls.Client(c, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS to %s: %w", c.RemoteAddr(), err)
	}
	return secured, nil
}

// config returns a configuration by the files as they are now.
func (t *TLS) config() (*tls.Config, error) {
	files, err := t.readFiles()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.made == nil || !files.equal(t.read) {
		made, err := t.make(files)
		if err != nil {
			return nil, err
		}
		t.read, t.made = files, made
	}
	return t.made.Clone(), nil
}

func (t *TLS) readFiles() (f tlsFiles, err error) {
	for _, file := range []struct {
		key, path string
		text      *[]byte
	}{
		{"redis.tls_ca_file", t.CAFile, &f.ca},
		{"redis.tls_cert_file", t.CertFile, &f.cert},
		{"redis.tls_key_file", t.KeyFile, &f.key},
	} {
		if file.path == "" {
			continue
		}
		if *file.text, err = os.ReadFile(file.path); err != nil {
			return tlsFiles{}, fmt.Errorf("%s: %w", file.key, err)
		}
	}
	return f, nil
}

func (t *TLS) make(f tlsFiles) (*tls.Config, error) {
	c := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	if t.CAFile != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(f.ca) {
			return nil, fmt.Errorf("redis.tls_ca_file: there is no certificate in PEM in %s", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.X509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("redis.tls_cert_file %s and redis.tls_key_file %s: %w", t.CertFile, t.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
