package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	client "pushpod/clients/go"
	"pushpod/conn"
	"pushpod/presence"
)

func TestSessionIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(session{}); n > 80 {
		t.Errorf("a session takes %d bytes, want 80 at most", n)
	}
}

func (p *pod) set(key, value string) {
	p.t.Helper()
	if err := p.admin.Set(context.Background(), key, value, 0).Err(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pod) del(keys ...string) {
	p.t.Helper()
	if err := p.admin.Del(context.Background(), keys...).Err(); err != nil {
		p.t.Fatal(err)
	}
}

// renewing makes a pod notice soon what speaks against its connections.
func renewing() set {
	return set{conn: func(o *conn.Options) { o.Settings.Renew = 200 * time.Millisecond }}
}

func TestBlockedUsersAreRefusedAndClosed(t *testing.T) {
	t.Parallel()
	p := startPod(t, renewing())
	a, other := p.connect("alice"), p.connect("bob")
	if got := p.get("alice"); got != http.StatusUpgradeRequired {
		t.Errorf("a plain GET gets %d", got)
	}
	p.set("push:block:{alice}", "spam")
	a.wantClosed(4500, "blocked: spam")
	p.wantRefused("alice", http.StatusForbidden)
	long := strings.Repeat("é", 200)
	p.set("push:block:{alice}", long)
	p.wantRefused("alice", http.StatusForbidden)
	p.set("push:block:{bob}", long)
	other.wantClosed(4500, ("blocked: " + long)[:123])
	p.eventually("nobody is present", func() bool { return len(p.entries("alice"))+len(p.entries("bob")) == 0 })
	p.del("push:block:{alice}")
	p.connect("alice")
	if got := p.Hub.Stats().Revoked; got != [presence.GroundCount]uint64{presence.Blocked: 2} {
		t.Errorf("counted: %v", got)
	}
	if got := p.server.Stats().Handshakes[http.StatusForbidden]; got != 4 {
		t.Errorf("%d handshakes were refused with 403, want 4", got)
	}
}

func TestTokensAreWithdrawn(t *testing.T) {
	t.Parallel()
	p := startTokenPodWith(t, nil, nil, renewing())
	now := time.Now().Unix()
	token := func(user, id string, iat int64) http.Header {
		claims := map[string]any{"sub": user, "exp": inAnHour()}
		if id != "" {
			claims["jti"] = id
		}
		if iat != 0 {
			claims["iat"] = iat
		}
		return bearer(hsToken(t, claims))
	}
	named, old, undated := token("alice", "t1", now), token("alice", "", now-100), token("bob", "", 0)
	a, b, c := p.wantToken("alice", named), p.wantToken("alice", old), p.wantToken("bob", undated)
	a.request("1", "1")
	p.set("push:revoked:{t1}", "stolen")
	a.receipt()
	a.wantClosed(4500, "revoked: stolen")
	p.wantNoToken(named, http.StatusUnauthorized, "the token is revoked: stolen")
	p.wantToken("alice", token("alice", "t2", now)).close()
	p.set("push:valid-after:{alice}", fmt.Sprint(now-50))
	b.wantClosed(4500, "revoked: the token was issued too long ago")
	p.wantNoToken(old, http.StatusUnauthorized, "too long ago")
	p.wantToken("alice", token("alice", "", now)).close()
	p.wantToken("bob", undated).close()
	p.set("push:valid-after", "1")
	c.wantClosed(4500, "revoked: the token was issued too long ago")
	p.wantNoToken(undated, http.StatusUnauthorized, "too long ago")
	p.wantToken("bob", token("bob", "", 1)).close()
	p.set("push:valid-after", "soon")
	p.wantNoToken(token("bob", "", 1), http.StatusServiceUnavailable, "")
	p.del("push:valid-after")
	want := [presence.GroundCount]uint64{presence.Revoked: 1, presence.Outdated: 2}
	if got := p.Hub.Stats().Revoked; got != want {
		t.Errorf("counted: %v, want %v", got, want)
	}
}

// A token in the query that has a name lets in one connection, wherever its key comes
// from; one that stands elsewhere lets in any number.
func TestTokensInTheQueryAreForOneConnection(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	p := startTokenPod(t, i, nil)
	dial := func(token string) (*client.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return client.Dial(ctx, client.Options{URL: "ws://" + p.server.Addr().String() + conn.Path + "?token=" + token})
	}
	get := func(token string) int {
		t.Helper()
		r, err := http.Get("http://" + p.server.Addr().String() + conn.Path + "?token=" + token)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.StatusCode
	}
	for name, token := range map[string]string{
		"by a secret": hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour(), "jti": "t1"}),
		"by a key":    i.tokenWith(t, map[string]any{"sub": "alice", "exp": inAnHour(), "jti": "t2"}),
	} {
		for range 3 {
			if got := get(token); got != http.StatusUpgradeRequired {
				t.Errorf("%s: a plain GET gets %d", name, got)
			}
		}
		p.wantToken("alice", bearer(token)).close() // not in the query
		const n = 20
		var tries sync.WaitGroup
		outcomes := make(chan error, n)
		for range n {
			tries.Go(func() {
				c, err := dial(token)
				if err == nil {
					defer c.Close(1000, "")
				}
				outcomes <- err
			})
		}
		tries.Wait()
		in := 0
		for range n {
			err := <-outcomes
			var refused *client.HandshakeError
			switch {
			case err == nil:
				in++
			case !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized:
				t.Errorf("%s: %v", name, err)
			}
		}
		if in != 1 {
			t.Errorf("%s: %d of %d got in, want 1", name, in, n)
		}
		if got := get(token); got != http.StatusUnauthorized {
			t.Errorf("%s: a plain GET of a used token gets %d", name, got)
		}
		p.wantToken("alice", bearer(token)).close()
	}
	unnamed := hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour()})
	for range 3 {
		c, err := dial(unnamed)
		if err != nil {
			t.Fatalf("one without a name: %v", err)
		}
		c.Close(1000, "")
	}
	if n := p.admin.Exists(context.Background(), "push:used:{t1}", "push:used:{t2}").Val(); n != 2 {
		t.Errorf("%d tokens are used, want 2", n)
	}
}

