package conn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/wire"
)

// TestMain fails where a test has left a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	for i := 0; code == 0 && i < 100; i++ {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		if !bytes.Contains(buf, []byte("pushpod/conn.(*")) {
			os.Exit(0)
		}
		if i == 99 {
			fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", buf)
			code = 1
		}
		time.Sleep(20 * time.Millisecond)
	}
	os.Exit(code)
}

// overAll runs a test over every network, and every way to send.
func overAll(t *testing.T, f func(t *testing.T, o Options)) {
	t.Helper()
	for name, o := range map[string]Options{
		"epoll":    {},
		"io_uring": {IOUring: true},
		"portable": {Portable: true},

		"TLS":           {TLS: testTLS},
		"TLS 1.2":       {TLS: testTLS12},
		"TLS, portable": {TLS: testTLS, Portable: true},
	} {
		if !o.Portable && !netloop.Supported {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Loops = 2
			f(t, o)
		})
	}
}

// fakeHub is an Admitter that lets everyone in.
type fakeHub struct {
	check    func(*Request) *Refusal
	hold     chan struct{} // where set, the answer comes when it is closed
	echo     bool
	owes     bool // each message is owed an answer
	lasts    time.Duration
	notReady bool
	pending  sync.WaitGroup

	mu      sync.Mutex // protects following
	owners  map[string]*fakeOwner
	refused []string
	reasons []string // of those
}

// fakeOwner is the owner of one connection, and keeps what it is told.
type fakeOwner struct {
	hub  *fakeHub
	conn *Conn

	// Guarded by hub.mu.
	received []string
	limited  int
	renewals int
	closed   bool
	why      Cause

	opened bool
	slow   []string
}

func newFakeHub() *fakeHub { return &fakeHub{owners: map[string]*fakeOwner{}} }

func (f *fakeHub) Ready() bool { return !f.notReady }

func (f *fakeHub) Refused(remote netip.Addr, origin string, r *Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = append(f.refused, fmt.Sprint(r.Status, " ", origin, " ", remote))
	f.reasons = append(f.reasons, fmt.Sprint(remote, " ", r.Reason))
}

func (f *fakeHub) Admit(c *Conn, r *Request) (Owner, *Refusal) {
	r.AllowOrigin = r.Origin == "http://good"
	switch {
	case r.Problem != nil:
		return nil, r.Problem
	case f.check != nil:
		if refusal := f.check(r); refusal != nil {
			return nil, refusal
		}
	}
	if !r.Upgrade && !r.Events {
		return nil, &Refusal{Status: 426, Error: "upgrade_required", Reason: "connect with a WebSocket"}
	}
	user, _ := r.Query.Get("user")
	o := &fakeOwner{hub: f, conn: c}
	f.mu.Lock()
	f.owners[strings.Clone(user)] = o
	f.mu.Unlock()
	f.pending.Go(func() {
		if f.hold != nil {
			<-f.hold
		}
		c.loop.srv.Answer(Answer{Conn: c, Welcome: []byte(welcome), Lasts: f.lasts})
	})
	return o, nil
}

func (o *fakeOwner) Message(text []byte, limited bool) {
	o.hub.mu.Lock()
	if limited {
		o.limited++
	} else {
		o.received = append(o.received, string(text))
	}
	o.hub.mu.Unlock()
	if o.hub.echo && !limited {
		o.conn.SendLocked(text)
	}
	if o.hub.owes && !limited {
		o.conn.OweLocked()
	}
}

func (o *fakeOwner) Opened() {
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	o.opened = true
}

func (o *fakeOwner) Slow(waiting int, p Policy) {
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	o.slow = append(o.slow, fmt.Sprint(p, " ", waiting > 0))
}

func (o *fakeOwner) Renew() {
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	o.renewals++
}

func (o *fakeOwner) Closed(why Cause) {
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	o.closed, o.why = true, why
}

