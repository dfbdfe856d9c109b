package hub

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// exchanged is the answer to a request, byte for byte: its head, and what comes behind
// it before the end, or of a connection that is open its first frame.
type exchanged struct {
	status int // 0: closed without an answer
	header http.Header
	rest   string
	code   ws.StatusCode // of a close frame; rest is its reason
	closed bool          // it says that it closes, and does
}

// upgrade is the request of a handshake, with more lines.
func upgrade(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

// exchange sends a request on a socket of its own, which is closed before the pod ends.
func (p *pod) exchange(request string) exchanged {
	p.t.Helper()
	sock, err := net.Dial("tcp", p.server.Addr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { sock.Close() })
	_ = sock.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(sock, request) // it may be refused before it is read
	br := bufio.NewReader(sock)
	response, err := http.ReadResponse(br, nil)
	if err != nil {
		return exchanged{}
	}
	defer response.Body.Close()
	a := exchanged{status: response.StatusCode, header: response.Header}
	if a.status != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(response.Body)
		a.rest = string(body)
		_, err := br.ReadByte()
		a.closed = response.Close && err != nil
		return a
	}
	h, err := ws.ReadHeader(br)
	if err != nil || h.Length > 64<<10 {
		p.t.Fatalf("no frame behind 101: %+v, %v", h, err)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(br, payload); err != nil {
		p.t.Fatalf("half a frame behind 101: %v", err)
	}
	a.rest = string(payload)
	if h.OpCode == ws.OpClose {
		a.code, a.rest = ws.ParseCloseFrameData(payload)
	}
	return a
}
