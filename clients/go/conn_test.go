package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

// dialFake opens a raw connection to a pod that plays script.
func dialFake(t *testing.T, script func(p *peer)) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), newFakePod(t, script).options())
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close(1000, "") })
	return c
}

func (c *Conn) wantFrames(t *testing.T, raw ...string) {
	t.Helper()
	for _, want := range raw {
		f, err := c.Next(t.Context())
		if err != nil || string(f.Raw) != want {
			t.Fatalf("Next = %s, %v; want %s", f.Raw, err, want)
		}
	}
}

func TestHandshakeCarriesUserPingHeaderAndSubprotocol(t *testing.T) {
	var got *http.Request
	pod := newFakePod(t, func(p *peer) { got = p.welcome(); p.wantClose(1000) })
	o := pod.options()
	o.URL, o.User, o.Ping = "ws://pod.test:8080/ws?since=0-0", "al ice+&ü", "app,15"
	o.Header = http.Header{"Cookie": {"a=b"}}
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close(1000, "")
	pod.playing.Wait()
	if q := got.URL.Query(); q.Get("user") != "al ice+&ü" || q.Get("ping") != "app,15" || q.Get("since") != "0-0" {
		t.Errorf("query is %q", got.URL.RawQuery)
	}
	if strings.Contains(got.URL.RawQuery, "+") {
		t.Errorf("query %q has a space as +", got.URL.RawQuery)
	}
	for name, want := range map[string]string{"Cookie": "a=b", "Sec-Websocket-Protocol": "pushpod.v1", "Sec-Websocket-Version": "13"} {
		if got.Header.Get(name) != want {
			t.Errorf("header %s is %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if got.Host != "pod.test:8080" {
		t.Errorf("host is %q", got.Host)
	}
}

func TestFramesInThePacketOfTheHandshakeAreNotLost(t *testing.T) {
	c := dialFake(t, func(p *peer) {
		p.upgrade(text(welcomeFrame), text(`{"type":"message","data":1}`), text(`{"type":"message","data":2}`)[:5])
		p.write(text(`{"type":"message","data":2}`)[5:])
		p.wantClose(1000)
		p.write(closeFrame(1000, ""))
	})
	// A second handshake, which must not get hold of the buffer that the first one has read into.
	dialFake(t, func(p *peer) { p.upgrade(text(strings.Repeat("x", 500))); p.wantClose(1000) })
	w, err := c.Welcome(t.Context())
	if err != nil || w != (Welcome{UUID: "018f-1", User: "alice", Ping: 25, MaxMessage: 1000, Time: 1700000000000}) {
		t.Fatalf("Welcome = %+v, %v", w, err)
	}
	c.wantFrames(t, `{"type":"message","data":1}`, `{"type":"message","data":2}`)
	if err := c.Close(1000, ""); err != nil {
		t.Errorf("Close = %v, though the server has answered", err)
	}
	if _, err := c.Next(t.Context()); !isClose(err, 1000) {
		t.Errorf("Next after Close = %v", err)
	}
	if err := c.SendText(t.Context(), []byte("{}")); !errors.Is(err, ErrClosed) {
		t.Errorf("SendText after Close = %v", err)
	}
}

func isClose(err error, code int) bool {
	var closed *CloseError
	return errors.As(err, &closed) && closed.Code == code
}

func TestDataIsDeliveredByteForByte(t *testing.T) {
	const data = `{ "b" : 1.0e0,  "a":"\u00e9<&>", "n": 12345678901234567890 }`
	c := dialFake(t, func(p *peer) { p.upgrade(text(`{"type":"message","data":` + data + ` ,"id":"m1"}`)); p.wantClose(1000) })
	f, err := c.Next(t.Context())
	if err != nil || string(f.Data) != data || f.ID != "m1" {
		t.Errorf("Next = %q %s, %v; want data %s", f.ID, f.Data, err, data)
	}
}

func TestFragmentsBecomeOneMessageWithPingsBetween(t *testing.T) {
	msg := []byte(`{"type":"message","data":"é"}`)
	cut := bytes.IndexByte(msg, 0xc3) + 1 // in the middle of a rune
	c := dialFake(t, func(p *peer) {
		p.upgrade()
		p.write(frame(ws.NewFrame(ws.OpText, false, msg[:cut])))
		p.write(frame(ws.NewPingFrame([]byte("are you there"))))
		p.want(ws.OpPong, "are you there")
		p.write(frame(ws.NewFrame(ws.OpContinuation, false, nil)))
		p.write(frame(ws.NewFrame(ws.OpContinuation, true, msg[cut:])))
		p.send(`{"type":"ping"}`)
		p.wantClose(1000)
	})
	c.wantFrames(t, string(msg), `{"type":"ping"}`)
}

func TestNextGoesOnWhereItsContextEndedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := `{"type":"message","data":"` + strings.Repeat("x", 300) + `"}`
		c := dialFake(t, func(p *peer) {
			p.upgrade()
			for _, b := range text(raw) { // one byte a second
				time.Sleep(time.Second)
				p.write([]byte{b})
			}
			p.wantClose(1000)
		})
		ended := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			f, err := c.Next(ctx)
			cancel()
			if err == nil {
				if string(f.Raw) != raw {
					t.Errorf("Next = %s", f.Raw)
				}
				break
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Next = %v", err)
			}
			ended++
		}
		if ended < 150 {
			t.Errorf("the context ended %d reads, want some 200", ended)
		}
	})
}