// told returns what the owner of the user's newest connection has been told.
func (f *fakeHub) told(user string) fakeOwner {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.owners[user]; o != nil {
		return *o
	}
	return fakeOwner{}
}

// wantCause waits until the user's connection has ended.
func (f *fakeHub) wantCause(t *testing.T, user string, want Cause) {
	t.Helper()
	eventually(t, user+"'s owner is told of the end", func() bool { return f.told(user).closed })
	if why := f.told(user).why; why != want {
		t.Errorf("%s has ended because of %v, want %v", user, why, want)
	}
}

func (f *fakeHub) conn(t *testing.T, user string) *Conn {
	t.Helper()
	var c *Conn
	eventually(t, user+" is connected", func() bool {
		c = f.told(user).conn
		return c != nil
	})
	return c
}

// testServer is a server on a port of its own.
type testServer struct {
	*Server
	hub *fakeHub
	d   *Deliverer
}

func startServer(t *testing.T, o Options, set ...func(*Options, *fakeHub)) *testServer {
	t.Helper()
	hub := newFakeHub()
	for _, f := range set {
		f(&o, hub)
	}
	o.Admitter = hub
	s := New(o)
	if err := s.Listen(context.Background(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	ts := &testServer{Server: s, hub: hub, d: s.NewDeliverer()}
	t.Cleanup(func() {
		s.Close() // first: no handshake comes in while its goroutines are waited for
		hub.pending.Wait()
		if n := s.Len(); n != 0 {
			t.Errorf("%d connections are left after Close", n)
		}
		if st := s.Stats(); st.QueuedBytes != 0 || st.QueuedConns != 0 || st.Open != 0 || st.Pending != 0 {
			t.Errorf("left after Close: %+v", st)
		}
	})
	return ts
}

// push delivers a text; to: users, none for all.
func (s *testServer) push(t *testing.T, p Push, text string, to ...string) {
	t.Helper()
	var conns []*Conn
	for _, user := range to {
		conns = append(conns, s.hub.conn(t, user))
	}
	send(s.d, p, []byte(text), conns...)
}

// send delivers a text; to: connections, none for all.
func send(d *Deliverer, p Push, text []byte, to ...*Conn) {
	f := d.Frame(p, text)
	if len(text) == 0 && p.Close {
		f.Release()
		f = d.Frame(p)
	}
	if len(to) == 0 {
		d.All(f)
	}
	for _, c := range to {
		d.To(c, f)
	}
	f.Release()
}

// flushAll brings out all that was sent, by this goroutine.
func flushAll(d *Deliverer) {
	d.Flush()
	for d.Work() {
	}
}

// flush brings out what was pushed, by whoever does that.
func (s *testServer) flush() {
	flushAll(s.d)
	for _, l := range s.loops {
		for !l.atRest() {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

func (l *Loop) atRest() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.box.waiting.Load() == 0 && l.swept()
}

// client is the other end, byte by byte.
type client struct {
	t    *testing.T
	sock *net.TCPConn
	conn net.Conn // over sock
	br   *bufio.Reader
}

func (s *testServer) dial(t *testing.T) *client {
	t.Helper()
	sock, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	sock.SetReadDeadline(time.Now().Add(2 * time.Minute))
	c := &client{t: t, sock: sock.(*net.TCPConn), conn: sock, br: bufio.NewReader(sock)}
	if s.opts.TLS != nil {
		c.speak(trusting)
	}
	return c
}

// speak has the client speak TLS.
func (c *client) speak(config *tls.Config) {
	c.conn = tls.Client(c.sock, config)
	c.br = bufio.NewReader(c.conn)
}

const (
	key     = "dGhlIHNhbXBsZSBub25jZQ=="
	welcome = `{"type":"welcome"}`
)

func request(query string, more ...string) string {
	return "GET /ws" + query + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n" + strings.Join(more, "") + "\r\n"
}

// connect opens a connection and reads its welcome.
func (s *testServer) connect(t *testing.T, user string, more ...string) *client {
	t.Helper()
	c := s.dial(t)
	c.send([]byte(request("?user=" + user + strings.Join(more, ""))))
	c.wantUpgrade()
	c.wantText("the first frame is the welcome", welcome)
	return c
}

func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("client write: %v", err)
	}
}

func (c *client) wantUpgrade() {
	c.t.Helper()
	status, _ := c.head()
	if status != 101 {
		c.t.Fatalf("status %d, want 101", status)
	}
}

func (c *client) head() (status int, header map[string]string) {
	c.t.Helper()
	line, err := c.br.ReadString('\n')
	if err != nil {
		c.t.Fatalf("no answer to the handshake: %v", err)
	}
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &status); err != nil {
		c.t.Fatalf("malformed answer %q", line)
	}
	header = map[string]string{}
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return status, header
		}
		name, value, _ := strings.Cut(line, ": ")
		header[strings.ToLower(name)] = value
	}
}

