package conn

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// handshakeInput gathers the request's header, whose end may come with frames
// behind it in the same packet.
func (c *Conn) handshakeInput(b []byte) {
	in := c.in
	from := 0
	if in != nil { // the header comes in pieces
		from = max(0, len(in.buf)-3)
		in.buf = append(in.buf, b...)
		b = in.buf
	}
	end := bytes.Index(b[from:], []byte("\r\n\r\n"))
	limit := c.loop.srv.opts.MaxHeader
	if end < 0 && len(b) <= limit {
		if f := hopeless(b); f != nil {
			c.cause = CauseRefused
			c.refuse(f)
		} else if in == nil {
			c.half().buf = bytes.Clone(b)
		}
		return
	}
	if end < 0 || from+end+4 > limit {
		c.cause = CauseRefused
		c.refuse(&Refusal{Status: http.StatusRequestHeaderFieldsTooLarge, Error: "too_large", Reason: "the request's header is over " + strconv.Itoa(limit) + " bytes"})
		return
	}
	end += from
	// The request is read where it lies: nothing of it is kept but what c.in is given.
	r, refusal := c.loop.requests.read(unsafe.String(unsafe.SliceData(b), end))
	r.Remote = c.Remote()
	// What came behind the header waits until the connection is open.
	c.dropHalf()
	c.half()
	if early := b[end+4:]; len(early) > 0 {
		c.in.buf = bytes.Clone(early)
	}
	c.decide(r, refusal)
}

// hopeless refuses at once what can't become a request: bytes that no request
// line begins with.
func hopeless(b []byte) *Refusal {
	for _, ch := range b[:min(len(b), 8)] {
		if ch == ' ' {
			return nil
		}
		if !isToken(string(rune(ch))) {
			return badRequest("malformed request line")
		}
	}
	return nil
}

func (c *Conn) decide(r *Request, refusal *Refusal) {
	h := c.loop.srv.opts.Handler
	if r.AllowOrigin = r.Origin != "" && h.AllowOrigin(r.Origin, r.Host); r.AllowOrigin {
		c.in.asked.origin = strings.Clone(r.Origin)
	}
	var each uint16
	var app bool
	if refusal == nil {
		each, app, refusal = c.loop.srv.pingOf(r)
	}
	switch {
	case refusal != nil:
	case !r.upgrade:
		if refusal = h.Check(r); refusal == nil {
			refusal = &Refusal{Status: http.StatusUpgradeRequired, Error: "upgrade_required", Reason: "all is well: connect with a WebSocket"}
		}
	default:
		refusal = c.upgrade(r, each, app)
	}
	if refusal != nil {
		c.cause = CauseRefused
		c.refuse(refusal)
	}
}

// upgrade asks the handler.
func (c *Conn) upgrade(r *Request, each uint16, app bool) *Refusal {
	copy(c.in.asked.key[:], r.key)
	c.in.asked.protocol = r.protocol
	c.pingEach = each
	if app {
		c.set(flagAppPing)
	}
	c.seen = c.loop.log.end
	c.state = stateRegistering
	c.set(flagIdentified)
	if refusal := c.loop.srv.opts.Handler.Handshake(c, r); refusal != nil {
		c.clear(flagIdentified)
		return refusal
	}
	c.endAt = 0
	c.schedule()
	return nil
}

// pingOf reads ?ping=app or ?ping=app,SECONDS.
func (s *Server) pingOf(r *Request) (each uint16, app bool, _ *Refusal) {
	each = uint16(max(1, (s.opts.Ping.Milliseconds()+999)/1000))
	v, asked := r.Query.Get("ping")
	if !asked {
		return each, false, nil
	}
	kind, seconds, given := strings.Cut(v, ",")
	n, err := strconv.Atoi(seconds)
	switch {
	case kind != "app", given && (err != nil || n < 15 || n > 300 || strconv.Itoa(n) != seconds):
		return 0, false, badRequest("ping must be app, or app and 15 to 300 seconds (app,30)")
	case given:
		each = uint16(n)
	}
	return each, true, nil
}

// asked is what the answer to a request needs of it.
type asked struct {
	key      [24]byte // Sec-WebSocket-Key, which has been checked
	protocol bool     // the subprotocol was offered
	origin   string   // whose pages may read a refusal; "": nobody's
}

// appendAnswer appends the answer to a request that has been checked (RFC 6455,
// section 4.2.2).
func appendAnswer(b []byte, a *asked) []byte {
	var proof [len(asked{}.key) + len(handshakeGUID)]byte
	copy(proof[copy(proof[:], a.key[:]):], handshakeGUID)
	sum := sha1.Sum(proof[:])
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	if a.protocol {
		b = append(b, "\r\nSec-WebSocket-Protocol: "+Subprotocol...)
	}
	return append(b, "\r\n\r\n"...)
}

// handshakeGUID stands behind the client's key in what the answer proves (RFC 6455,
// section 1.3).
const handshakeGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// early keeps what comes before the connection is open: a client that does not
// wait for the answer. What waits is bounded as what waits for it is.
func (c *Conn) early(b []byte) {
	if len(c.in.buf)+len(b) > c.loop.srv.opts.QueueBytes {
		c.cause = CauseRefused
		c.refuse(badRequest("too much was sent before the handshake's answer"))
		return
	}
	c.in.buf = append(c.in.buf, b...)
}

// opened makes a pending connection open.
func (c *Conn) opened() {
	c.loop.pending--
	c.loop.open++
	c.state = stateOpen
	c.startClocks()
}

// Welcome is a connection that is to be accepted, and its first message, a text.
type Welcome struct {
	Conn *Conn
	Text []byte
}

// AcceptAll is [Conn.Accept] for several connections, which costs less for each.
func (s *Server) AcceptAll(all []Welcome) {
	for some := range slices.Chunk(all, sendsAtOnce) {
		for _, l := range s.loops {
			l.acceptAll(some)
		}
	}
}

func (l *Loop) acceptAll(all []Welcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lift := l.many(len(all))
	for _, w := range all {
		if w.Conn.loop == l && w.Conn.state == stateRegistering {
			w.Conn.accept(w.Text, lift)
		}
	}
	l.complete()
	l.answers = l.answers[:0]
}

// accept sends the answer with the welcome, in one write, and then what waits. With
// lift, complete must follow, before the loop is unlocked.
func (c *Conn) accept(welcome []byte, lift bool) {
	l := c.loop
	early := c.in.buf
	from := len(l.answers)
	l.answers = appendFrame(appendAnswer(l.answers, &c.in.asked), opText, welcome)
	answer := l.answers[from:]
	c.dropHalf()
	l.handshakes[http.StatusSwitchingProtocols]++
	c.opened()
	switch {
	case c.out != nil:
		c.pushFront(&Message{frame: bytes.Clone(answer), control: true})
		c.flush()
	case lift && len(early) == 0:
		c.liftControl(answer)
	default:
		c.sendControl(answer)
	}
	if c.state == stateOpen && c.has(flagCloseNext) {
		c.clear(flagCloseNext)
		c.closing(CauseServer)
		c.flushed()
	}
	if len(early) > 0 && (c.state == stateOpen || c.state == stateClosing) {
		c.frames(early)
	}
}
