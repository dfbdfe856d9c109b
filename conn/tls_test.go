package conn

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pushpod/internal/certtest"
)

// The certificates of the tests.
var (
	testAuthority = certtest.NewAuthority("test authority")
	testServerTLS = &tls.Config{Certificates: []tls.Certificate{testAuthority.Issue("localhost", net.IPv4(127, 0, 0, 1))}}
	trusting      = &tls.Config{ServerName: "localhost", RootCAs: testAuthority.Pool()}

	testTLS   = always(testServerTLS)
	testTLS12 = always(testServerTLS12)

	testServerTLS12 = &tls.Config{Certificates: testServerTLS.Certificates, MaxVersion: tls.VersionTLS12}
)

// rsaConfig has a key that most authorities' certificates had until lately.
var rsaConfig = sync.OnceValue(func() *tls.Config {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{testAuthority.IssueFor(key, "localhost")}}
})

// always is a configuration that never changes.
func always(c *tls.Config) func() *tls.Config { return func() *tls.Config { return c } }

// wantRefused holds what the admitter was told of refusals: the address, and the beginning
// of the reason.
func (s *testServer) wantRefused(t *testing.T, holds ...string) {
	t.Helper()
	var told []string
	eventually(t, "refusals are told", func() bool {
		s.hub.mu.Lock()
		defer s.hub.mu.Unlock()
		told = slices.Clone(s.hub.reasons)
		return len(told) >= len(holds)
	})
	if len(told) != len(holds) {
		t.Fatalf("refused %q, want %q", told, holds)
	}
	for i, text := range holds {
		if !strings.Contains(told[i], text) {
			t.Errorf("refused %q, want %q", told[i], text)
		}
	}
}

func TestTheAdmitterSeesTheClientsCertificate(t *testing.T) {
	config := testServerTLS.Clone()
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, testAuthority.Pool()
	for _, portable := range []bool{false, true} {
		peers := make(chan *x509.Certificate, 1)
		s := startServer(t, Options{TLS: always(config), Portable: portable}, func(_ *Options, h *fakeHub) {
			h.check = func(r *Request) *Refusal { peers <- r.Peer; return nil }
		})
		c := s.dial(t)
		own := trusting.Clone()
		own.Certificates = []tls.Certificate{testAuthority.Issue("alice")}
		c.speak(own)
		c.send([]byte(request("?user=alice")))
		c.wantUpgrade()
		if p := <-peers; p == nil || p.Subject.CommonName != "alice" || p.DNSNames[0] != "alice" {
			t.Errorf("the peer is %+v", p)
		}

		without := s.dial(t) // in TLS 1.3 it learns that when it reads
		_, _ = without.conn.Write([]byte(request("?user=bob")))
		if _, err := without.conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("without a certificate: %v", err)
		}
		s.wantRefused(t, "127.0.0.1 TLS: tls: client didn't provide a certificate")
		if n := s.Stats().TLSHandshakes; n != (TLSHandshakes{OK: 1, Failed: 1}) {
			t.Errorf("counted %+v", n)
		}
		without.sock.Close()
		eventually(t, "the refused one has gone", func() bool { return s.Len() == 1 })
	}
}

func TestWithoutTLSThereIsNoPeer(t *testing.T) {
	s := startServer(t, Options{}, func(_ *Options, h *fakeHub) {
		h.check = func(r *Request) *Refusal {
			if r.Peer != nil {
				t.Error("there is one")
			}
			return nil
		}
	})
	s.connect(t, "alice").closeNow()
}

func TestWhatIsNoTLSIsClosedAndTold(t *testing.T) {
	s := startServer(t, Options{TLS: always(testServerTLS)})
	c := s.dial(t)
	if _, err := c.sock.Write([]byte(request("?user=u"))); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c.sock); len(b) > 0 || err != nil {
		t.Errorf("the client reads %q, %v", b, err)
	}
	c.sock.Close()
	eventually(t, "it has gone", func() bool { return s.Len() == 0 })
	s.wantRefused(t, "127.0.0.1 TLS: the client speaks HTTP without TLS")
	if st := s.Stats(); st.TLSHandshakes != (TLSHandshakes{NotTLS: 1}) || len(st.Handshakes) > 0 || st.Ended[CauseRefused] != 1 {
		t.Errorf("counted %+v, %v, %v", st.TLSHandshakes, st.Handshakes, st.Ended)
	}
}

// The header comes before TLS, whole or in pieces, alone or with what follows.
func TestBehindAProxyTLSComesAfterItsHeader(t *testing.T) {
	for name, split := range map[string]func(b []byte) [][]byte{
		"alone":       func(b []byte) [][]byte { return [][]byte{b[:len(proxyV1)], b[len(proxyV1):]} },
		"in pieces":   func(b []byte) [][]byte { return [][]byte{b[:10], b[10:len(proxyV1)], b[len(proxyV1):]} },
		"with more":   func(b []byte) [][]byte { return [][]byte{b[:len(proxyV1)+100], b[len(proxyV1)+100:]} },
		"all at once": func(b []byte) [][]byte { return [][]byte{b} },
	} {
		overTLS(t, name, func(t *testing.T, o Options) {
			s := startServer(t, o, proxied("127.0.0.0/8"), func(_ *Options, h *fakeHub) {
				h.check = func(r *Request) *Refusal {
					if r.From.String() != "203.0.113.7" {
						t.Errorf("it comes from %v", r.From)
					}
					return nil
				}
			})
			c := s.dial(t)
			first := &firstWrite{Conn: c.sock, before: []byte(proxyV1), split: split}
			c.conn = tls.Client(first, trusting)
			c.br = bufio.NewReader(c.conn)
			c.send([]byte(request("?user=alice")))
			c.wantUpgrade()
			c.wantText("welcome", welcome)
			c.closeNow()
		})
	}
}