// wantRefusal reads an HTTP refusal to the end of TCP.
func (c *client) wantRefusal(status int) map[string]string {
	c.t.Helper()
	got, header := c.head()
	if got != status {
		c.t.Fatalf("status %d, want %d", got, status)
	}
	body, err := io.ReadAll(c.br)
	if err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatalf("after the refusal: %v", err)
	}
	var answer struct{ Error, Reason string }
	if json.Unmarshal(body, &answer) != nil || answer.Error == "" || answer.Reason == "" {
		c.t.Fatalf("body %q is not the JSON of a refusal", body)
	}
	return header
}

func frame(op ws.OpCode, fin bool, payload []byte) []byte {
	f := ws.NewFrame(op, fin, append([]byte(nil), payload...))
	return ws.MustCompileFrame(ws.MaskFrame(f))
}

func text(s string) []byte { return frame(ws.OpText, true, []byte(s)) }

func (c *client) next() (ws.Frame, error) {
	h, err := ws.ReadHeader(c.br)
	if err != nil {
		return ws.Frame{}, err
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	_, err = io.ReadFull(c.br, f.Payload)
	return f, err
}

func (c *client) want(why string, op ws.OpCode) []byte {
	c.t.Helper()
	f, err := c.next()
	if err != nil {
		c.t.Fatalf("%s: %v", why, err)
	}
	if f.Header.OpCode != op || !f.Header.Fin || f.Header.Masked {
		c.t.Fatalf("%s: got frame %+v %q", why, f.Header, f.Payload)
	}
	return f.Payload
}

func (c *client) wantText(why, text string) {
	c.t.Helper()
	if got := c.want(why, ws.OpText); string(got) != text {
		c.t.Fatalf("%s: got %.200q, want %.200q", why, got, text)
	}
}

func (c *client) wantClose(why string, code Code) string {
	c.t.Helper()
	b := c.want(why, ws.OpClose)
	if code == wire.CodeNone {
		if len(b) != 0 {
			c.t.Fatalf("%s: close frame %q, want an empty one", why, b)
		}
		return ""
	}
	if len(b) < 2 || Code(b[0])<<8|Code(b[1]) != code {
		c.t.Fatalf("%s: close frame %q, want code %d", why, b, code)
	}
	return string(b[2:])
}

func (c *client) wantEOF(why string) {
	c.t.Helper()
	if f, err := c.next(); err == nil {
		c.t.Fatalf("%s: got frame %+v %.100q, want the end", why, f.Header, f.Payload)
	} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatalf("%s: %v", why, err)
	}
}

func closeFrame(code Code, reason string) []byte {
	return frame(ws.OpClose, true, append([]byte{byte(code >> 8), byte(code)}, reason...))
}

// closeNow ends the connection properly.
func (c *client) closeNow() {
	c.t.Helper()
	c.send(closeFrame(wire.CodeNormal, ""))
	c.wantClose("the close is answered", wire.CodeNormal)
	c.wantEOF("after the close")
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
