package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// A received is one message or control frame, in the order of arrival.
type received struct {
	at     time.Time
	opcode ws.OpCode
	text   string // of a text message; payload of a ping or pong
	code   int    // of a close frame; 1005 where it has none
	reason string
	err    error // the end of the connection; the last entry
}

func (f received) String() string {
	switch {
	case f.err != nil:
		return fmt.Sprintf("the end (%v)", f.err)
	case f.opcode == ws.OpClose:
		return fmt.Sprintf("close %d %q", f.code, f.reason)
	case f.opcode == ws.OpText:
		return short(f.text)
	default:
		return fmt.Sprintf("opcode %d %q", f.opcode, f.text)
	}
}

func short(s string) string {
	if len(s) > 300 {
		return fmt.Sprintf("%s… (%d bytes)", s[:300], len(s))
	}
	return s
}

// A serverFrame is what a text message of the server's holds.
type serverFrame struct {
	Type       string          `json:"type"`
	UUID       string          `json:"uuid"`
	User       string          `json:"user"`
	Ping       int             `json:"ping"`
	MaxMessage int             `json:"max_message"`
	Time       int64           `json:"time"`
	ID         *string         `json:"id"`
	Data       json.RawMessage `json:"data"`
	Status     string          `json:"status"`
	Error      string          `json:"error"`
	Reason     string          `json:"reason"`
}

// A client is one end user's raw connection. It answers pings, and close
// frames by closing, unless told otherwise; all else it records. Methods are
// for the test's goroutine.
type client struct {
	t       testing.TB
	name    string
	conn    net.Conn
	br      *bufio.Reader
	mute    bool // answers neither pings nor close frames
	welcome serverFrame
	hello   string // the welcome as it came
	uuid    string
	user    string

	done chan struct{} // closed once the reader has ended

	mu   sync.Mutex // protects what follows
	news chan struct{}
	got  []received
	next int // first of got that no want… has consumed
}

// A dialOption changes how dial connects.
type dialOption func(*dialing)

type dialing struct {
	query   url.Values
	lines   []string // further fields of the handshake
	from    string   // source address
	receive int      // SO_RCVBUF
	mute    bool
	paused  bool
	tls     *tls.Config
}

func mute() dialOption                 { return func(d *dialing) { d.mute = true } }
func withTLS(c *tls.Config) dialOption { return func(d *dialing) { d.tls = c } }
func withQuery(k, v string) dialOption { return func(d *dialing) { d.query.Set(k, v) } }

// sleeper makes a client that does not read after its welcome, with a small
// receive buffer, until it is woken by read.
func sleeper() dialOption {
	return func(d *dialing) { d.paused, d.receive = true, 4096 }
}

// dial connects user to the pod and consumes the welcome.
func dial(t testing.TB, p *pod, user string, options ...dialOption) *client {
	t.Helper()
	return dialAddr(t, p.listen, user, options...)
}

func dialAddr(t testing.TB, addr, user string, options ...dialOption) *client {
	t.Helper()
	c, answer, err := tryDial(t, addr, user, options...)
	if err != nil {
		t.Fatalf("connect %q to %s: %v", user, addr, err)
	}
	if answer != nil {
		t.Fatalf("connect %q to %s: %d %s", user, addr, answer.status, answer.body)
	}
	return c
}

// tryDial is dialAddr where a refusal is expected: the client is nil and the
// answer says why. An error means that there was no HTTP answer.
func tryDial(t testing.TB, addr, user string, options ...dialOption) (*client, *answer, error) {
	t.Helper()
	d := &dialing{query: url.Values{"user": {user}}}
	for _, o := range options {
		o(d)
	}
	conn, err := d.connect(addr)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(settle))
	request := upgradeRequest("/ws?"+d.query.Encode(), d.lines...)
	if _, err := conn.Write([]byte(request)); err != nil {
		return nil, nil, fmt.Errorf("send the handshake: %w", err)
	}
	br := bufio.NewReaderSize(conn, 4096)
	response, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("read the handshake's answer: %w", err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		a := readAnswer(response, br)
		_ = conn.Close()
		return nil, &a, nil
	}
	if got := response.Header.Get("Sec-Websocket-Accept"); got != acceptOf(handshakeKey) {
		return nil, nil, fmt.Errorf("Sec-WebSocket-Accept %q, want %q", got, acceptOf(handshakeKey))
	}
	c := &client{
		t: t, name: user + "@" + addr, conn: conn, br: br, mute: d.mute,
		news: make(chan struct{}, 1), done: make(chan struct{}),
	}
	h, payload, err := readFrame(br)
	if err != nil {
		return nil, nil, fmt.Errorf("read the welcome: %w", err)
	}
	if err := json.Unmarshal(payload, &c.welcome); err != nil || h.OpCode != ws.OpText || c.welcome.Type != "welcome" {
		return nil, nil, fmt.Errorf("the first frame is %+v %q, want the welcome", h, payload)
	}
	if c.welcome.User != user || c.welcome.UUID == "" {
		return nil, nil, fmt.Errorf("welcome of user %q, uuid %q, want user %q: %s", c.welcome.User, c.welcome.UUID, user, payload)
	}
	c.uuid, c.user, c.hello = c.welcome.UUID, user, string(payload)
	_ = conn.SetDeadline(time.Time{})
	if !d.paused {
		c.read()
	}
	return c, nil, nil
}

