package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pushclient "pushpod/clients/go"
)

// An authority issues certificates, into files of a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
	a.key = a.newKey()
	a.cert = a.sign(a.cert, a.key)
	a.write("ca.crt", &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return k
}

func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *authority) path(file string) string { return filepath.Join(a.dir, file) }

// write writes a file as a whole, as an operator's tools should.
func (a *authority) write(file string, b *pem.Block) {
	a.t.Helper()
	if err := os.WriteFile(a.path(file+".new"), pem.EncodeToMemory(b), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(a.path(file+".new"), a.path(file)); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.crt and NAME.key, for a host or a client.
func (a *authority) issue(file, name string, serial int64) {
	a.t.Helper()
	key := a.newKey()
	c := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(file+".crt", &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	a.write(file+".key", &pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// trust is the configuration of a client that trusts the authority, and may show
// a certificate.
func (a *authority) trust(shows ...string) *tls.Config {
	a.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	c.RootCAs.AddCert(a.cert)
	for _, file := range shows {
		pair, err := tls.LoadX509KeyPair(a.path(file+".crt"), a.path(file+".key"))
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = append(c.Certificates, pair)
	}
	return c
}

// startTLSPod starts a pod whose certificate has serial number 10.
func startTLSPod(t *testing.T, a *authority, more ...string) *pod {
	t.Helper()
	a.issue("pod", "pod", 10)
	s := quick().with("tls.cert_file", a.path("pod.crt"), "tls.key_file", a.path("pod.key"), "admin.tls", "on")
	return startPod(t, startRedis(t), s.with(more...))
}

// serialAt returns the serial number of the certificate that a listener shows.
func serialAt(t *testing.T, addr string, c *tls.Config) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// certs and conn have the cases.
func TestTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	p := startTLSPod(t, a)
	large := `"` + strings.Repeat("x", 100_000) + `"` // many records
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		config := a.trust()
		config.MinVersion, config.MaxVersion = version, version
		c := dial(t, p, "alice", withTLS(config))
		c.check("over TLS " + name)
		for _, data := range []string{`1`, large} {
			publish(t, p.redisClient(), p.channel, to(data, c))
			c.wantMessage("over TLS "+name, data)
		}
		c.leave()
	}
	if n := serialAt(t, p.admin, a.trust()); n != 10 {
		t.Errorf("admin.listen shows certificate %d", n)
	}
	old := &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}
	if _, err := tls.Dial("tcp", p.listen, old); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
	p.wantMetric("the one with TLS 1.1", 1, "pushpod_tls_handshakes_total", "result", "failed")

	plain, err := net.Dial("tcp", p.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(settle))
	_, _ = io.WriteString(plain, upgradeRequest("/ws?user=alice"))
	if b, err := io.ReadAll(plain); len(b) > 0 {
		t.Errorf("HTTP without TLS is answered %q, %v", b, err)
	}
	p.wantMetric("the one without TLS", 1, "pushpod_tls_handshakes_total", "result", "not_tls")
	wantLine(t, "a line in the log", p.stderr.String(), "connection closed without an answer", "TLS: the client speaks HTTP without TLS", "127.0.0.1")
	if got := p.metric("pushpod_tls_certificate_expires_seconds"); got < float64(time.Now().Unix()) || got > float64(time.Now().Add(time.Hour).Unix()) {
		t.Errorf("the certificate expires at %v", got)
	}
}

func TestACertificateIsReadAgainWhileConnectionsStay(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	p := startTLSPod(t, a)
	c := dial(t, p, "alice", withTLS(a.trust()))
	key, err := os.ReadFile(a.path("pod.key"))
	if err != nil {
		t.Fatal(err)
	}
	a.issue("pod", "pod", 11)
	for _, addr := range []string{p.listen, p.admin} {
		eventually(t, "the new certificate is shown", settle, func() (bool, any) {
			n := serialAt(t, addr, a.trust())
			return n == 11, n
		})
	}
	if err := os.WriteFile(a.path("pod.key"), key, 0o600); err != nil { // of the old one
		t.Fatal(err)
	}
	eventually(t, "a bad pair is said", settle, func() (bool, any) {
		log := p.stderr.String()
		return strings.Contains(log, "certificate not read again, the one known stays") && strings.Contains(log, "does not match"), log
	})
	if n := serialAt(t, p.listen, a.trust()); n != 11 {
		t.Errorf("with a bad pair certificate %d is shown", n)
	}
	c.check("the connection of before")
}

func TestClientsNeedACertificateWhereTheAuthorityIsGiven(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("alice", "alice", 20)
	p := startTLSPod(t, a, "tls.client_ca_file", a.path("ca.crt"))
	dial(t, p, "alice", withTLS(a.trust("alice"))).check("with a certificate")
	stranger := newAuthority(t)
	stranger.issue("alice", "alice", 20)
	other := stranger.trust("alice")
	other.RootCAs = a.trust().RootCAs
	for name, config := range map[string]*tls.Config{"none": a.trust(), "of another authority": other} {
		if c, answer, err := tryDial(t, p.listen, "alice", withTLS(config)); err == nil {
			t.Errorf("a certificate %s: %v %v", name, c, answer)
		}
	}
	p.wantMetric("those", 2, "pushpod_tls_handshakes_total", "result", "failed")
	if status, _ := p.get("/healthz"); status != 200 {
		t.Errorf("operators need none: %d", status)
	}

	// By the command and the client of the project's own.
	url := "wss://" + p.listen + "/ws"
	c := startProcess(t, "connect", nil, "connect", "bob", "--url", url, "--count", "1",
		"--ca-file", a.path("ca.crt"), "--cert-file", a.path("alice.crt"), "--key-file", a.path("alice.key"))
	eventually(t, "bob is connected", settle, func() (bool, any) {
		uuid := p.redis.CLI("HKEYS", "push:user:{bob}")
		return uuid != "", c.stderr.String()
	})
	publish(t, p.redisClient(), p.channel, `{"user":"bob","data":"over TLS"}`)
	c.wantExit("its message came", 0, settle)
	wantLine(t, "the message", c.stdout.String(), "over TLS")
	r := run(t, nil, "connect", "bob", "--url", url, "--no-reconnect")
	if r.status != 1 {
		t.Errorf("without --ca-file: exit %d", r.status)
	}
	wantLine(t, "why", r.stderr, "certificate signed by unknown authority")
	if r := run(t, nil, "connect", "bob", "--url", url, "--ca-file", a.path("alice.key")); r.status != 2 {
		t.Errorf("--ca-file without a certificate: exit %d", r.status)
	}

	own, err := pushclient.Dial(context.Background(), pushclient.Options{URL: url, User: "carol", TLS: a.trust("alice")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.Next(t.Context()); err != nil {
		t.Error(err)
	}
	own.Close(1000, "")
}

// The certificate says who the user is, whatever the client says.
func TestTheUserOfACertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("alice", "alice", 20)
	a.issue("nobody", "", 21)
	p := startTLSPod(t, a, "tls.client_ca_file", a.path("ca.crt"), "auth.mode", "header", "auth.header", "tls-client-cn")
	c := dial(t, p, "alice", withTLS(a.trust("alice")), withQuery("user", "mallory"))
	if got := p.redis.CLI("HKEYS", "push:user:{alice}"); got != c.uuid {
		t.Errorf("presence of alice: %q, want %s", got, c.uuid)
	}
	if _, answer, err := tryDial(t, p.listen, "alice", withTLS(a.trust("nobody"))); err != nil || answer.status != 401 {
		t.Errorf("a certificate without a name: %+v, %v", answer, err)
	}
}

// What crypto/tls lets no client do, and another implementation than it.
func TestTLSWithOpenSSL(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	a := newAuthority(t)
	p := startTLSPod(t, a)
	const ask = "GET /healthz HTTP/1.1\nHost: localhost\n\n"
	// talk says something to s_client each time that it has printed something.
	talk := func(version string, steps ...[2]string) *process {
		t.Helper()
		cmd := exec.Command(openssl, "s_client", "-connect", p.listen, "-CAfile", a.path("ca.crt"), "-verify_return_error", "-crlf", version)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		c := startCommand(t, "openssl", nil, cmd)
		for _, step := range steps {
			eventually(t, "openssl prints "+step[0], settle, func() (bool, any) {
				all := c.stdout.String() + c.stderr.String()
				return strings.Contains(all, step[0]), all
			})
			_, _ = io.WriteString(in, step[1]) // it may have ended
		}
		return c
	}
	const established, ok = "Verify return code: 0", "HTTP/1.1 200"
	talk("-tls1_3", [2]string{established, ask}, [2]string{ok})
	talk("-tls1_2", [2]string{established, ask}, [2]string{ok})
	talk("-tls1_3", [2]string{established, "K\n"}, [2]string{"KEYUPDATE", ask}, [2]string{ok}) // new keys of both sides
	c := talk("-tls1_2", [2]string{established, "R\n"}, [2]string{"RENEGOTIATING", ask})
	select {
	case <-c.ended:
	case <-time.After(settle):
		t.Error("a renegotiation does not end the connection")
	}
	if all := c.stdout.String(); strings.Contains(all, ok) {
		t.Errorf("after a renegotiation:\n%s", all)
	}
	if curl, err := exec.LookPath("curl"); err == nil {
		out, err := exec.Command(curl, "--silent", "--show-error", "--cacert", a.path("ca.crt"), "--max-time", "20", "--include", "https://"+p.listen+"/ws?user=alice").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "HTTP/1.1 426") {
			t.Errorf("curl: %v\n%s", err, out)
		}
	}
}
