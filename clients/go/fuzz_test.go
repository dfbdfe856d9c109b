package client

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

// FuzzServerBytes: whatever a server sends, the reader ends with an error and keeps to its limit.
func FuzzServerBytes(f *testing.F) {
	f.Add(text(welcomeFrame))
	f.Add(append(frame(ws.NewFrame(ws.OpText, false, []byte(`{"type":`))), frame(ws.NewFrame(ws.OpContinuation, true, []byte(`"x"}`)))...))
	f.Add(closeFrame(1001, "retry_ms=99999999999999999999"))
	f.Add([]byte{0x81, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255})
	f.Add([]byte{0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Add([]byte{0x88, 1, 3})
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := frameReader{br: bufio.NewReaderSize(bytes.NewReader(sent), 16), limit: 1000}
		for {
			op, payload, err := r.next()
			if err != nil {
				return
			}
			switch {
			case int64(len(payload)) > r.limit:
				t.Fatalf("message of %d bytes", len(payload))
			case op == ws.OpText:
				if got, err := parseFrame(payload); err == nil && got.Type == "" {
					t.Fatalf("frame without a type: %q", payload)
				}
			case op == ws.OpClose && len(payload) >= 2:
				code, reason := ws.ParseCloseFrameData(payload)
				if e := newCloseError(int(code), reason); e.RetryAfter > maxRetryAfter || e.Error() == "" {
					t.Fatalf("close frame %q: %v", payload, e)
				}
			}
		}
	})
}
