package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// A model is a client that keeps all rules, but for its fault. Its application sends back what it is handed.
type model struct {
	url   string
	fault string
	ctx   context.Context

	mu      sync.Mutex // guards following
	seen    map[string]bool
	pending map[string]string // requests: id → data
	next    int
	current *link

	running sync.WaitGroup
}

type link struct {
	conn net.Conn
	br   io.Reader

	mu   sync.Mutex
	uuid string
	left bool // it is being replaced, and read on
}

// startModel runs a client in the place of a process.
func startModel(fault string) func(ctx context.Context, url string) (func(), error) {
	return func(ctx context.Context, url string) (func(), error) {
		ctx, cancel := context.WithCancel(ctx)
		m := &model{url: url, fault: fault, ctx: ctx, seen: map[string]bool{}, pending: map[string]string{}}
		m.running.Go(func() { m.stay("") })
		return func() { cancel(); m.running.Wait() }, nil
	}
}

// has reports whether the model has one of these faults.
func (m *model) has(faults ...string) bool {
	for _, f := range faults {
		if m.fault == f {
			return true
		}
	}
	return false
}

// stay connects, and connects again until it is told to stay away.
func (m *model) stay(replaces string) {
	for failed := 0; m.ctx.Err() == nil; {
		wait, again, welcomed := m.connect(replaces)
		replaces = ""
		if welcomed {
			failed /= 2
		}
		switch {
		case !again:
			return
		case wait < 0 && !m.has("hammers"):
			wait = min(100*time.Millisecond<<failed, 2*time.Second)
			failed++
		}
		select {
		case <-time.After(wait):
		case <-m.ctx.Done():
		}
	}
}

// connect is one connection. A negative wait leaves it to the backoff.
func (m *model) connect(replaces string) (wait time.Duration, again, welcomed bool) {
	dialer := ws.Dialer{Protocols: []string{"pushpod.v1"}}
	if m.fault == "other subprotocol" {
		dialer.Protocols = []string{"mqtt"}
	}
	url := m.url
	if replaces != "" && m.fault != "replaces nothing" {
		url += "&replaces=" + replaces
	}
	conn, buffered, _, err := dialer.Dial(m.ctx, url)
	if err != nil {
		return -1, true, false
	}
	defer conn.Close()
	defer context.AfterFunc(m.ctx, func() { conn.Close() })()
	l := &link{conn: conn, br: conn}
	if buffered != nil && m.fault != "drops what came with the handshake" {
		l.br = io.MultiReader(io.LimitReader(buffered, int64(buffered.Buffered())), conn)
	}
	return m.read(l)
}

func (m *model) read(l *link) (wait time.Duration, again, welcomed bool) {
	l.br = bufio.NewReader(l.br)
	var message []byte
	for {
		f, err := readFrame(l.br)
		if err != nil {
			return m.after(l, 1006, "", welcomed)
		}
		switch f.Header.OpCode {
		case ws.OpPing:
			if m.fault != "answers no ping" {
				l.write(ws.NewPongFrame(f.Payload))
			}
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(f.Payload)
			if m.fault != "answers no close" {
				l.write(ws.NewCloseFrame(f.Payload[:min(2, len(f.Payload))]))
				_, _ = io.Copy(io.Discard, io.LimitReader(l.br, 1))
			}
			return m.after(l, int(code), reason, welcomed)
		case ws.OpText, ws.OpContinuation:
			message = append(message, f.Payload...)
			if !f.Header.Fin && m.fault != "knows no fragments" {
				continue
			}
			if !m.handle(l, message, &welcomed) {
				l.write(ws.NewCloseFrame(ws.NewCloseFrameBody(1002, "")))
				return -1, true, welcomed
			}
			message = nil
		}
	}
}

func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// after says what a client does behind a close code.
func (m *model) after(l *link, code int, reason string, welcomed bool) (time.Duration, bool, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left {
		return 0, false, welcomed // another one has taken its place
	}
	var ms int64
	_, named := fmt.Sscanf(reason, "retry_ms=%d", &ms)
	switch {
	case m.has("never comes again"):
		return 0, false, welcomed
	case code == 4003 || code == 4500 || code == 4501 || code >= 4600:
		return -1, m.has("comes again"), welcomed
	case named == nil && !m.has("ignores retry_ms"):
		return time.Duration(ms) * time.Millisecond, true, welcomed
	}
	return -1, true, welcomed
}

