package conn

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"pushpod/conn/internal/httphead"
	"pushpod/conn/internal/wire"
)

// handshake is what the answer to a request needs of it.
type handshake struct {
	remote      [16]byte
	origin      string // "": none was sent
	allowed     bool   // pages of origin may read a refusal
	key         [24]byte
	subprotocol bool
	byClose     bool // it wants to be refused by a close frame, which a page can read (?refuse=close)
}

// readableBy is the origin whose pages may read the answer; "": none.
func (h *handshake) readableBy() string {
	if h.allowed {
		return h.origin
	}
	return ""
}

// handshakeInput gathers the request's head, whose end may come with frames
// behind it in the same packet.
func (c *Conn) handshakeInput(b []byte) {
	in := c.half()
	b, from := in.gathered(b)
	end, refusal := httphead.Scan(b, from, c.loop.settings().MaxHeader)
	switch {
	case refusal != nil:
		c.refuseUnread(b, refusal)
	case end > 0:
		// The request is read where it lies: nothing of it is kept but what in is given.
		head, early := unsafe.String(unsafe.SliceData(b), end), b[end:]
		in.buf = bytes.Clone(early) // which waits until the connection is open
		c.request(head, nil)
	case len(in.buf) == 0:
		in.buf = bytes.Clone(b)
	}
}

// refuseUnread refuses a request of which no whole head has come. The lines that have
// come say whose page may read that.
func (c *Conn) refuseUnread(b []byte, why *Refusal) {
	b = b[:min(len(b), c.loop.settings().MaxHeader)]
	c.request(string(b[:bytes.LastIndexByte(b, '\n')+1]), why)
}

// request decides about a request. It can only be refused where there is a problem.
func (c *Conn) request(head string, problem *Refusal) {
	l := c.loop
	parsed, malformed := l.parser.Parse(head)
	if problem == nil {
		problem = malformed
	} else {
		parsed.Preflight = false // not all of it has come
	}
	if problem == nil && parsed.Path == httphead.HealthPath {
		c.health()
		return
	}
	h := &c.in.handshake
	from := address(h.remote)
	r := Request{Request: parsed, From: from, Remote: from, Peer: c.peer(), Problem: problem}
	if problem == nil {
		r.Problem = c.readPing(&r)
	}
	if r.Problem == nil {
		r.Problem = c.readGoaway(&r)
	}
	if r.Problem == nil && c.has(flagOverflow) {
		r.Problem = overflowing()
	}
	// The owner may act on the connection before this returns.
	copy(h.key[:], r.Key)
	h.subprotocol = r.Subprotocol
	how, _ := r.Query.Get("refuse")
	h.byClose = r.Upgrade && how == "close"
	h.origin = strings.Clone(r.Origin)
	if r.Events {
		c.set(flagEvents)
	}
	c.seen = l.everyone.end
	c.state = stateRegistering
	owner, refusal := l.srv.opts.Admitter.Admit(c, &r)
	h.allowed, h.remote = r.AllowOrigin, r.Remote.As16()
	switch {
	case refusal == nil:
	case r.Preflight && h.allowed:
		asked := *h // a copy, as in refuse
		c.answer(&asked, &Refusal{Status: http.StatusNoContent})
		return
	default:
		c.refuse(refusal)
		return
	}
	c.owner = owner
	c.endAt = 0
	c.schedule()
}

// health answers a balancer, whose connection is no handshake.
func (c *Conn) health() {
	if !c.loop.srv.opts.Admitter.Ready() {
		c.answer(&handshake{}, &Refusal{Status: http.StatusServiceUnavailable, Error: "unavailable", Reason: "not ready"})
		return
	}
	c.answer(&handshake{}, &Refusal{Status: http.StatusOK})
}

// readPing reads ?ping=app or ?ping=app,SECONDS.
func (c *Conn) readPing(r *Request) *Refusal {
	c.pingEach = uint16(seconds(c.loop.settings().Ping) / time.Second)
	v, asked := r.Query.Get("ping")
	if !asked {
		return nil
	}
	kind, seconds, given := strings.Cut(v, ",")
	n, err := strconv.Atoi(seconds)
	switch {
	case kind != "app", given && (err != nil || n < 15 || n > 300 || strconv.Itoa(n) != seconds):
		return httphead.BadRequest("ping must be app, or app and 15 to 300 seconds (app,30)")
	case given:
		c.pingEach = uint16(n)
		c.set(flagOwnPing)
	}
	c.set(flagAppPing)
	return nil
}

// readGoaway reads ?goaway=1.
func (c *Conn) readGoaway(r *Request) *Refusal {
	v, asked := r.Query.Get("goaway")
	if !asked {
		return nil
	}
	if v != "1" {
		return httphead.BadRequest("goaway must be 1, or left out")
	}
	c.set(flagGoaway)
	return nil
}

// early keeps what comes before the connection is open: a client that does not
// wait for the answer. What waits is bounded as what waits for it is.
func (c *Conn) early(b []byte) {
	if len(c.in.buf)+len(b) > c.loop.settings().QueueBytes {
		c.refuse(httphead.BadRequest("too much was sent before the handshake's answer"))
		return
	}
	c.in.buf = append(c.in.buf, b...)
}

