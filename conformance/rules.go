package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/gobwas/ws"
)

// A rule is one that clients keep. play returns nil where this one does, errSkipped where that can't be said, and else
// what was wrong.
type rule struct {
	name  string
	about string
	play  func(*run) error
}

func rules() []rule {
	all := []rule{
		{"handshake", "GET with the subprotocol pushpod.v1, as RFC 6455 has it", handshake},
		{"welcome", "frames that come in one packet with the 101 are read", welcomeInThePacket},
		{"unknown", "types and members that are not known are ignored", unknown},
		{"fragments", "a message in several frames, with a ping between them, is one message", fragments},
		{"pings", "a WebSocket ping is answered by a pong with its payload", (*run).pings},
		{"app-pings", "a frame ping is answered by pong (?ping=app)", (*run).appPings},
		{"duplicates", "an id that was seen is not handed on again, on a new connection too", duplicates},
		{"requests", "a request is repeated with the same id where it is unavailable, or the connection ended before its receipt", requests},
		{"accepted", "a request that was accepted is not repeated", accepted},
		{"close-answered", "a close frame is answered by one", closeAnswered},
		{"goaway", "a new connection with ?replaces=, then a second of reading on, then a close (?goaway=1)", goaway},
	}
	for _, code := range []int{1001, 1013} {
		all = append(all, rule{fmt.Sprintf("close-%d", code), "comes again after retry_ms, not before", func(r *run) error { return r.retry(code) }})
	}
	all = append(all,
		rule{"close-1008", "backs off", func(r *run) error { return r.backsOffAfter(1008, "rate") }},
		rule{"close-4000", "comes again, with a fresh token where it has tokens", func(r *run) error { return r.comesAgain(4000, "the token has expired") }},
		rule{"close-4001", "comes again with a fresh token, backing off, or not at all (?refuse=close)", refused4001},
		rule{"close-4003", "stays away (?refuse=close)", func(r *run) error { return r.refusedByClose(4003, "forbidden") }},
		rule{"close-4029", "comes again after retry_ms, not before (?refuse=close)", func(r *run) error { return r.retryAsked(4029) }},
		rule{"close-4053", "comes again after retry_ms, not before (?refuse=close)", func(r *run) error { return r.retryAsked(4053) }},
		rule{"close-4100", "comes again", func(r *run) error { return r.comesAgain(4100, "the producer's own") }},
	)
	for _, code := range []int{4500, 4501, 4600} {
		all = append(all, rule{fmt.Sprintf("close-%d", code), "stays away", func(r *run) error { return r.finalClose(code) }})
	}
	return append(all,
		rule{"broken", "comes again after a connection that broke, backing off", broken},
		rule{"unavailable", "comes again after a refusal with 503, backing off", unavailable},
		rule{"frames", "every frame that the client has sent is as documented", clientFrames}, // the last one: it sums up
	)
}

func handshake(r *run) error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	q := p.request
	offered := q.Header.Get("Sec-WebSocket-Protocol")
	switch {
	case q.Method != "GET" || q.ProtoMajor != 1 || q.ProtoMinor != 1:
		return fmt.Errorf("%s %s: GET and HTTP/1.1 are needed", q.Method, q.Proto)
	case !strings.EqualFold(q.Header.Get("Upgrade"), "websocket") || !strings.Contains(strings.ToLower(q.Header.Get("Connection")), "upgrade"):
		return errors.New("no Upgrade: websocket, or no Connection: Upgrade")
	case q.Header.Get("Sec-WebSocket-Version") != "13" || len(q.Header.Get("Sec-WebSocket-Key")) != 24:
		return errors.New("no Sec-WebSocket-Version: 13, or no Sec-WebSocket-Key of 16 bytes in base64")
	case q.URL.Path != "/ws":
		return fmt.Errorf("the path is %q: /ws is needed", q.URL.Path)
	case offered != "" && !strings.Contains(offered, subprotocol):
		return fmt.Errorf("the subprotocols are %q: %s is needed among them, or none", offered, subprotocol)
	}
	for name, values := range q.URL.Query() {
		if len(values) > 1 {
			return fmt.Errorf("%s stands twice in the query: pods refuse that", name)
		}
	}
	return r.stays(p)
}

