package conformance

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

const (
	user       = "conformance"
	maxMessage = 64 << 10 // bytes, as welcome says

	writeLimit = 5 * time.Second
)

// A peer is one connection of the client's.
type peer struct {
	pod      *pod
	conn     net.Conn
	br       *bufio.Reader
	request  *http.Request // its handshake; set before arrived
	uuid     string
	fault    error     // why a pod has closed it, where that is the client's fault; owned by the run
	answered chan bool // whether it was let in

	mu       sync.Mutex // guards writing, and what follows
	upgraded bool
	closing  bool // a close frame was sent
}

func newPeer(p *pod, conn net.Conn) *peer {
	return &peer{pod: p, conn: conn, br: bufio.NewReader(conn), answered: make(chan bool, 1)}
}

// run reads the connection until it ends.
func (p *peer) run() {
	defer p.conn.Close()
	request, err := http.ReadRequest(p.br)
	if err != nil {
		return // it never was a client: a port scanner, a health check
	}
	p.request = request
	p.pod.tell(event{peer: p, kind: arrived})
	select {
	case in := <-p.answered:
		if !in {
			return
		}
	case <-p.pod.done:
		return
	}
	err = p.read()
	p.pod.tell(event{peer: p, kind: gone, err: err})
}

// read tells of all frames.
func (p *peer) read() error {
	var message []byte
	begun := false
	for {
		h, err := ws.ReadHeader(p.br)
		if err != nil {
			return err
		}
		if code, err := checkHeader(h, begun, len(message)); err != nil {
			p.pod.tell(event{peer: p, kind: said, err: err, code: code})
			p.endWith(code, "")
			return err
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(p.br, payload); err != nil {
			return err
		}
		ws.Cipher(payload, h.Mask, 0)
		switch h.OpCode {
		case ws.OpPing:
			p.write(ws.NewPongFrame(payload))
		case ws.OpPong:
			p.pod.tell(event{peer: p, kind: ponged, text: string(payload)})
		case ws.OpClose:
			code, _ := ws.ParseCloseFrameData(payload)
			e := event{peer: p, kind: closed, code: int(code)}
			if len(payload) < 2 {
				e.code = int(ws.StatusNoStatusRcvd)
			}
			p.answerClose(payload)
			p.pod.tell(e)
			return nil // TCP ends
		default:
			message, begun = append(message, payload...), !h.Fin
			if h.Fin {
				f, err := parse(message)
				p.pod.tell(event{peer: p, kind: said, frame: f, text: string(message), err: err})
				message = nil
			}
		}
	}
}

// checkHeader holds a frame against RFC 6455, section 5, and its message, of which so many bytes came before, against max_message.
// The code is what a pod closes with.
func checkHeader(h ws.Header, begun bool, before int) (code int, _ error) {
	state := ws.StateServerSide
	if begun {
		state = state.Set(ws.StateFragmented)
	}
	switch err := ws.CheckHeader(h, state); {
	case err != nil:
		return 1002, err
	case h.OpCode == ws.OpBinary:
		return 1003, errors.New("a binary frame")
	case h.Length > int64(maxMessage-before):
		return 1009, fmt.Errorf("a message of %d bytes or more, where welcome has said max_message %d", int64(before)+h.Length, maxMessage)
	}
	return 0, nil
}

// letIn answers 101 and says welcome; frames follow in the same write.
func (p *peer) letIn(uuid string, frames ...ws.Frame) {
	p.uuid = uuid
	welcome := fmt.Sprintf(`{"type":"welcome","uuid":%q,"user":%q,"ping":25,"max_message":%d,"time":%d}`, uuid, user, maxMessage, time.Now().UnixMilli())
	p.upgrade(append([]ws.Frame{ws.NewTextFrame([]byte(welcome))}, frames...)...)
}

// upgrade answers 101; frames follow in the same write.
func (p *peer) upgrade(frames ...ws.Frame) {
	sum := sha1.Sum([]byte(p.request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 1.3
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	if strings.Contains(p.request.Header.Get("Sec-WebSocket-Protocol"), subprotocol) {
		head += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	b := []byte(head + "Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
	for _, f := range frames {
		b = append(b, ws.MustCompileFrame(f)...)
	}
	p.mu.Lock()
	p.upgraded = true
	p.writeLocked(b)
	p.mu.Unlock()
	p.decide(true)
}

const subprotocol = "pushpod.v1"

// refuse answers the handshake with a status.
func (p *peer) refuse(status int, header string) {
	body := fmt.Sprintf(`{"error":%q,"reason":"the conformance test says so"}`, strings.ToLower(http.StatusText(status)))
	p.mu.Lock()
	p.writeLocked(fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s",
		status, http.StatusText(status), len(body), header, body))
	p.mu.Unlock()
	p.decide(false)
}

// say sends a text frame.
func (p *peer) say(format string, args ...any) {
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	p.write(ws.NewTextFrame([]byte(text)))
}

func (p *peer) write(f ws.Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closing {
		p.writeLocked(ws.MustCompileFrame(f))
	}
}

// writeLocked ignores errors: the reader sees the end.
func (p *peer) writeLocked(b []byte) {
	_ = p.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	_, _ = p.conn.Write(b)
}

// endWith sends a close frame, once; TCP is left to the client, for at most 5 s as a pod does. One that was not let in
// is cut off.
func (p *peer) endWith(code int, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.upgraded:
		_ = p.conn.Close()
		p.decide(false)
	case !p.closing:
		p.closing = true
		p.writeLocked(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason))))
		_ = p.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	}
}

// answerClose answers a client's close frame, unless it is the answer to ours.
func (p *peer) answerClose(payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closing {
		p.closing = true
		p.writeLocked(ws.MustCompileFrame(ws.NewCloseFrame(payload[:min(2, len(payload))])))
	}
}

// shut ends TCP.
func (p *peer) shut() {
	_ = p.conn.Close()
	p.decide(false)
}

// decide lets run go on; the first decision counts.
func (p *peer) decide(in bool) {
	select {
	case p.answered <- in:
	default:
	}
}

// asks returns the value of a query parameter of its handshake.
func (p *peer) asks(name string) string { return p.request.URL.Query().Get(name) }

// token returns the token that it has come with; "": none.
func (p *peer) token() string {
	if t := p.asks("token"); t != "" {
		return t
	}
	if t, ok := strings.CutPrefix(p.request.Header.Get("Authorization"), "Bearer "); ok {
		return t
	}
	for _, one := range strings.Split(p.request.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if t, ok := strings.CutPrefix(strings.TrimSpace(one), "bearer."); ok {
			return t
		}
	}
	return ""
}
