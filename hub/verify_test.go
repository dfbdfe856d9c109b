package hub

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"pushpod/auth"
	client "pushpod/clients/go"
	"pushpod/conn"
	"pushpod/presence"
)

const tokenSecret = auth.Secret("a secret of at least thirty-two bytes")

// issuer signs tokens whose key an endpoint names, in an answer that may be held up.
type issuer struct {
	key  *ecdsa.PrivateKey
	url  string
	hold atomic.Pointer[chan struct{}] // the endpoint answers once it is closed; nil: at once
	down atomic.Bool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	public, err := jwkset.NewJWKFromKey(&key.PublicKey, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "k"}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hold := i.hold.Load(); hold != nil {
			select {
			case <-*hold:
			case <-r.Context().Done():
			}
		}
		if i.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		m := public.Marshal()
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":%q,"y":%q}]}`, m.X, m.Y)
	}))
	t.Cleanup(s.Close)
	i.url = s.URL
	return i
}

func (i *issuer) token(t *testing.T, user string, lasts time.Duration) string {
	t.Helper()
	return i.tokenWith(t, map[string]any{"sub": user, "exp": time.Now().Add(lasts).Unix()})
}

func (i *issuer) tokenWith(t *testing.T, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims(claims))
	token.Header["kid"] = "k"
	text, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func hsToken(t *testing.T, claims map[string]any) string {
	t.Helper()
	token, err := auth.Issue(tokenSecret, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func inAnHour() int64 { return time.Now().Add(time.Hour).Unix() }

// startTokenPod starts a pod that wants tokens, of the issuer too where there is one.
func startTokenPod(t *testing.T, i *issuer, change func(*Options)) *pod {
	t.Helper()
	return startTokenPodWith(t, i, change, set{conn: func(*conn.Options) {}})
}

// startTokenPodWith is startTokenPod with more that is changed; s.hub is not asked.
func startTokenPodWith(t *testing.T, i *issuer, change func(*Options), s set) *pod {
	t.Helper()
	o := auth.Options{Rules: auth.Rules{Secret: tokenSecret, RequireExp: true}, ValidID: func(id string) bool { return presence.ValidUser(id) == nil }}
	if i != nil {
		o.JWKSURL = i.url
	}
	tokens, err := auth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var runs sync.WaitGroup
	runs.Go(func() { tokens.Run(ctx) })
	t.Cleanup(func() { cancel(); runs.Wait() })
	s.hub = func(o *Options) {
		o.Tokens, o.Cookie = tokens, "session"
		if change != nil {
			change(o)
		}
	}
	more := s.conn
	s.conn = func(o *conn.Options) {
		o.Headers = auth.HeaderFields()
		more(o)
	}
	return startPod(t, s)
}

// A handshake that is refused off the loop is no connection that was closed.
func TestARefusedTokenIsNoClosedConnection(t *testing.T) {
	t.Parallel()
	var log logLines
	i := newIssuer(t)
	p := startTokenPod(t, i, func(o *Options) { o.Log = zerolog.New(&log) })
	p.wantNoToken(bearer(i.token(t, "alice", -time.Hour)), http.StatusUnauthorized, "expired")
	p.eventually("the refusal is logged", func() bool { return strings.Contains(log.String(), "handshake refused") })
	p.eventually("it has ended", func() bool { return p.server.Len() == 0 })
	p.wantToken("alice", bearer(i.token(t, "alice", time.Hour))).close()
	p.eventually("the other's end is logged", func() bool { return strings.Contains(log.String(), "connection closed") })
	if n := strings.Count(log.String(), "connection closed"); n != 1 || strings.Contains(log.String(), `"user":""`) {
		t.Errorf("%d connections are said to have closed:\n%s", n, log.String())
	}
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// wantToken holds that a token lets a user in.
func (p *pod) wantToken(user string, h http.Header) *wsClient {
	p.t.Helper()
	raw, err := p.dial("", h)
	if err != nil {
		p.t.Fatalf("%s is refused: %v", user, err)
	}
	c := &wsClient{Conn: raw, t: p.t}
	p.clients = append(p.clients, c)
	if f := c.next("the welcome"); f.Type != "welcome" || f.User != user {
		p.t.Fatalf("the first frame is %s, want the welcome of %s", f.Raw, user)
	}
	return c
}

// wantNoToken holds that a token is refused, by a plain GET too.
func (p *pod) wantNoToken(h http.Header, status int, reason string) {
	p.t.Helper()
	c, err := p.dial("", h)
	if err == nil {
		c.Close(0, "")
	}
	if refused, ok := err.(*client.HandshakeError); !ok || refused.Status != status {
		p.t.Errorf("handshake: %v, want status %d", err, status)
	}
	if got, body := p.getWith(h); got != status || !strings.Contains(body, reason) {
		p.t.Errorf("a plain GET: %d %s, want %d and %q", got, body, status, reason)
	}
}

func (p *pod) getWith(h http.Header) (int, string) {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+p.server.Addr().String()+conn.Path+"?user=mallory", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header = h.Clone()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body)
}

// atTheGate is how many are in, or about to be.
func (p *pod) atTheGate() int {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	return p.gate.total
}

func TestTokenSaysWhoConnects(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	p := startTokenPod(t, i, nil)
	hs := hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour()})
	es := i.token(t, "bob", time.Hour)
	for user, token := range map[string]string{"alice": hs, "bob": es} {
		for name, h := range map[string]http.Header{
			"Authorization": bearer(token),
			"cookie":        {"Cookie": {"a=b; session=" + token}},
			"subprotocol":   {"Sec-WebSocket-Protocol": {"bearer." + token}}, // beside the client's own
		} {
			c := p.wantToken(user, h)
			c.close()
			if got, body := p.getWith(h); got != http.StatusUpgradeRequired {
				t.Errorf("%s, %s: a plain GET: %d %s", user, name, got, body)
			}
		}
		p.eventually("all have left", func() bool { return p.Len() == 0 && len(p.entries(user)) == 0 })
	}
	p.wantNoToken(http.Header{}, http.StatusUnauthorized, "missing")
	p.wantNoToken(bearer(hs+"="), http.StatusUnauthorized, "malformed")
	p.wantNoToken(bearer(hsToken(t, map[string]any{"sub": "alice", "exp": 1})), http.StatusUnauthorized, "expired")
	p.wantNoToken(bearer(hsToken(t, map[string]any{"sub": "alice"})), http.StatusUnauthorized, "exp")
	p.wantNoToken(bearer(hsToken(t, map[string]any{"sub": "}a", "exp": inAnHour()})), http.StatusUnauthorized, "user id")
	p.wantNoToken(bearer(newIssuer(t).token(t, "bob", time.Hour)), http.StatusUnauthorized, "signature")
	p.wantNoToken(http.Header{"Authorization": {"Bearer x"}, "Cookie": {"session=" + hs}}, http.StatusUnauthorized, "malformed")
	for _, r := range []string{"http://example.com", "null"} {
		p.wantNoToken(http.Header{"Authorization": {"Bearer " + hs}, "Origin": {r}}, http.StatusForbidden, "origin")
	}
	p.eventually("nobody is counted", func() bool { return p.atTheGate() == 0 })
}