func welcomeInThePacket(r *run) error {
	p, _, ok := r.arrives(r.opts.Wait)
	if !ok {
		return fmt.Errorf("no connection within %v", r.opts.Wait)
	}
	const data = `{"conformance":"in the packet of the handshake"}`
	p.letIn(newUUID(), ws.NewTextFrame([]byte(`{"type":"message","id":"welcome-1","data":`+data+`}`)), ws.NewPingFrame([]byte("p")))
	answered, echoed := false, false
	e, _ := r.waitFor(r.opts.Wait, func(e event) bool {
		answered = answered || e.kind == ponged && e.text == "p"
		echoed = echoed || e.isEchoOf(data)
		return answered && echoed || e.isEndOf(p)
	})
	if e.isEndOf(p) {
		return e.ended()
	}
	lost := !answered && !echoed
	if lost { // what was lost there says nothing about what comes later
		p.push("welcome-2", data)
		var err error
		if echoed, err = r.echoed(p, data); err != nil {
			return err
		}
	}
	r.echoes = r.echoes || echoed
	if !answered {
		r.pongless = r.answersPing(p) != nil
	}
	switch {
	case lost && r.pongless && !echoed:
		return fmt.Errorf("neither a ping in that packet was answered within %v, nor one behind it: the client does not read, or answers no pings", r.opts.Wait)
	case lost:
		r.loses = true
		return fmt.Errorf("of what came in that packet nothing was answered within %v, of what came later something: the client loses what it has read with the handshake's answer", r.opts.Wait)
	case !echoed:
		return noted{"the application does not send the data of messages back as requests: what it is handed can't be seen"}
	}
	return nil
}

func unknown(r *run) error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	p.say(`{"type":"conformance-from-the-future","id":7,"data":[],"uuid":{}}`)
	p.say(`{"type":"message","id":"unknown-1","data":{"conformance":"unknown"},"pos":"1-1","topic":["a"],"later":null}`)
	return r.handed(p, `{"conformance":"unknown"}`)
}

func fragments(r *run) error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	text := []byte(`{"type":"message","id":"fragments-1","data":{"conformance":"in pieces: é"}}`)
	cut := strings.IndexByte(string(text), 0xc3) + 1 // within é
	p.write(ws.NewFrame(ws.OpText, false, text[:20]))
	p.write(ws.NewPingFrame([]byte("between")))
	p.write(ws.NewFrame(ws.OpContinuation, false, text[20:cut]))
	p.write(ws.NewFrame(ws.OpContinuation, true, text[cut:]))
	return r.handed(p, `{"conformance":"in pieces: é"}`)
}

func (p *peer) ping(payload string) { p.write(ws.NewPingFrame([]byte(payload))) }

func (r *run) pings() error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	return r.answersPing(p)
}

func (r *run) appPings() error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(p.asks("ping"), "app") {
		return skip("the client does not ask for it by ?ping=app")
	}
	p.say(`{"type":"ping"}`)
	if _, ok := r.waitFor(r.opts.Wait, func(e event) bool { return e.peer == p && e.kind == said && e.err == nil && e.frame.Type == "pong" }); !ok {
		return fmt.Errorf(`a frame {"type":"ping"} was not answered by {"type":"pong"} within %v`, r.opts.Wait)
	}
	return nil
}