func TestBrokenRulesEndTheConnectionWithTheirCloseCode(t *testing.T) {
	long := frame(ws.NewTextFrame(make([]byte, 2000)))
	for name, tc := range map[string]struct {
		bytes []byte
		code  int
		err   error
	}{
		"masked frame":             {maskedFrame(ws.OpText, []byte("{}")), 1002, ErrProtocol},
		"reserved bit":             {[]byte{0xc1, 0}, 1002, ErrProtocol},
		"reserved opcode":          {[]byte{0x83, 0}, 1002, ErrProtocol},
		"long ping":                {[]byte{0x89, 126, 0, 126}, 1002, ErrProtocol},
		"fragmented ping":          {[]byte{0x09, 0}, 1002, ErrProtocol},
		"continuation of nothing":  {[]byte{0x80, 0}, 1002, ErrProtocol},
		"message inside a message": {[]byte{0x01, 0, 0x81, 0}, 1002, ErrProtocol},
		"top bit of the length":    {[]byte{0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, 1002, ErrProtocol},
		"declared 2^63-1":          {[]byte{0x81, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255}, 1009, ErrTooLarge},
		"over the limit":           {long[:4], 1009, ErrTooLarge},
		"over it in fragments":     {append(frame(ws.NewFrame(ws.OpText, false, make([]byte, 900))), 0x80, 126, 0, 200), 1009, ErrTooLarge},
		"binary":                   {[]byte{0x82, 0}, 1003, ErrProtocol},
		"not UTF-8":                {[]byte{0x81, 1, 0xff}, 1007, ErrProtocol},
		"no JSON":                  {text("hello"), 1002, ErrBadFrame},
		"no object":                {text("[1]"), 1002, ErrBadFrame},
		"no type":                  {text(`{"data":1}`), 1002, ErrBadFrame},
		"wrong type of a member":   {text(`{"type":"message","id":1}`), 1002, ErrBadFrame},
		"close frame of one byte":  {[]byte{0x88, 1, 3}, 1002, ErrProtocol},
		"close code 1005":          {closeFrame(1005, ""), 1002, ErrProtocol},
		"close code 999":           {closeFrame(999, ""), 1002, ErrProtocol},
		"close reason not UTF-8":   {closeFrame(1000, "\xff"), 1002, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newFakePod(t, func(p *peer) { p.upgrade(); p.write(tc.bytes); p.wantClose(tc.code) })
			o := pod.options()
			o.ReadLimit = 1000
			c, err := Dial(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time, too
				if _, err := c.Next(t.Context()); !errors.Is(err, tc.err) {
					t.Errorf("Next = %v, want %v", err, tc.err)
				}
			}
			select {
			case <-c.Done():
			default:
				t.Error("the connection is still open")
			}
		})
	}
}

