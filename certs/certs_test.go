package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// pair makes a certificate that signs itself, and its key, in PEM.
func pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: inner})
}

// dir has files for Options.
type dir struct {
	t *testing.T
	Options

	mu     sync.Mutex // protects logged
	logged []string
}

func newDir(t *testing.T, name string) *dir {
	at := t.TempDir()
	d := &dir{t: t, Options: Options{CertFile: filepath.Join(at, "cert"), KeyFile: filepath.Join(at, "key")}}
	d.Log = func(what string, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil {
			what += ": " + err.Error()
		}
		d.logged = append(d.logged, what)
	}
	cert, key := pair(t, name)
	d.write(d.CertFile, cert)
	d.write(d.KeyFile, key)
	return d
}

func (d *dir) write(path string, b []byte) {
	d.t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// says waits until so much was logged, and returns the last of it.
func (d *dir) says(n int) string {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		d.mu.Lock()
		logged := d.logged
		d.mu.Unlock()
		if len(logged) >= n {
			return logged[n-1]
		}
	}
	d.t.Fatalf("logged %q, want %d lines", d.logged, n)
	return ""
}

func name(c *tls.Config) string { return c.Certificates[0].Leaf.Subject.CommonName }

func TestACertificateIsReadAgain(t *testing.T) {
	d := newDir(t, "first")
	f, err := New(d.Options)
	if err != nil {
		t.Fatal(err)
	}
	if name(f.Clients()) != "first" || name(f.Operators()) != "first" || time.Until(f.Expires()) > time.Hour {
		t.Fatalf("%v", f.Expires())
	}
	f.files.Every = time.Millisecond
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	running.Go(func() { f.Run(t.Context()) })

	cert, key := pair(t, "second")
	d.write(d.CertFile, cert)
	if said := d.says(1); !strings.Contains(said, "the one known stays") || !strings.Contains(said, d.KeyFile) {
		t.Errorf("a certificate with another's key: %s", said)
	}
	if bytes.Contains([]byte(d.says(1)), key[40:80]) {
		t.Error("the key is in the log")
	}
	if name(f.Clients()) != "first" {
		t.Error("it was taken")
	}
	before := f.Clients()
	d.write(d.KeyFile, key)
	for n := 2; ; n++ {
		if said := d.says(n); said == "certificate read again" {
			break
		}
	}
	if name(f.Clients()) != "second" || f.Clients() == before {
		t.Error("it was not taken")
	}
}

func TestClientsNeedACertificateWhereThereAreAuthorities(t *testing.T) {
	d := newDir(t, "pod")
	f, err := New(d.Options)
	if err != nil {
		t.Fatal(err)
	}
	if f.Clients().ClientAuth != tls.NoClientCert {
		t.Error("one is asked for without an authority")
	}
	d.ClientCAFile = d.CertFile + ".ca"
	ca, _ := pair(t, "authority")
	d.write(d.ClientCAFile, append([]byte("words before\n"), ca...))
	if f, err = New(d.Options); err != nil {
		t.Fatal(err)
	}
	if f.Clients().ClientAuth != tls.RequireAndVerifyClientCert || f.Clients().ClientCAs == nil || f.Operators().ClientAuth != tls.NoClientCert {
		t.Errorf("clients %v, operators %v", f.Clients().ClientAuth, f.Operators().ClientAuth)
	}
}

func TestWhatTheFilesMustHold(t *testing.T) {
	cert, key := pair(t, "other")
	for what, c := range map[string]struct {
		file  func(*Options) *string
		text  []byte
		wrong string
	}{
		"no certificate":         {func(o *Options) *string { return &o.CertFile }, []byte("none"), "PEM"},
		"another's key":          {func(o *Options) *string { return &o.KeyFile }, key, "does not match"},
		"a certificate as a key": {func(o *Options) *string { return &o.KeyFile }, cert, "key"},
		"no authority":           {func(o *Options) *string { return &o.ClientCAFile }, []byte("none"), "no certificate in PEM"},
		"a key as an authority":  {func(o *Options) *string { return &o.ClientCAFile }, key, `"PRIVATE KEY"`},
		"a broken authority":     {func(o *Options) *string { return &o.ClientCAFile }, append(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})...), "certificate 2"},
	} {
		d := newDir(t, "pod")
		path := c.file(&d.Options)
		*path = filepath.Join(t.TempDir(), "file")
		d.write(*path, c.text)
		_, err := New(d.Options)
		if err == nil || !strings.Contains(err.Error(), c.wrong) || !strings.Contains(err.Error(), *path) || strings.Contains(err.Error(), string(key[40:80])) {
			t.Errorf("%s: %v", what, err)
		}
	}
	d := newDir(t, "pod")
	d.KeyFile += ".missing"
	if _, err := New(d.Options); err == nil || !strings.Contains(err.Error(), d.KeyFile) {
		t.Errorf("a missing file: %v", err)
	}
}