// duplicates sends an id twice on one connection, and again on the next one.
func duplicates(r *run) error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	if !r.echoes {
		return skip("the application does not send back what it is handed")
	}
	const once, last = `{"conformance":"once"}`, `{"conformance":"last"}`
	p.push("duplicate", once)
	if _, ok := r.echo(once, r.opts.Wait); !ok {
		return errors.New("the application was not handed a message")
	}
	twice := func(p *peer, where string) error {
		p.push("duplicate", once)
		p.push("not "+where, last)
		seen := false
		if _, ok := r.waitFor(r.opts.Wait, func(e event) bool {
			seen = seen || e.isEchoOf(once)
			return e.isEchoOf(last)
		}); !ok {
			return fmt.Errorf("%s, the application was not handed the message behind a duplicate", where)
		}
		if seen {
			return fmt.Errorf("%s, the application was handed an id again", where)
		}
		return nil
	}
	if err := twice(p, "on one connection"); err != nil {
		return err
	}
	// Without an id nothing is a duplicate.
	for range 2 {
		p.push("", `{"conformance":"no id"}`)
		if _, ok := r.echo(`{"conformance":"no id"}`, r.opts.Wait); !ok {
			return errors.New("a message without an id was dropped")
		}
	}
	p.endWith(1001, "retry_ms=0")
	if p, err = r.connect(); err != nil {
		return err
	}
	return twice(p, "on a new connection")
}

// requests are answered by unavailable once, and once not at all.
func requests(r *run) error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	if !r.echoes {
		return skip("the application sends no requests")
	}
	for _, how := range []string{"unavailable", "no receipt"} {
		data := fmt.Sprintf(`{"conformance":%q}`, how)
		r.hold = true
		p.push("requests "+how, data)
		first, ok := r.echo(data, r.opts.Wait)
		if !ok {
			return errors.New("the application sent no request")
		}
		if how == "unavailable" {
			p.say(`{"type":"receipt","id":%s,"status":"rejected","error":"unavailable","reason":"not known: repeat it"}`, quote(*first.frame.ID))
		} else {
			p.endWith(1001, "retry_ms=0")
			if p, err = r.connect(); err != nil {
				return err
			}
		}
		again, ok := r.echo(data, r.opts.Wait)
		if !ok {
			return fmt.Errorf("after %s, the request was not repeated within %v", how, r.opts.Wait)
		}
		r.hold = false
		if *again.frame.ID != *first.frame.ID {
			return fmt.Errorf("after %s, the request was repeated with another id, %q in place of %q", how, *again.frame.ID, *first.frame.ID)
		}
		again.peer.say(`{"type":"receipt","id":%s,"status":"accepted"}`, quote(*again.frame.ID))
	}
	return nil
}

func accepted(r *run) error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	if !r.echoes {
		return skip("the application sends no requests")
	}
	const data = `{"conformance":"accepted"}`
	p.push("accepted", data)
	if _, ok := r.echo(data, r.opts.Wait); !ok {
		return errors.New("the application sent no request")
	}
	p.endWith(1001, "retry_ms=0")
	if _, err := r.connect(); err != nil {
		return err
	}
	if _, again := r.echo(data, r.opts.Quiet); again {
		return errors.New("it was sent again")
	}
	return nil
}

func closeAnswered(r *run) error {
	p, err := r.connect()
	if err != nil {
		return err
	}
	p.endWith(1001, "retry_ms=0")
	e, ok := r.waitFor(r.opts.Wait, func(e event) bool { return e.isEndOf(p) })
	if !ok || e.kind != closed {
		return errors.New("TCP ended without a close frame")
	}
	return nil
}

func newUUID() string {
	return fmt.Sprintf("%08x-%04x-7%03x-8%03x-%012x", rand.Uint32(), rand.N(1<<16), rand.N(1<<12), rand.N(1<<12), rand.N(int64(1)<<48))
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

func clientFrames(r *run) error {
	if len(r.badFrames) > 0 {
		return fmt.Errorf("%d of %d frames: %w", len(r.badFrames), r.frames, r.badFrames[0])
	}
	if r.frames == 0 {
		return skip("the client has sent none")
	}
	return noted{fmt.Sprintf("%d frames", r.frames)}
}