func TestConnectionEndsWhenItsTokenExpires(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	p := startTokenPod(t, i, nil)
	tokens := []string{hsToken(t, map[string]any{"sub": "alice", "exp": time.Now().Unix() + 3}), i.token(t, "bob", 3*time.Second)}
	clients := []*wsClient{p.wantToken("alice", bearer(tokens[0])), p.wantToken("bob", bearer(tokens[1]))}
	for n, c := range clients {
		c.wantClosed(4000, "token expired")
		p.wantNoToken(bearer(tokens[n]), http.StatusUnauthorized, "expired")
	}
}

// A token whose key must be fetched first holds nobody up, and is in nobody's way when
// its client leaves meanwhile.
func TestTokensWaitForTheirKeysOffTheLoops(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	hold := make(chan struct{})
	i.hold.Store(&hold)
	p := startTokenPod(t, i, nil)
	h := bearer(i.token(t, "bob", time.Hour))
	gone, err := http.NewRequest(http.MethodGet, "http://"+p.server.Addr().String()+conn.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	gone = gone.WithContext(ctx)
	gone.Header = h.Clone()
	for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		gone.Header.Set(name, value)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		if r, err := http.DefaultClient.Do(gone); err == nil {
			r.Body.Close()
			t.Errorf("one that left is answered: %d", r.StatusCode)
		}
	}()
	p.eventually("it is at the gate", func() bool { return p.atTheGate() == 1 })
	p.wantToken("alice", bearer(hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour()}))).close()
	cancel()
	<-left
	p.eventually("both have left", func() bool { return p.atTheGate() == 0 })
	close(hold)
	p.wantToken("bob", h)
	if n := p.Len(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestTokensWhoseKeysCannotBeFetchedAreUnavailable(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	i.down.Store(true)
	p := startTokenPod(t, i, func(o *Options) { o.Origins = auth.NewOrigins([]string{"https://*.example.com"}) })
	p.wantNoToken(bearer(i.token(t, "bob", time.Hour)), http.StatusServiceUnavailable, "looked up")
	h := bearer(hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour()}))
	h.Set("Origin", "https://app.example.com")
	p.wantToken("alice", h)
	h.Set("Origin", "http://127.0.0.1:3000")
	p.wantNoToken(h, http.StatusForbidden, "origin")
}