func TestFreshTokenMayBeRevoked(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	p := startTokenPodWith(t, i, nil, renewing())
	claims := func(id string) map[string]any {
		return map[string]any{"sub": "alice", "exp": inAnHour(), "jti": id, "iat": time.Now().Unix()}
	}
	c := p.wantToken("alice", bearer(hsToken(t, claims("t1"))))
	p.set("push:revoked:{t2}", "")
	for name, fresh := range map[string]func(id string) string{
		"by a secret": func(id string) string { return hsToken(t, claims(id)) },
		"by a key":    func(id string) string { return i.tokenWith(t, claims(id)) },
	} {
		c.send(`{"type":"token","id":"1","token":"` + fresh("t2") + `"}`)
		if f := c.next("a receipt"); f.Error != errorNotAllowed || !strings.Contains(f.Reason, "revoked") {
			t.Errorf("%s: a revoked one: %s", name, f.Raw)
		}
		c.send(`{"type":"token","id":"2","token":"` + fresh("t3") + `"}`)
		if _, why := c.receipt(); why != "" {
			t.Errorf("%s: a good one: %s", name, why)
		}
	}
	p.set("push:revoked:{t1}", "") // which it has no more
	time.Sleep(time.Second)        // some renewals
	c.request("3", "1")
	c.receipt()
	p.set("push:revoked:{t3}", "")
	c.wantClosed(4500, "revoked")
}

// While Redis does not answer nothing is decided: a fresh token is taken.
func TestFreshTokenIsTakenWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	p := startTokenPod(t, nil, nil)
	soon := time.Now().Unix() + 4
	c := p.wantToken("alice", bearer(hsToken(t, map[string]any{"sub": "alice", "exp": soon})))
	p.redis.Pause()
	c.send(`{"type":"token","id":"1","token":"` + hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour()}) + `"}`)
	if _, why := c.receipt(); why != "" {
		t.Errorf("it is not taken: %s", why)
	}
	time.Sleep(time.Until(time.Unix(soon+1, 0)))
	p.redis.Resume()
	c.request("2", "1")
	c.receipt()
	p.wantReady()
}
