package conn

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/gobwas/ws"
)

// handshake is kept from the request to its answer.
type handshake struct {
	request  *Request
	response []byte // the 101, ready to be sent
}

// handshakeInput gathers the request's header, whose end may come with frames
// behind it in the same packet.
func (c *Conn) handshakeInput(b []byte) {
	if c.in == nil {
		c.in = &inbound{}
	}
	in := c.in
	from := max(0, len(in.buf)-3)
	in.buf = append(in.buf, b...)
	end := bytes.Index(in.buf[from:], []byte("\r\n\r\n"))
	limit := c.loop.srv.opts.MaxHeader
	if end < 0 && len(in.buf) <= limit {
		if f := hopeless(in.buf); f != nil {
			c.cause = CauseRefused
			c.refuse(f)
		}
		return
	}
	if end < 0 || from+end+4 > limit {
		c.cause = CauseRefused
		c.refuse(&Refusal{Status: http.StatusRequestHeaderFieldsTooLarge, Error: "too_large", Reason: "the request's header is over " + strconv.Itoa(limit) + " bytes"})
		return
	}
	end += from
	header := in.buf[:end]
	in.buf = in.buf[end+4:]
	r, refusal := parseRequest(header)
	r.Remote = c.Remote()
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
	c.in.hs = &handshake{request: r}
	r.AllowOrigin = r.Origin != "" && h.AllowOrigin(r.Origin, r.Host)
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

// upgrade asks the handler, and prepares the answer.
func (c *Conn) upgrade(r *Request, each uint16, app bool) *Refusal {
	response, err := respond(r)
	if err != nil {
		return badRequest(err.Error())
	}
	c.in.hs.response = response
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
	v, asked := r.Query["ping"]
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

// respond makes the answer to a request that has been checked. The library is
// given the request in its plainest form.
func respond(r *Request) ([]byte, error) {
	x := &exchange{}
	x.in = append(x.in, "GET "+Path+" HTTP/1.1\r\nHost: pod\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	x.in = append(x.in, r.key...)
	if r.protocol != "" {
		x.in = append(x.in, "\r\nSec-WebSocket-Protocol: "...)
		x.in = append(x.in, r.protocol...)
	}
	x.in = append(x.in, "\r\n\r\n"...)
	u := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == Subprotocol }}
	_, err := u.Upgrade(x)
	return x.out, err
}

// exchange is the stream that the upgrader reads and writes.
type exchange struct{ in, out []byte }

func (x *exchange) Read(p []byte) (int, error) {
	n := copy(p, x.in)
	x.in = x.in[n:]
	return n, nil
}

func (x *exchange) Write(p []byte) (int, error) {
	x.out = append(x.out, p...)
	return len(p), nil
}

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

// accept sends the answer with the welcome, in one write, and then what waits.
func (c *Conn) accept(welcome []byte) {
	l := c.loop
	hs, early := c.in.hs, c.in.buf
	c.in = nil
	c.state = stateOpen
	l.pending--
	l.open++
	l.handshakes[http.StatusSwitchingProtocols]++
	c.startClocks()
	head := appendFrame(hs.response, opText, welcome)
	if c.out == nil {
		c.sendControl(head)
	} else {
		c.pushFront(&Message{frame: head, control: true})
		c.flush()
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