func (d *dialing) connect(addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	if d.from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(d.from)}
	}
	if d.receive > 0 {
		// Before the connection is made, since the window is agreed upon there.
		dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var inner error
			err := raw.Control(func(fd uintptr) {
				inner = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, d.receive)
			})
			return errors.Join(err, inner)
		}
	}
	if d.tls != nil {
		return tls.DialWithDialer(&dialer, "tcp", addr, d.tls)
	}
	return dialer.Dial("tcp", addr)
}

// read starts the reader of a client. It ends with the connection, which the
// test's end closes.
func (c *client) read() {
	go c.readAll()
	c.t.Cleanup(func() {
		_ = c.conn.Close()
		<-c.done
	})
}

func (c *client) readAll() {
	defer close(c.done)
	var message []byte
	for {
		h, payload, err := readFrame(c.br)
		f := received{at: time.Now(), opcode: h.OpCode, text: string(payload), err: err}
		if err != nil {
			c.record(f)
			return
		}
		switch f.opcode {
		case ws.OpText, ws.OpContinuation:
			message = append(message, payload...)
			if !h.Fin {
				continue
			}
			f.opcode, f.text = ws.OpText, string(message)
			message = nil
			if !utf8.ValidString(f.text) {
				f.err = fmt.Errorf("server's text is not UTF-8: %q", f.text)
			}
		case ws.OpClose:
			f.code, f.reason = parseClose(payload)
			if !c.mute {
				_ = c.trySend(frame(ws.OpClose, true, string(payload)))
			}
		case ws.OpPing:
			if !c.mute {
				_ = c.trySend(frame(ws.OpPong, true, string(payload)))
			}
		}
		c.record(f)
	}
}

func parseClose(payload []byte) (code int, reason string) {
	if len(payload) < 2 {
		return 1005, "" // RFC 6455 section 7.1.5
	}
	return int(binary.BigEndian.Uint16(payload)), string(payload[2:])
}

func (c *client) record(f received) {
	c.mu.Lock()
	c.got = append(c.got, f)
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// take returns the next entry that skip does not skip.
func (c *client) take(within time.Duration, skip func(received) bool) (received, bool) {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		for c.next < len(c.got) {
			f := c.got[c.next]
			if f.err == nil {
				c.next++ // the end stays, for whoever asks next
			}
			if !skip(f) {
				c.mu.Unlock()
				return f, true
			}
		}
		c.mu.Unlock()
		select {
		case <-c.news:
		case <-deadline.C:
			return received{}, false
		}
	}
}

// pings are answered by the reader and of no interest to most tests.
func pings(f received) bool { return f.err == nil && f.opcode == ws.OpPing }

func nothing(received) bool { return false }

// wantText consumes the next message.
func (c *client) wantText(why string) received {
	c.t.Helper()
	f, ok := c.take(settle, pings)
	if !ok {
		c.t.Fatalf("%s: %s got nothing", why, c.name)
	}
	if f.err != nil || f.opcode != ws.OpText {
		c.t.Fatalf("%s: %s got %v, want a message", why, c.name, f)
	}
	return f
}

// wantFrame consumes the next message, of that type.
func (c *client) wantFrame(why, kind string) serverFrame {
	c.t.Helper()
	f := c.wantText(why)
	var s serverFrame
	if err := json.Unmarshal([]byte(f.text), &s); err != nil {
		c.t.Fatalf("%s: %s got %v: %v", why, c.name, f, err)
	}
	if s.Type != kind {
		c.t.Fatalf("%s: %s got %v, want type %q", why, c.name, f, kind)
	}
	return s
}

// wantMessage consumes the next message, a push whose data is exactly that.
func (c *client) wantMessage(why, data string) serverFrame {
	c.t.Helper()
	s := c.wantFrame(why, "message")
	if string(s.Data) != data {
		c.t.Fatalf("%s: %s got data %s, want %s", why, c.name, short(string(s.Data)), short(data))
	}
	return s
}