func TestUnknownFrameTypesComeThroughWhateverTheirMembers(t *testing.T) {
	const raw = `{"type":"recall","id":["a","b"],"ping":"x"}`
	c := dialFake(t, func(p *peer) { p.upgrade(text(raw)); p.wantClose(1000) })
	f, err := c.Next(t.Context())
	if err != nil || f.Type != "recall" || string(f.Raw) != raw {
		t.Errorf("Next = %+v, %v", f, err)
	}
}

func TestCloseFrameIsAnsweredAndReturned(t *testing.T) {
	for _, tc := range []struct {
		code       int
		reason     string
		want       int
		retryAfter time.Duration
	}{
		{1001, "retry_ms=1500", 1001, 1500 * time.Millisecond},
		{1013, "slow consumer, retry_ms=0", 1013, 0},
		{1013, "retry_ms=-1", 1013, -1},
		{1001, "retry_ms=4000000000", 1001, time.Hour},
		{1001, "retry_ms=99999999999999999999", 1001, -1},
		{4100, "bye", 4100, -1},
		{0, "", 1005, -1},
	} {
		c := dialFake(t, func(p *peer) { p.upgrade(); p.close(tc.code, tc.reason) })
		_, err := c.Next(t.Context())
		var closed *CloseError
		if !errors.As(err, &closed) || closed.Code != tc.want || closed.Reason != tc.reason || closed.RetryAfter != tc.retryAfter {
			t.Errorf("Next after %d %q = %#v, want code %d and retry after %v", tc.code, tc.reason, err, tc.want, tc.retryAfter)
		}
	}
}

func TestClosingTCPIsLeftToTheServerForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dialFake(t, func(p *peer) {
			p.upgrade()
			p.close(1001, "")
			start := time.Now()
			p.wantEnd()
			if after := time.Since(start); after != lingerTimeout {
				t.Errorf("the client has closed TCP %v after its close frame, want %v", after, lingerTimeout)
			}
		})
		if _, err := c.Next(t.Context()); !isClose(err, 1001) {
			t.Errorf("Next = %v", err)
		}
	})
}

func TestEndWithoutCloseFrameIsUnexpected(t *testing.T) {
	c := dialFake(t, func(p *peer) { p.upgrade(text(welcomeFrame)[:10]) })
	if _, err := c.Next(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Next = %v", err)
	}
}

func TestCloseDoesNotWaitLongForAServerThatIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		c := dialFake(t, func(p *peer) { p.upgrade(); <-gone })
		start := time.Now()
		if err := c.Close(1000, ""); err == nil {
			t.Error("Close = nil, though nobody has answered")
		}
		if took := time.Since(start); took > closeTimeout {
			t.Errorf("Close took %v", took)
		}
		close(gone)
	})
}

func TestWriteThatIsStuckEndsTheConnectionAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		c := dialFake(t, func(p *peer) { p.upgrade(); <-gone })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		second := make(chan error)
		start := time.Now()
		go func() {
			time.Sleep(time.Millisecond)
			second <- c.SendText(ctx, nil)
		}()
		err := c.SendText(t.Context(), []byte("stuck"))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != writeTimeout {
			t.Errorf("SendText = %v after %v", err, time.Since(start))
		}
		if err := <-second; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("SendText behind it = %v, want its context's error", err)
		}
		if _, next := c.Next(t.Context()); next != err {
			t.Errorf("Next = %v, want the reason %v", next, err)
		}
		close(gone)
	})
}

func TestCloseKeepsItsBoundWhereTheServerAnswersLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dialFake(t, func(p *peer) {
			p.upgrade()
			p.wantClose(1000)
			time.Sleep(closeTimeout - time.Millisecond)
			p.write(closeFrame(1000, ""))
			p.wantEnd()
		})
		start := time.Now()
		if err := c.Close(1000, ""); err != nil {
			t.Errorf("Close = %v, though the server has answered", err)
		}
		if took := time.Since(start); took != closeTimeout {
			t.Errorf("Close took %v, want %v", took, closeTimeout)
		}
	})
}

func TestCloseRefusesWhatDoesNotFitAFrame(t *testing.T) {
	c := dialFake(t, func(p *peer) { p.upgrade(); p.wantEnd() })
	if err := c.Close(1000, strings.Repeat("x", 124)); err == nil {
		t.Error("a reason of 124 bytes was taken")
	}
}