// handle reports whether the connection goes on.
func (m *model) handle(l *link, text []byte, welcomed *bool) bool {
	var f struct {
		Type, Status, Error, UUID string
		ID                        any
		Data                      json.RawMessage
	}
	if err := json.Unmarshal(bytes.ToValidUTF8(text, nil), &f); err != nil && (f.Type == "" || f.Type == "message") {
		return false
	}
	id, _ := f.ID.(string)
	switch f.Type {
	case "welcome":
		*welcomed = true
		m.welcome(l, f.UUID)
	case "message":
		m.message(l, id, string(f.Data))
	case "receipt":
		m.receipt(l, id, f.Error)
	case "ping":
		if m.fault != "answers no app ping" {
			l.say(`{"type":"pong"}`)
		}
	case "goaway":
		m.leave(l)
	default:
		return m.fault != "knows no other types"
	}
	return true
}

func (m *model) welcome(l *link, uuid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == "forgets ids" {
		clear(m.seen)
	}
	old := m.current
	m.current = l
	l.mu.Lock()
	l.uuid = uuid
	l.mu.Unlock()
	if old != nil {
		old.mu.Lock()
		left := old.left
		old.mu.Unlock()
		if left {
			wait := time.Second
			if m.fault == "closes too early" {
				wait = 0
			}
			m.running.Go(func() {
				select {
				case <-time.After(wait):
				case <-m.ctx.Done():
				}
				if m.fault != "never closes" {
					old.write(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))
				}
			})
		}
	}
	for id, data := range m.pending {
		m.request(l, id, data)
	}
	if m.fault == "sends nonsense" {
		l.say(`{"type":"hello"}`)
	}
}

func (m *model) message(l *link, id, data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l.mu.Lock()
	deaf := l.left && m.fault == "deaf on the old one"
	l.mu.Unlock()
	if deaf || id != "" && m.seen[id] && m.fault != "drops no duplicates" {
		return
	}
	m.seen[id] = true
	m.next++
	id = fmt.Sprint("r-", m.next)
	m.pending[id] = data
	if m.current != nil {
		l = m.current
	}
	m.request(l, id, data)
}

func (m *model) request(l *link, id, data string) {
	if m.fault == "makes new ids" {
		delete(m.pending, id)
		m.next++
		id = fmt.Sprint("r-", m.next)
		m.pending[id] = data
	}
	if m.fault == "repeats nothing" {
		delete(m.pending, id)
	}
	if m.fault == "has a JSON encoder of its own" { // which is no fault
		data = strings.ReplaceAll(strings.ReplaceAll(data, `":`, `" : `), "é", `\u00e9`)
	}
	text := `{"type":"request","id":"` + id + `","data":` + data + `}`
	if m.fault == "has numbers for ids" {
		text = `{"type":"request","id":7,"data":` + data + `}`
	}
	if m.fault == "sends binary frames" {
		l.write(ws.NewBinaryFrame([]byte(text)))
		return
	}
	l.say(text)
}

func (m *model) receipt(l *link, id, fault string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, waits := m.pending[id]
	switch {
	case waits && fault == "unavailable":
		m.request(l, id, data)
	case m.fault != "repeats all":
		delete(m.pending, id)
	}
}

// leave makes the connection that takes the place of l.
func (m *model) leave(l *link) {
	if m.fault == "ignores goaway" {
		return
	}
	l.mu.Lock()
	l.left = true
	uuid := l.uuid
	l.mu.Unlock()
	if m.fault == "closes first" {
		l.write(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))
	}
	m.running.Go(func() { m.stay(uuid) })
}

func (l *link) say(text string) { l.write(ws.NewTextFrame([]byte(text))) }

func (l *link) write(f ws.Frame) {
	_, _ = l.conn.Write(ws.MustCompileFrame(ws.MaskFrame(f)))
}
