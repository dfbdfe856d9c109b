package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// numbered returns a Token that numbers its tokens: t1, t2, …
func numbered() func(context.Context) (string, error) {
	var n atomic.Int32
	return func(context.Context) (string, error) { return fmt.Sprint("t", n.Add(1)), nil }
}

// wantBearer has a script check the token of its handshake.
func wantBearer(token string, play func(p *peer) *http.Request) func(p *peer) {
	return func(p *peer) {
		if got := play(p).Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+token {
			p.t.Errorf("Authorization is %q, want the token %s", got, token)
		}
	}
}

func TestEachAttemptComesWithAFreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := func(status int) func(p *peer) *http.Request {
			return func(p *peer) *http.Request {
				r := p.readRequest()
				_, _ = fmt.Fprintf(p.conn, "HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n", status)
				return r
			}
		}
		closed := func(lasting time.Duration, code int) func(p *peer) *http.Request {
			return func(p *peer) *http.Request {
				r := p.upgrade(text(quietWelcome))
				time.Sleep(lasting)
				p.close(code, "")
				return r
			}
		}
		pod := newFakePod(t,
			wantBearer("t1", refused(401)),            // at once
			wantBearer("t2", refused(401)),            // the fresh one is refused too: backs off
			wantBearer("t3", refused(401)),            // and more so
			wantBearer("t4", closed(time.Hour, 4000)), // it had lasted: at once
			wantBearer("t5", closed(0, 4000)),         // it had not
			wantBearer("t6", closed(time.Second, 4001)),
			wantBearer("t7", refused(503)),
			wantBearer("t8", func(p *peer) *http.Request { r := p.upgrade(text(quietWelcome)); goodbye(p); return r }),
		)
		o := pod.options()
		o.Token = numbered()
		o.Header = http.Header{"Authorization": {"Bearer old"}, "X-More": {"1"}}
		r := run(t.Context(), t, o)
		time.Sleep(2 * time.Hour)
		r.Close()
		r.wantResult(isNil)
		const ms = time.Millisecond
		r.wantWaits("after each end", 0, 500*ms, 1000*ms, 0, 500*ms, 0, 1000*ms)
		if got := o.Header.Get("Authorization"); got != "Bearer old" {
			t.Errorf("the caller's header was changed to %q", got)
		}
	})
}

func TestTokenThatCannotBeHadIsAFailureToConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("issuer is down")
		answers := []struct {
			token string
			err   error
		}{{"", down}, {"", nil}, {"a b", nil}, {"a\r\nX: y", nil}, {"ü", nil}, {"good", nil}}
		n := 0
		var failed []error
		pod := newFakePod(t, stays)
		o := pod.options()
		o.Token = func(context.Context) (string, error) { n++; return answers[n-1].token, answers[n-1].err }
		o.Backoff = Backoff{Min: time.Second, Max: time.Second}
		o.OnRetry = func(err error, _ time.Duration) { failed = append(failed, err) }
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error)
		go func() { result <- c.Run(t.Context()) }()
		time.Sleep(time.Minute)
		c.Close()
		if err := <-result; err != nil {
			t.Errorf("Run = %v", err)
		}
		if len(failed) != 5 || pod.dials() != 1 || !errors.Is(failed[0], down) {
			t.Errorf("failures are %v, %d dials", failed, pod.dials())
		}
		for i, err := range failed {
			if !errors.Is(err, ErrToken) || answers[i].token != "" && strings.Contains(err.Error(), answers[i].token) {
				t.Errorf("%q: %v", answers[i].token, err)
			}
		}
	})
}

func TestTokenEndsWithTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newFakePod(t).options()
		o.Token = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		r := run(t.Context(), t, o)
		synctest.Wait()
		r.Close()
		r.wantResult(isNil)
	})
}

func TestDialSendsTheToken(t *testing.T) {
	pod := newFakePod(t, wantBearer("t1", func(p *peer) *http.Request { r := p.welcome(); p.wantEnd(); return r }))
	o := pod.options()
	o.Token = numbered()
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.NetConn().Close()
}

// wantToken reads a token frame and returns its id.
func (p *peer) wantToken(token string) (id string) {
	p.t.Helper()
	_, payload, err := p.read()
	f, bad := parseFrame(payload)
	if err != nil || bad != nil || f.Type != "token" || !strings.Contains(string(payload), `"token":"`+token+`"`) {
		p.t.Errorf("from the client: %s, want a token frame with %s", payload, token)
	}
	return f.ID
}

func TestRefreshSendsATokenAndWaitsForItsReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := newFakePod(t,
			func(p *peer) { // t1
				p.upgrade(text(quietWelcome))
				p.send(receipt(p.wantToken("t2"), `"status":"accepted"`))
				p.send(receipt(p.wantToken("t3"), `"status":"rejected","error":"not_allowed","reason":"expired"`))
				p.wantToken("t4") // and the line is cut
			},
			func(p *peer) { // t5
				p.upgrade(text(quietWelcome))
				p.send(receipt(p.wantToken("t4"), `"status":"accepted"`))
				goodbye(p)
			},
		)
		o := pod.options()
		o.Token = numbered()
		r := run(t.Context(), t, o)
		synctest.Wait()
		if err := r.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh = %v", err)
		}
		var rejected *RejectedError
		if err := r.Refresh(t.Context()); !errors.As(err, &rejected) || rejected.Code != "not_allowed" {
			t.Errorf("a bad one: Refresh = %v", err)
		}
		if err := r.Refresh(t.Context()); err != nil {
			t.Errorf("over the next connection: Refresh = %v", err)
		}
		r.Close()
		r.wantResult(isNil)
		if err := r.Refresh(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: Refresh = %v", err)
		}
		if len(r.receipts) != 0 {
			t.Errorf("%d receipts are still waited for", len(r.receipts))
		}
	})
}

func TestRefreshNeedsAToken(t *testing.T) {
	c, err := New(newFakePod(t).options())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(t.Context()); !errors.Is(err, ErrToken) {
		t.Errorf("Refresh = %v", err)
	}
}
