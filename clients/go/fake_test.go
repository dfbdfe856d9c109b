package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
)

// A fakePod plays the server's side. Each connection to it is played by the next of its scripts; once there are no more,
// connections are refused. It listens on pipes, so that a test in a synctest bubble can wait for hours in no time.
type fakePod struct {
	t       *testing.T
	mu      sync.Mutex
	scripts []func(p *peer)
	dialed  int
	playing sync.WaitGroup
}

func newFakePod(t *testing.T, scripts ...func(p *peer)) *fakePod {
	f := &fakePod{t: t, scripts: scripts}
	t.Cleanup(f.playing.Wait)
	return f
}

func (f *fakePod) dial(context.Context, string, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dialed++
	if f.dialed > len(f.scripts) {
		return nil, fmt.Errorf("fake: connection refused")
	}
	ours, theirs := net.Pipe()
	play := f.scripts[f.dialed-1]
	f.playing.Go(func() {
		defer ours.Close()
		play(&peer{t: f.t, conn: ours, br: bufio.NewReader(ours)})
	})
	return theirs, nil
}

func (f *fakePod) dials() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dialed
}

func (f *fakePod) options() Options {
	return Options{URL: "ws://pod.test/ws", User: "alice", NetDial: f.dial}
}

// A peer is one connection as the server sees it. Its methods fail the test by themselves, and go on.
type peer struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

const welcomeFrame = `{"type":"welcome","uuid":"018f-1","user":"alice","ping":25,"max_message":1000,"time":1700000000000}`

// readRequest reads the handshake.
func (p *peer) readRequest() *http.Request {
	r, err := http.ReadRequest(p.br)
	if err != nil {
		p.t.Errorf("read handshake: %v", err)
		return &http.Request{Header: http.Header{}}
	}
	return r
}

// upgrade reads the handshake and answers 101; frames go out in the same write.
func (p *peer) upgrade(frames ...[]byte) *http.Request {
	r := p.readRequest()
	p.accept(r, frames...)
	return r
}

// accept answers 101.
func (p *peer) accept(r *http.Request, frames ...[]byte) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Protocol: pushpod.v1\r\nSec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
	p.write(append([]byte(answer), bytes.Join(frames, nil)...))
}

// welcome upgrades and says welcome.
func (p *peer) welcome() *http.Request { return p.upgrade(text(welcomeFrame)) }

// refuse answers the handshake with a status. The client may hang up before it has read all.
func (p *peer) refuse(status int, body string, headers ...string) {
	p.readRequest()
	_, _ = fmt.Fprintf(p.conn, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
		status, http.StatusText(status), len(body), strings.Join(append(headers, ""), "\r\n"), body)
}

func (p *peer) write(b []byte) {
	if _, err := p.conn.Write(b); err != nil {
		p.t.Errorf("server's write: %v", err)
	}
}

func (p *peer) send(s string)                 { p.write(text(s)) }
func (p *peer) close(code int, reason string) { p.write(closeFrame(code, reason)); p.wantClose(code) }

// read returns the next frame, unmasked.
func (p *peer) read() (ws.OpCode, []byte, error) {
	h, err := ws.ReadHeader(p.br)
	if err != nil {
		return 0, nil, err
	}
	if !h.Masked {
		p.t.Errorf("frame %v from the client is not masked", h)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(p.br, payload); err != nil {
		return 0, nil, err
	}
	ws.Cipher(payload, h.Mask, 0)
	return h.OpCode, payload, nil
}

func (p *peer) want(op ws.OpCode, payload string) {
	p.t.Helper()
	gotOp, got, err := p.read()
	if err != nil || gotOp != op || string(got) != payload {
		p.t.Errorf("from the client: opcode %d %q, error %v; want opcode %d %q", gotOp, got, err, op, payload)
	}
}

func (p *peer) wantText(s string) { p.t.Helper(); p.want(ws.OpText, s) }

// wantClose reads up to the client's close frame.
func (p *peer) wantClose(code int) {
	p.t.Helper()
	for {
		op, payload, err := p.read()
		if err != nil {
			p.t.Errorf("wait for the client's close frame: %v", err)
			return
		}
		if op != ws.OpClose {
			continue
		}
		if got, _ := ws.ParseCloseFrameData(payload); int(got) != code {
			p.t.Errorf("the client's close code is %d, want %d", got, code)
		}
		return
	}
}

// wantEnd reads until the client is gone.
func (p *peer) wantEnd() {
	_, _ = io.Copy(io.Discard, p.br)
}

func text(s string) []byte { return frame(ws.NewTextFrame([]byte(s))) }

func closeFrame(code int, reason string) []byte {
	if code == 0 {
		return frame(ws.NewCloseFrame(nil))
	}
	return frame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason)))
}

func frame(f ws.Frame) []byte { return ws.MustCompileFrame(f) }
