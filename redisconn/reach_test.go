package redisconn

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pushpod/internal/certtest"
	"pushpod/internal/redistest"
)

// reaches holds that a client and a raw connection reach a server.
func reaches(t *testing.T, o Options) {
	t.Helper()
	o.NoRetry = true
	client := NewClient(o)
	defer client.Close()
	if err := client.Echo(soon(t), "x").Err(); err != nil {
		t.Errorf("client: %v", err)
	}
	pipe := client.Pipeline()
	pipe.Echo(soon(t), "x")
	if _, err := pipe.Exec(soon(t)); err != nil {
		t.Errorf("pipeline: %v", err)
	}
	c, err := Dial(soon(t), o)
	if err != nil {
		t.Errorf("raw connection: %v", err)
		return
	}
	defer c.Close()
	if got := say(t, c, "SUBSCRIBE news"); !strings.Contains(got, "subscribe") {
		t.Errorf("answered %q", got)
	}
}

// fails holds that neither does, for a reason that names these.
func fails(t *testing.T, o Options, names ...string) {
	t.Helper()
	client := NewClient(o)
	defer client.Close()
	_, err := Dial(soon(t), o)
	for _, err := range []error{client.Ping(soon(t)).Err(), err} {
		for _, name := range names {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v; want %s", err, name)
			}
		}
	}
}

func TestASocketInTheFileSystemIsReached(t *testing.T) {
	path := filepath.Join(t.TempDir(), "redis.sock")
	s := redistest.Start(t, "--unixsocket", path, "--requirepass", "secret")
	reaches(t, Options{Addresses: []string{"unix:" + path}, Password: "secret", DB: 2})
	fails(t, Options{Addresses: []string{"unix:" + path}, Password: "wrong"}, "WRONGPASS")
	fails(t, Options{Addresses: []string{"unix:" + path + "x"}}, path)
	// One that the server has closed is not used again.
	c := NewClient(Options{Addresses: []string{"unix:" + path}, Password: "secret", NoRetry: true})
	defer c.Close()
	s.Login("default", "secret")
	for range 5 {
		if err := c.Ping(soon(t)).Err(); err != nil {
			t.Fatal(err)
		}
		s.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	}
}

func TestIPv6IsReached(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("there is no IPv6 here: ", err)
	} else {
		l.Close()
	}
	s := redistest.Start(t, "--bind", "127.0.0.1", "::1")
	reaches(t, Options{Addresses: []string{fmt.Sprintf("[::1]:%d", s.Port())}})
}

func TestTLS(t *testing.T) {
	certs := redistest.NewCerts(t, "redis.test")
	s := redistest.StartTLS(t, certs, "--requirepass", "secret")
	at := func(c *TLS) Options { return Options{Addresses: []string{s.Addr()}, Password: "secret", TLS: c} }
	reaches(t, at(&TLS{CAFile: certs.CA}))
	reaches(t, at(&TLS{CAFile: certs.CA, ServerName: "redis.test"}))
	fails(t, at(&TLS{CAFile: certs.CA, ServerName: "other.test"}), "redis.test, not other.test", s.Addr())
	fails(t, at(&TLS{}), "unknown authority")
	fails(t, at(nil), "") // whatever it is
	fails(t, Options{Addresses: []string{s.Addr()}, Password: "wrong", TLS: &TLS{CAFile: certs.CA}}, "WRONGPASS")
}

func TestTLSWithACertificateOfItsOwn(t *testing.T) {
	certs := redistest.NewCerts(t, "redis.test")
	s := redistest.StartTLS(t, certs, "--tls-auth-clients", "yes")
	at := func(c *TLS) Options { return Options{Addresses: []string{s.Addr()}, TLS: c} }
	reaches(t, at(&TLS{CAFile: certs.CA, CertFile: certs.Cert, KeyFile: certs.Key}))
	fails(t, at(&TLS{CAFile: certs.CA}), "")
}

// What is wrong is named by its key and its file, and is no concern of connections that
// there are.
func TestFilesOfTLSAreReadAtEachConnection(t *testing.T) {
	certs := redistest.NewCerts(t, "redis.test")
	s := redistest.StartTLS(t, certs, "--tls-auth-clients", "yes")
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(path string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	c := &TLS{CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	o := Options{Addresses: []string{s.Addr()}, TLS: c}
	fails(t, o, "redis.tls_ca_file", c.CAFile, "no such file")
	write(c.CAFile, []byte("not PEM"))
	fails(t, o, "redis.tls_cert_file", c.CertFile)
	write(c.CertFile, read(certs.Cert))
	write(c.KeyFile, []byte("not PEM"))
	fails(t, o, "redis.tls_ca_file", c.CAFile, "no certificate")
	write(c.CAFile, read(certs.CA))
	fails(t, o, "redis.tls_key_file", c.KeyFile)
	write(c.KeyFile, read(certs.Key))
	reaches(t, o)
	kept := NewClient(o)
	defer kept.Close()
	if err := kept.Ping(soon(t)).Err(); err != nil {
		t.Fatal(err)
	}
	other := certtest.NewAuthority("another")
	write(c.CAFile, other.PEM())
	fails(t, o, "unknown authority")
	if err := kept.Ping(soon(t)).Err(); err != nil {
		t.Errorf("a connection that there is: %v", err)
	}
	write(c.CAFile, read(certs.CA))
	reaches(t, o)
}

// As without TLS: see TestConnectionsThatRedisHasClosedAreNotUsedAgain.
func TestConnectionsOfTLSThatRedisHasClosedAreNotUsedAgain(t *testing.T) {
	certs := redistest.NewCerts(t, "redis.test")
	s := redistest.StartTLS(t, certs)
	c := NewClient(Options{Addresses: []string{s.Addr()}, NoRetry: true, TLS: &TLS{CAFile: certs.CA}})
	defer c.Close()
	made := CountDials(c)
	for i := range 10 {
		for range 3 {
			if err := c.Ping(soon(t)).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := made.Load(); got != uint64(i+1) {
			t.Fatalf("%d connections were made, want %d", got, i+1)
		}
		if n, err := s.Client().Do(soon(t), "CLIENT", "KILL", "TYPE", "normal").Int(); err != nil || n == 0 {
			t.Fatal(n, err)
		}
		time.Sleep(20 * time.Millisecond) // the end must have come here
	}
}
