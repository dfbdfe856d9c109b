// Package certs is the certificate by which a pod's listeners prove whose they are. It
// is read again when its files change.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"pushpod/internal/filewatch"
)

// Options configures [Files].
type Options struct {
	// CertFile is PEM: the certificate, and behind it those that lead from it to its
	// authority. KeyFile is PEM: its key.
	CertFile, KeyFile string
	// ClientCAFile is PEM: the authorities of clients' certificates, without which no
	// client is let in; "": clients need none.
	ClientCAFile string
	// Log is told of each change that is taken, and with an error of what can't be used:
	// what was there before then stays.
	Log func(what string, err error)
}

// Files are a certificate and its key, and what they are made into.
type Files struct {
	opts    Options
	files   *filewatch.Files
	current atomic.Pointer[configs]
}

// configs are not changed once they are made. The keys of session tickets are made
// anew with each: what was agreed upon before a change does not outlive it.
type configs struct{ clients, operators *tls.Config }

// New reads the files, which must fit.
func New(o Options) (*Files, error) {
	f := &Files{opts: o}
	paths := []string{o.CertFile, o.KeyFile}
	if o.ClientCAFile != "" {
		paths = append(paths, o.ClientCAFile)
	}
	var err error
	f.files, err = filewatch.New(filewatch.Options{Paths: paths, Apply: f.apply, Log: f.log})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Run reads the files again when they change, until ctx ends.
func (f *Files) Run(ctx context.Context) { f.files.Run(ctx) }

// Clients returns what a connection of a client's is to speak TLS by.
func (f *Files) Clients() *tls.Config { return f.current.Load().clients }

// Operators returns the same for operators, who need no certificate.
func (f *Files) Operators() *tls.Config { return f.current.Load().operators }

// Expires is when the certificate expires.
func (f *Files) Expires() time.Time {
	return f.current.Load().operators.Certificates[0].Leaf.NotAfter
}

func (f *Files) log(err error) {
	if err != nil {
		f.opts.Log("certificate not read again, the one known stays", err)
		return
	}
	f.opts.Log("certificate read again", nil)
}

func (f *Files) apply(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return fmt.Errorf("the certificate in %s with the key in %s: %w", f.opts.CertFile, f.opts.KeyFile, err)
	}
	c := &configs{operators: config(pair), clients: config(pair)}
	if len(contents) > 2 {
		if c.clients.ClientCAs, err = authorities(contents[2]); err != nil {
			return fmt.Errorf("the authorities in %s: %w", f.opts.ClientCAFile, err)
		}
		c.clients.ClientAuth = tls.RequireAndVerifyClientCert
	}
	f.current.Store(c)
	return nil
}

func config(pair tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
		// Small records at first would let a browser draw a page sooner. A push is small,
		// or of use when it is whole.
		DynamicRecordSizingDisabled: true,
	}
}

// authorities reads certificates, all of which must be well.
func authorities(b []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for n := 1; ; n++ {
		block, rest := pem.Decode(b)
		switch {
		case block == nil && n == 1:
			return nil, errors.New("there is no certificate in PEM")
		case block == nil:
			return pool, nil
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("block %d is %.40q, and no certificate", n, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n, err)
		}
		pool.AddCert(c)
		b = rest
	}
}