// Answer is the answer to a request for which Admit has returned an owner.
type Answer struct {
	Conn    *Conn
	Welcome []byte   // it is accepted, and this is its first message, a text
	Refusal *Refusal // or it is refused

	// Lasts is after what time an accepted connection is closed with CodeExpired;
	// 0: never.
	Lasts time.Duration
}

// Decide calls f with the loop locked, as Admit is called, where the connection waits
// for the answer to its request; for an Admitter that decides later. It may be called
// from any goroutine, without a loop locked.
func (c *Conn) Decide(f func()) {
	c.loop.lock()
	defer c.loop.unlock()
	if c.state == stateRegistering {
		f()
	}
}

// answersAtOnce bounds for how many answers a loop's lock is held.
const answersAtOnce = 64

// Answer answers requests: many at once cost less than one by one. A connection
// that has ended meanwhile is passed over. It may be called from any goroutine.
func (s *Server) Answer(all ...Answer) {
	for row := range slices.Chunk(all, answersAtOnce) {
		var answered [answersAtOnce]bool
		for i := range row {
			if !answered[i] {
				row[i].Conn.loop.answer(row[i:], answered[i:])
			}
		}
	}
}

// answer answers those of a row that are the loop's, and notes which.
func (l *Loop) answer(row []Answer, answered []bool) {
	l.lock()
	defer l.unlock()
	for i, a := range row {
		c := a.Conn
		if c.loop != l {
			continue
		}
		answered[i] = true
		switch {
		case c.state != stateRegistering:
		case a.Refusal != nil:
			c.refuse(a.Refusal)
		default:
			c.accept(a.Welcome, a.Lasts)
		}
	}
}

// accept sends the answer with the welcome, and then what waits.
func (c *Conn) accept(welcome []byte, lasts time.Duration) {
	l := c.loop
	h, early := c.in.handshake, c.in.buf
	if c.has(flagEvents) {
		l.scratch = httphead.AppendEvents(l.scratch[:0], h.readableBy())
		c.abandonLate()
		early = nil
	} else {
		l.scratch = httphead.AppendUpgrade(l.scratch[:0], unsafe.String(&h.key[0], len(h.key)), h.subprotocol)
	}
	l.scratch = c.codec().text(l.scratch, welcome)
	c.dropHalf()
	l.handshakes[http.StatusSwitchingProtocols]++
	c.opened(lasts)
	c.owner.Opened()
	if c.out != nil {
		c.out.First(&l.pool, bytes.Clone(l.scratch))
		c.flushPromptly()
	} else {
		c.sendControl(l.scratch)
	}
	if c.has(flagCloseNext) {
		c.clear(flagCloseNext)
		c.closing(CauseServer)
	}
	if len(early) > 0 {
		c.frames(early)
	}
}

// opened makes a pending connection open.
func (c *Conn) opened(lasts time.Duration) {
	c.loop.pending--
	c.loop.open++
	if c.has(flagEvents) {
		c.loop.openEvents++
	}
	c.state = stateOpen
	c.startClocks(lasts)
}

// refuse refuses the handshake.
func (c *Conn) refuse(r *Refusal) {
	l := c.loop
	var h handshake // a copy: what is half-read is given back before the answer is written
	if c.in != nil {
		h = c.in.handshake
		l.srv.opts.Admitter.Refused(address(h.remote), h.origin, r)
	}
	l.handshakes[r.Status]++
	if c.cause == CausePeer { // no other was named
		c.cause = CauseRefused
	}
	c.answer(&h, r)
}

// answer sends an HTTP answer, or a close frame, and ends the connection once the peer
// has read it, or after 2 s.
func (c *Conn) answer(h *handshake, r *Refusal) {
	l := c.loop
	l.pending--
	c.dropUnseen()
	c.dropQueue()
	c.state = stateRefused
	c.dropHalf()
	c.pingAt, c.renewAt = 0, 0
	c.endAt = l.after(refuseTimeout)
	c.schedule()
	code, reason := refusalCode(r)
	switch {
	case h.byClose && code != wire.CodeNone:
		l.scratch = httphead.AppendUpgrade(l.scratch[:0], unsafe.String(&h.key[0], len(h.key)), h.subprotocol)
		l.scratch = l.codec.closing(l.scratch, code, reason)
	default:
		l.scratch = r.Append(l.scratch[:0], h.readableBy())
	}
	c.sendControl(l.scratch)
}

// refusalCode is the code and reason of a close that stands for a refusal; CodeNone:
// none does.
func refusalCode(r *Refusal) (Code, string) {
	after := time.Duration(max(1, r.RetryAfter)) * time.Second
	switch r.Status {
	case http.StatusUnauthorized:
		return wire.CodeUnauthorized, r.Reason
	case http.StatusForbidden:
		return wire.CodeForbidden, r.Reason
	case http.StatusTooManyRequests:
		return wire.CodeTooMany, Retry(after, 2*after)
	case http.StatusServiceUnavailable:
		return wire.CodeUnavailable, Retry(after, 2*after)
	}
	return wire.CodeNone, ""
}