// wantReceipt consumes the next message, a receipt.
func (c *client) wantReceipt(why, id, status, fault string) serverFrame {
	c.t.Helper()
	s := c.wantFrame(why, "receipt")
	if s.ID == nil || *s.ID != id || s.Status != status || s.Error != fault {
		c.t.Fatalf("%s: %s got receipt %+v (id %v), want id %q, %s %s", why, c.name, s, deref(s.ID), id, status, fault)
	}
	return s
}

func deref(s *string) string {
	if s == nil {
		return "<none>"
	}
	return *s
}

// wantNothing checks that nothing but pings arrives.
func (c *client) wantNothing(why string, during time.Duration) {
	c.t.Helper()
	if f, ok := c.take(during, pings); ok {
		c.t.Fatalf("%s: %s got %v, want nothing", why, c.name, f)
	}
}

// wantPong consumes the next entry, a pong with that payload.
func (c *client) wantPong(why, payload string) {
	c.t.Helper()
	f, ok := c.take(settle, pings)
	if !ok || f.err != nil || f.opcode != ws.OpPong || f.text != payload {
		c.t.Fatalf("%s: %s got %v (%v), want pong %q", why, c.name, f, ok, payload)
	}
}

// wantClose consumes the next entry, a close frame with that code.
func (c *client) wantClose(why string, code int) received {
	c.t.Helper()
	f, ok := c.take(settle, pings)
	if !ok || f.err != nil || f.opcode != ws.OpClose {
		c.t.Fatalf("%s: %s got %v (%v), want close %d", why, c.name, f, ok, code)
	}
	if f.code != code {
		c.t.Fatalf("%s: %s got %v, want code %d", why, c.name, f, code)
	}
	return f
}

// wantEnd waits for the end of TCP, with nothing before it.
func (c *client) wantEnd(why string, within time.Duration) received {
	c.t.Helper()
	f, ok := c.take(within, pings)
	if !ok || f.err == nil {
		c.t.Fatalf("%s: %s got %v (%v) within %v, want the end", why, c.name, f, ok, within)
	}
	return f
}

// wantClosed waits for a close frame with that code after any number of
// messages, then for the end, and returns both and the messages.
func (c *client) wantClosed(why string, code int, within time.Duration) (messages []received, closed received) {
	c.t.Helper()
	deadline := time.Now().Add(within)
	for {
		f, ok := c.take(time.Until(deadline), pings)
		switch {
		case !ok:
			c.t.Fatalf("%s: %s got no close frame within %v, but %d messages", why, c.name, within, len(messages))
		case f.err != nil || f.opcode == ws.OpClose && f.code != code:
			c.t.Fatalf("%s: %s got %v after %d messages, want close %d", why, c.name, f, len(messages), code)
		case f.opcode == ws.OpClose:
			c.wantEnd(why+": TCP ends after the close frame", 5*time.Second+slack)
			return messages, f
		case f.opcode == ws.OpText:
			messages = append(messages, f)
		}
	}
}

// send writes bytes as they are.
func (c *client) send(b []byte) {
	c.t.Helper()
	if err := c.trySend(b); err != nil {
		c.t.Fatalf("%s: send: %v", c.name, err)
	}
}

// trySend is send where the server may have closed already. It may be called
// by several goroutines.
func (c *client) trySend(b []byte) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(settle))
	_, err := c.conn.Write(b)
	return err
}

// say sends one text message.
func (c *client) say(format string, args ...any) {
	c.t.Helper()
	s := format
	if len(args) > 0 {
		s = fmt.Sprintf(format, args...)
	}
	c.send(text(s))
}

// request sends a request and waits for its receipt.
func (c *client) request(why, id, data string) {
	c.t.Helper()
	c.say(`{"type":"request","id":%s,"data":%s}`, quote(id), data)
	c.wantReceipt(why, id, "accepted", "")
}

// check sees that the connection lives, by an app ping and its receipt.
func (c *client) check(why string) {
	c.t.Helper()
	id := fmt.Sprintf("check-%d", time.Now().UnixNano())
	c.say(`{"type":"ping","id":%q}`, id)
	c.wantReceipt(why, id, "accepted", "")
}

// leave closes the connection in the proper way and waits for the end.
func (c *client) leave() {
	c.t.Helper()
	c.send(closing(1000, ""))
	c.wantClosed("leaving", 1000, settle)
}

// vanish closes the socket without a word.
func (c *client) vanish() { _ = c.conn.Close() }

// ended reports whether err is an end of TCP, by close or by reset.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// quote writes a JSON string.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// retryMillis reads the reason of close codes 1001 and 1013.
func retryMillis(t testing.TB, reason string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscanf(reason, "retry_ms=%d", &n); err != nil || reason != fmt.Sprintf("retry_ms=%d", n) {
		t.Fatalf("close reason %q, want retry_ms=N", reason)
	}
	return n
}

// reset ends a connection by RST, not FIN.
func reset(t testing.TB, conn net.Conn) {
	t.Helper()
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
