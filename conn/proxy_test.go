package conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxied has a server behind proxies, of which the fake network's peer is one, or not.
func proxied(trusted string) func(*Options, *fakeHub) {
	return func(o *Options, _ *fakeHub) {
		o.ProxyProtocol = true
		o.TrustProxy = netip.MustParsePrefix(trusted).Contains
	}
}

const (
	peers   = "192.0.2.0/24" // those of a fakeServer
	proxyV1 = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n"
)

func proxyV2(t testing.TB, source string) string {
	t.Helper()
	from, to := netip.MustParseAddr(source), "192.0.2.1"
	if from.Is6() {
		to = "2001:db8::1"
	}
	h := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: from.AsSlice(), Port: 4711}, &net.TCPAddr{IP: net.ParseIP(to), Port: 80})
	if err := h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("example.com")}, {Type: 0xee, Value: make([]byte, 300)}}); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

func TestAProxySaysWhoseTheConnectionIs(t *testing.T) {
	for why, c := range map[string]struct{ head, from string }{
		"version 1":                 {proxyV1, "203.0.113.7"},
		"version 1, IPv6":           {"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "2001:db8::7"},
		"version 1, IPv4 as IPv6":   {"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", "203.0.113.7"},
		"version 1, unknown":        {"PROXY UNKNOWN\r\n", "192.0.2.1"},
		"version 1, unknown others": {"PROXY UNKNOWN ::1 ::2 3 4\r\n", "192.0.2.1"},
		"version 2":                 {proxyV2(t, "203.0.113.7"), "203.0.113.7"},
		"version 2, IPv6":           {proxyV2(t, "2001:db8::7"), "2001:db8::7"},
		"version 2, local":          {local, "192.0.2.1"},
		"version 2, local, with an address": {
			strings.Replace(proxyV2(t, "203.0.113.7"), "\n\x21", "\n\x20", 1), "192.0.2.1"},
		"version 2, unspecified":      {"\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x03abc", "192.0.2.1"},
		"version 2, a socket's path":  {"\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("x", 216), "192.0.2.1"},
		"version 2, as long as it is": {"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x10\x00" + strings.Repeat("x", 4096), "192.0.2.1"},
	} {
		t.Run(why, func(t *testing.T) {
			s := newFakeServer(t, Options{}, proxied(peers))
			var from, remote netip.Addr
			s.hub.check = func(r *Request) *Refusal { from, remote = r.From, r.Remote; return nil }
			all := c.head + request("?user=u")
			x := s.connect(all)
			if !strings.HasPrefix(string(x.got), "HTTP/1.1 101 ") || from.String() != c.from || remote != from {
				t.Fatalf("answered %q; from %v, at %v", x.got, from, remote)
			}
			// However it is split, it is the same.
			for at := range len(c.head) + 2 {
				x := s.connect(all[:at])
				x.arrive(all[at:])
				if !strings.HasPrefix(string(x.got), "HTTP/1.1 101 ") || from.String() != c.from {
					t.Fatalf("split at %d: answered %q; from %v", at, x.got, from)
				}
			}
			x = s.connect("")
			for i := range len(c.head) {
				x.arrive(all[i : i+1])
			}
			if x.arrive(all[len(c.head):]); !strings.HasPrefix(string(x.got), "HTTP/1.1 101 ") || from.String() != c.from {
				t.Fatalf("byte by byte: answered %q; from %v", x.got, from)
			}
		})
	}
}

func TestWithoutItsHeaderAConnectionIsClosedAtOnce(t *testing.T) {
	const sig = "\r\n\r\n\x00\r\nQUIT\n"
	for why, first := range map[string]string{
		"a request":                        request("?user=u"),
		"a balancer without one":           "GET /healthz HTTP/1.1\r\n",
		"one byte":                         "G",
		"TLS":                              "\x16",
		"version 1, another family":        "PROXY UDP4",
		"version 1, small letters":         "proxy",
		"version 1, no blank":              "PROXY\r",
		"version 1, two blanks":            "PROXY  TCP4",
		"version 1, no address":            "PROXY TCP4 203.0.113.300 192.0.2.1 1 2\r\n",
		"version 1, IPv6 in IPv4":          "PROXY TCP4 ::1 ::2 1 2\r\n",
		"version 1, no port":               "PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n",
		"version 1, more":                  "PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n",
		"version 1, a bare LF":             "PROXY UNKNOWN\n",
		"version 1, a bare CR":             "PROXY UNKNOWN\rx",
		"version 1, too long":              "PROXY UNKNOWN" + strings.Repeat(" ", 94),
		"version 1, too long with its end": "PROXY UNKNOWN" + strings.Repeat(" ", 93) + "\r\n",
		"version 2, another signature":     "\r\n\r\n\x00\r\nQUIX",
		"version 2, another version":       sig + "\x11",
		"version 2, another command":       sig + "\x22",
		"version 2, another family":        sig + "\x21\x41\x00\x00",
		"version 2, too short":             sig + "\x21\x11\x00\x0b" + strings.Repeat("x", 11),
		"version 2, too long":              sig + "\x21\x11\x10\x01",
	} {
		t.Run(why, func(t *testing.T) {
			s := newFakeServer(t, Options{}, proxied(peers))
			x := s.connect(first)
			if !x.closed || len(x.got) > 0 {
				t.Errorf("closed: %v, answered %q", x.closed, x.got)
			}
			if want := []string{"0  192.0.2.1"}; !slices.Equal(s.hub.refused, want) {
				t.Errorf("told %q, want %q", s.hub.refused, want)
			}
			if st := s.Stats(); len(st.Handshakes) != 0 || st.Ended[CauseProtocol] != 1 || st.Pending != 0 || s.Len() != 0 {
				t.Errorf("counted: %v, %v; left: %d, %d", st.Handshakes, st.Ended, st.Pending, s.Len())
			}
		})
	}
}

func TestAHeaderThatDoesNotEndIsWaitedForInVain(t *testing.T) {
	for _, c := range []struct {
		first string
		told  int
	}{{"", 0}, {"P", 1}, {"PROXY ", 1}, {proxyV1[:len(proxyV1)-1], 1}, {local[:15], 1}, {proxyV2(t, "::1")[:100], 1}, {proxyV1, 0}, {local, 0}} {
		s := newFakeServer(t, Options{}, proxied(peers))
		x := s.connect(c.first)
		if s.tick(40); x.closed {
			t.Errorf("%q: closed after 4 s", c.first)
		}
		s.tick(12)
		if st := s.Stats(); !x.closed || len(x.got) > 0 || len(s.hub.refused) != c.told || len(st.Handshakes) > 0 || st.Ended[CauseTimeout] != 1 {
			t.Errorf("%q: closed %v, answered %q, told %q, %+v", c.first, x.closed, x.got, s.hub.refused, st)
		}
	}
}

func TestOnlyTrustedProxiesMayConnect(t *testing.T) {
	for name, set := range map[string]func(*Options, *fakeHub){
		"another":   proxied("203.0.113.0/24"),
		"IPv6":      proxied("::/0"),
		"nobody is": func(o *Options, _ *fakeHub) { o.ProxyProtocol = true },
	} {
		s := newFakeServer(t, Options{}, set)
		x := s.connect(proxyV1 + request("?user=u"))
		if st := s.Stats(); !x.closed || len(x.got) > 0 || len(s.hub.refused) != 1 || len(st.Handshakes) > 0 || st.Ended[CauseRefused] != 1 || s.Len() != 0 {
			t.Errorf("%s: closed %v, answered %q, told %q, %+v", name, x.closed, x.got, s.hub.refused, st)
		}
	}
}

// What is said of a refusal names the address that the proxy told.
func TestTheProxysWordIsInTheLog(t *testing.T) {
	s := newFakeServer(t, Options{MaxConns: 1}, proxied(peers))
	s.connect(proxyV1 + "POST /ws HTTP/1.1\r\nHost: x\r\n\r\n").end()
	s.connect(proxyV1 + "\n").end()
	s.connect(proxyV1 + request("?user=u"))
	s.connect(proxyV1 + request("?user=v"))
	if got, want := fmt.Sprint(s.hub.refused), "[405  203.0.113.7 400  203.0.113.7 503  203.0.113.7]"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	if x := s.connect(local + "GET /healthz HTTP/1.0\r\n\r\n"); !strings.HasPrefix(string(x.got), "HTTP/1.1 200 ") {
		t.Errorf("a health check of the proxy's: %q", x.got)
	}
}

// The Admitter says where a client is: by X-Forwarded-For, of which conn knows nothing.
func TestTheAdmitterSaysWhereAClientIs(t *testing.T) {
	s := newFakeServer(t, Options{})
	s.hub.check = func(r *Request) *Refusal {
		r.Remote = netip.MustParseAddr("2001:db8::9")
		return &Refusal{Status: 403, Error: "forbidden", Reason: "no"}
	}
	s.connect(request("?user=u"))
	if got := fmt.Sprint(s.hub.refused); got != "[403  2001:db8::9]" {
		t.Errorf("told %s", got)
	}
}

func TestProxiesOverRealSockets(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		froms := make(chan netip.Addr, 1)
		s := startServer(t, o, proxied("127.0.0.0/8"), func(o *Options, h *fakeHub) {
			h.echo = true
			h.check = func(r *Request) *Refusal { froms <- r.From; return nil }
			o.HandshakeTimeout = 2 * time.Second
		})
		c := s.dial(t)
		asked, together := request("?user=u"), 20 // bytes that come with the end of the header
		if o.TLS != nil {
			together = 0
		}
		for _, part := range []string{proxyV1[:3], proxyV1[3:40], proxyV1[40:] + asked[:together]} {
			if _, err := c.sock.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // another packet
		}
		c.send([]byte(asked[together:]))
		c.wantUpgrade()
		c.wantText("the welcome", welcome)
		c.send(text("x"))
		c.wantText("the echo", "x")
		if from := <-froms; from.String() != "203.0.113.7" {
			t.Errorf("from %v", from)
		}
		c.closeNow()
		for _, first := range []string{"", "GET /ws HTTP/1.1\r\n", "PROXY TCP4 x\r\n", "PROXY TCP4 "} {
			c := s.dial(t)
			if _, err := c.sock.Write([]byte(first)); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(c.sock); len(b) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%q is answered %q, %v", first, b, err)
			}
		}
		eventually(t, "all have gone", func() bool { return s.Len() == 0 })
	})
}

// FuzzProxied has anything come in two pieces: a connection waits, has gone without an
// answer, or is answered as one that began with its request.
func FuzzProxied(f *testing.F) {
	for _, head := range []string{proxyV1, proxyV2(f, "203.0.113.7"), local, "PROXY UNKNOWN\r\n", "GET /ws"} {
		f.Add(head+request("?user=u"), uint16(10))
		f.Add(head, uint16(3))
	}
	f.Fuzz(func(t *testing.T, all string, cut uint16) {
		s := newFakeServer(t, Options{}, proxied(peers))
		at := min(int(cut), len(all))
		x := s.connect(all[:at])
		if !x.closed {
			x.arrive(all[at:])
		}
		switch {
		case strings.HasPrefix(string(x.got), "HTTP/1.1 "):
		case len(x.got) > 0:
			t.Fatalf("answered %q", x.got)
		case x.closed && s.Len() != 0, !x.closed && s.Len() != 1:
			t.Fatalf("closed: %v, and %d are left", x.closed, s.Len())
		}
	})
}