// firstWrite puts something before the first write, which it makes in pieces.
type firstWrite struct {
	net.Conn
	before []byte
	split  func([]byte) [][]byte
}

func (f *firstWrite) Write(b []byte) (int, error) {
	if f.before == nil {
		return f.Conn.Write(b)
	}
	pieces := f.split(append(f.before, b...))
	f.before = nil
	for _, p := range pieces {
		if _, err := f.Conn.Write(p); err != nil {
			return 0, err
		}
		time.Sleep(20 * time.Millisecond) // so that they come one by one, most of the time
	}
	return len(b), nil
}

// overTLS runs a test over the networks that there are beneath TLS.
func overTLS(t *testing.T, name string, f func(t *testing.T, o Options)) {
	t.Helper()
	for network, portable := range map[string]bool{"system": false, "portable": true} {
		t.Run(name+"/"+network, func(t *testing.T) { f(t, Options{TLS: testTLS, Portable: portable}) })
	}
}

func TestWhatIsNoTLSIsClosedBehindAProxyToo(t *testing.T) {
	s := startServer(t, Options{TLS: testTLS}, proxied("127.0.0.0/8"))
	c := s.dial(t)
	if _, err := c.sock.Write([]byte(proxyV1 + request("?user=u"))); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c.sock); len(b) > 0 || err != nil {
		t.Errorf("the client reads %q, %v", b, err)
	}
	s.wantRefused(t, "203.0.113.7 TLS: the client speaks HTTP")
}

// Both count from accept: TLS takes its time off what the request has.
func TestAHandshakeOfTLSThatStallsIsEndedInTime(t *testing.T) {
	s := startServer(t, Options{TLS: always(testServerTLS)}, func(o *Options, _ *fakeHub) { o.HandshakeTimeout = 300 * time.Millisecond })
	silent, stalls, slow := s.dial(t), s.dial(t), s.dial(t)
	if _, err := stalls.sock.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc")); err != nil { // a record of 512 bytes
		t.Fatal(err)
	}
	if err := slow.conn.(*tls.Conn).Handshake(); err != nil {
		t.Fatal(err)
	}
	slow.wantEOF("slow")
	for name, c := range map[string]*client{"silent": silent, "stalls": stalls} {
		if b, err := io.ReadAll(c.sock); len(b) > 0 || err != nil {
			t.Errorf("%s: the client reads %q, %v", name, b, err)
		}
	}
	eventually(t, "they have gone", func() bool { return s.Len() == 0 })
	s.wantRefused(t)
	if st := s.Stats(); st.TLSHandshakes != (TLSHandshakes{OK: 1, Closed: 1}) || st.Ended[CauseTimeout] != 3 {
		t.Errorf("counted %+v, %v", st.TLSHandshakes, st.Ended)
	}
}

func TestOneTooManyIsRefusedOverTLS(t *testing.T) {
	s := startServer(t, Options{TLS: testTLS}, func(o *Options, _ *fakeHub) { o.MaxConns = 1 })
	s.connect(t, "alice")
	c := s.dial(t)
	c.send([]byte(request("?user=bob")))
	c.wantRefusal(503)
}

// Those that are connected are served meanwhile, and all get in.
func TestManyHandshakesOfTLSAtOnce(t *testing.T) {
	const crowd = 300
	for _, portable := range []bool{false, true} {
		s := startServer(t, Options{TLS: testTLS, Portable: portable}, echoing, func(o *Options, _ *fakeHub) { o.HandshakeTimeout = time.Minute })
		before := s.connect(t, "before")
		var coming sync.WaitGroup
		for i := range crowd {
			c := s.dial(t)
			coming.Go(func() {
				_, err := c.conn.Write([]byte(request(fmt.Sprint("?user=u", i))))
				if status, _ := c.head(); err != nil || status != 101 {
					t.Errorf("u%d: status %d, %v", i, status, err)
				}
			})
		}
		for i := range 20 {
			before.send(text(fmt.Sprint(i)))
			before.wantText("while they come", fmt.Sprint(i))
		}
		coming.Wait()
		if n := s.Stats().TLSHandshakes.OK; n != crowd+1 {
			t.Errorf("%d handshakes are complete", n)
		}
	}
}

// The configuration is asked for with each connection.
func TestANewCertificateIsForNewConnections(t *testing.T) {
	var config atomic.Pointer[tls.Config]
	config.Store(testServerTLS)
	s := startServer(t, Options{TLS: config.Load}, echoing)
	old := s.connect(t, "old")
	config.Store(&tls.Config{Certificates: []tls.Certificate{testAuthority.Issue("localhost")}})
	other := s.connect(t, "new")
	serial := func(c *client) string {
		return c.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	if serial(old) == serial(other) {
		t.Error("the old certificate is shown")
	}
	old.send(text("still here"))
	old.wantText("the old connection", "still here")
}