func TestFreshTokenKeepsTheConnection(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	p := startTokenPod(t, i, nil)
	until := func(user string, exp int64) string { return hsToken(t, map[string]any{"sub": user, "exp": exp}) }
	soon := time.Now().Unix() + 4
	c := p.wantToken("alice", bearer(until("alice", soon)))
	d := p.wantToken("alice", bearer(until("alice", soon)))
	token := func(c *wsClient, frame, want string) {
		t.Helper()
		c.send(frame)
		if f := c.next("an answer to " + frame); f.Status+f.Error != want {
			t.Errorf("%.60s: %s, want %q", frame, f.Raw, want)
		}
	}
	frame := func(token string) string { return `{"type":"token","id":"1","token":"` + token + `"}` }
	for text, want := range map[string]string{
		frame(until("bob", inAnHour())):             "rejectednot_allowed",
		frame(until("alice", 1)):                    "rejectednot_allowed",
		frame("x"):                                  "rejectednot_allowed",
		frame(i.token(t, "bob", time.Hour)):         "rejectednot_allowed",
		frame(i.token(t, "alice", time.Hour) + "A"): "rejectednot_allowed",
		`{"type":"token","id":"1"}`:                 "rejectedbad_frame",
		`{"type":"token","token":"x"}`:              "bad_frame",
		`{"type":"token","id":"1","token":7}`:       "rejectedbad_frame",
	} {
		token(c, text, want)
	}
	token(c, frame(i.token(t, "alice", time.Hour)), "accepted")
	token(d, frame(until("alice", inAnHour())), "accepted")
	time.Sleep(time.Until(time.Unix(soon, 0)) + 500*time.Millisecond)
	for _, one := range []*wsClient{c, d} { // after the first token's time
		token(one, frame(until("alice", time.Now().Unix()+2)), "accepted")
		one.wantClosed(4000, "token expired")
	}
}

func TestTokenFramesAreForThoseWhoCameByToken(t *testing.T) {
	t.Parallel()
	c := startPod(t, set{}).connect("alice")
	c.send(`{"type":"token","id":"1","token":"x"}`)
	if f := c.next("an answer"); f.Error != errorUnknownType {
		t.Errorf("%s", f.Raw)
	}
}

// One client must not keep the others from having their tokens verified.
func TestOneTokenOfAConnectionIsVerifiedAtATime(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	hold := make(chan struct{})
	i.hold.Store(&hold)
	p := startTokenPod(t, i, nil)
	hs := hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour()})
	es := i.token(t, "alice", time.Hour) // waits for the endpoint
	c, d := p.wantToken("alice", bearer(hs)), p.wantToken("alice", bearer(hs))
	send := func(c *wsClient, id, token string) {
		t.Helper()
		c.send(`{"type":"token","id":"` + id + `","token":"` + token + `"}`)
	}
	want := func(c *wsClient, id, why string) {
		t.Helper()
		if gotID, got := c.receipt(); gotID != id || got != why {
			t.Errorf("the receipt of %s: %q, want that of %s: %q", gotID, got, id, why)
		}
	}
	send(c, "first", es)
	send(d, "another's", es)
	for range 10 {
		send(c, "more", es)
		want(c, "more", "rate")
	}
	send(c, "cheap", hs)
	want(c, "cheap", "")
	close(hold)
	want(c, "first", "")
	want(d, "another's", "")
	for range 3 { // as soon as there is the answer
		send(c, "next", es)
		want(c, "next", "")
	}
	send(c, "bad", newIssuer(t).token(t, "alice", time.Hour))
	want(c, "bad", "not_allowed")
	send(c, "and again", es)
	want(c, "and again", "")
	p.refreshing.mu.Lock()
	defer p.refreshing.mu.Unlock()
	if n := len(p.refreshing.all); n != 0 {
		t.Errorf("%d tokens are still being verified", n)
	}
}

// 16 KiB in one field are more than a head may have; what fits is still too large for
// a token.
func TestHugeTokensAreRefused(t *testing.T) {
	t.Parallel()
	p := startTokenPod(t, nil, nil)
	of := func(n int) string {
		token := hsToken(t, map[string]any{"sub": "alice", "exp": inAnHour(), "x": strings.Repeat("x", n*3/4)})
		return token
	}
	p.wantNoToken(bearer(of(16<<10)), http.StatusRequestHeaderFieldsTooLarge, "head")
	p.wantNoToken(bearer(of(9<<10)), http.StatusUnauthorized, "too large")
	p.wantNoToken(http.Header{"Cookie": {"session=" + of(9<<10)}}, http.StatusUnauthorized, "too large")
	p.wantToken("alice", bearer(of(5<<10)))
}