func TestPingWaitsForItsPong(t *testing.T) {
	c := dialFake(t, func(p *peer) {
		p.upgrade()
		p.want(ws.OpPing, "1")
		p.write(frame(ws.NewPongFrame([]byte("another"))))
		p.write(frame(ws.NewPongFrame([]byte("1"))))
		p.want(ws.OpPing, "2")
		p.close(1001, "")
	})
	read := make(chan error)
	go func() {
		_, err := c.Next(t.Context())
		read <- err
	}()
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v", err)
	}
	if err := c.Ping(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Ping at the end of the connection = %v", err)
	}
	if err := <-read; !isClose(err, 1001) {
		t.Errorf("Next = %v", err)
	}
}

func TestRefusedHandshakeTellsWhatTheAnswerSays(t *testing.T) {
	for _, tc := range []struct {
		status  int
		body    string
		headers []string
		want    HandshakeError
		final   bool
	}{
		{401, `{"error":"no_user","reason":"who are you?"}`, nil, HandshakeError{401, "no_user", "who are you?", 0}, true},
		{503, `{"error":"unavailable","reason":"no Redis"}`, []string{"Retry-After: 7"}, HandshakeError{503, "unavailable", "no Redis", 7 * time.Second}, false},
		{429, `<html>`, []string{"Date: Mon, 02 Jan 2006 15:04:05 GMT", "Retry-After: Mon, 02 Jan 2006 15:05:05 GMT"}, HandshakeError{429, "", "", time.Minute}, false},
		{429, `{"error":1}`, []string{"Retry-After: soon"}, HandshakeError{429, "", "", 0}, false},
		{502, strings.Repeat("x", 100_000), []string{"Retry-After: 999999999"}, HandshakeError{502, "", "", time.Hour}, false},
		{400, ``, nil, HandshakeError{Status: 400}, true},
		{403, ``, nil, HandshakeError{Status: 403}, true},
		{404, ``, nil, HandshakeError{Status: 404}, true},
		{408, ``, nil, HandshakeError{Status: 408}, false},
		{426, ``, nil, HandshakeError{Status: 426}, true},
		{501, ``, nil, HandshakeError{Status: 501}, true},
		{505, ``, nil, HandshakeError{Status: 505}, true},
		{200, ``, nil, HandshakeError{Status: 200}, true},
		{302, ``, []string{"Location: http://elsewhere/"}, HandshakeError{Status: 302}, true},
	} {
		pod := newFakePod(t, func(p *peer) { p.refuse(tc.status, tc.body, tc.headers...) })
		_, err := Dial(t.Context(), pod.options())
		var refused *HandshakeError
		if !errors.As(err, &refused) || *refused != tc.want || refused.Final() != tc.final {
			t.Errorf("Dial answered %d %v = %#v, want %#v, final %v", tc.status, tc.headers, err, tc.want, tc.final)
		}
	}
}

func TestDialGivesUpOnAServerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := func(p *peer) { p.readRequest(); p.wantEnd() }
		pod := newFakePod(t, deaf, deaf)
		if _, err := Dial(t.Context(), pod.options()); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial = %v, want an error that is not a context's", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Dial(ctx, pod.options()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial = %v, want its context's error", err)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{URL: "ws://h/ws"}
	for want, change := range map[string]func(o *Options){
		"URL":              func(o *Options) { o.URL = "" },
		"http":             func(o *Options) { o.URL = "http://h/ws" },
		"%zz":              func(o *Options) { o.URL = "ws://h/%zz" },
		"#":                func(o *Options) { o.URL = "ws://h/ws#a" },
		"Grace":            func(o *Options) { o.Grace = -1 },
		"HandshakeTimeout": func(o *Options) { o.HandshakeTimeout = -1 },
		"Backoff.Min":      func(o *Options) { o.Backoff.Min = -1 },
		"Backoff.Max":      func(o *Options) { o.Backoff = Backoff{Min: 2, Max: 1} },
		"ReadLimit":        func(o *Options) { o.ReadLimit = -1 },
		"ReadBuffer":       func(o *Options) { o.ReadBuffer = 15 },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "client: ") {
			t.Errorf("New = %v, want an error about %s", err, want)
		}
	}
	if _, err := New(good); err != nil {
		t.Errorf("New = %v", err)
	}
}
