package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
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
)

// endpoint is a JWKS endpoint whose answer may change.
type endpoint struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int32
}

func newEndpoint(t *testing.T, answer http.HandlerFunc) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.set(answer)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		(*e.answer.Load())(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) set(answer http.HandlerFunc) { e.answer.Store(&answer) }

func text200(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// newRemoteVerifier makes a Verifier that knows an endpoint alone, in a hurry.
func newRemoteVerifier(t *testing.T, e *endpoint, change func(*Verifier)) *Verifier {
	t.Helper()
	v := newVerifier(t, func(o *Options) { o.JWKSURL = e.URL })
	v.remote.timing = timing{pace: time.Millisecond, request: 5 * time.Second, wait: 5 * time.Second, refresh: time.Hour, retry: time.Hour}
	if change != nil {
		change(v)
	}
	return v
}

func es256(t testing.TB, kid string) string {
	return sign(t, "ES256", `{"alg":"ES256","kid":`+quote(kid)+`}`, goodClaims, theKeys().p256)
}

func TestUnknownKeyIsFetched(t *testing.T) {
	p := theKeys()
	e := newEndpoint(t, text200(jwks(jwk(t, "a", p.p256, nil))))
	v := newRemoteVerifier(t, e, nil)
	run(t, v)
	wantUser(t, v, es256(t, "a"), "alice") // waits for the first answer
	first := e.asked.Load()
	wantUser(t, v, es256(t, "a"), "alice")
	wantUser(t, v, sign(t, "ES256", `{"alg":"ES256"}`, goodClaims, p.p256), "alice")
	wantRefused(t, v, sign(t, "EdDSA", `{"alg":"EdDSA","kid":"a"}`, goodClaims, p.ed25519), ErrKey)
	wantRefused(t, v, es256(t, "a")+"AA", ErrSignature)
	wantRefused(t, v, sign(t, "HS256", `{"alg":"HS256","kid":"b"}`, goodClaims, []byte(pemOf(t, p.p256))), ErrSignature)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	wantRefused(t, v, sign(t, "ES256", `{"alg":"ES256"}`, goodClaims, other), ErrSignature)
	if n := e.asked.Load(); n != first {
		t.Errorf("asked %d times more for what is known", n-first)
	}
	wantRefused(t, v, es256(t, "b"), ErrKey)
	e.set(text200(jwks(jwk(t, "b", p.p256, nil))))
	wantUser(t, v, es256(t, "b"), "alice")
	wantRefused(t, v, es256(t, "a"), ErrKey) // it was taken out
}

func TestKeysHoldWhileTheEndpointFails(t *testing.T) {
	p := theKeys()
	good := jwks(jwk(t, "a", p.p256, nil))
	elsewhere := newEndpoint(t, text200(good))
	for name, answer := range map[string]http.HandlerFunc{
		"status":        func(w http.ResponseWriter, _ *http.Request) { http.Error(w, good, http.StatusInternalServerError) },
		"no JSON":       text200("<html>" + good),
		"cut off":       text200(good[:len(good)-5]),
		"not an object": text200("[" + good + "]"),
		"no keys":       text200(`{"keys":[]}`),
		"no key of use": text200(`{"keys":[{"kty":"XY"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`),
		"secrets":       text200(jwks(jwk(t, "b", []byte(testSecret), nil))),
		"empty":         text200(""),
		"huge":          text200(strings.Repeat(" ", maxKeyBytes) + jwks(jwk(t, "b", p.p256, nil))),
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 1<<16))
			}
		},
		"slow": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"slow body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, good[:9])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"hangs up":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"goes in circles": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
		"leads off": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "example.invalid", 1), http.StatusFound)
		},
		"leads to a file": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, text200(good))
			v := newRemoteVerifier(t, e, func(v *Verifier) { v.remote.timing.request = 100 * time.Millisecond })
			run(t, v)
			eventually(t, "the keys are known", func() bool { return v.remote.keys.Load() != nil })
			e.set(answer)
			wantRefused(t, v, es256(t, "b"), ErrUnavailable)
			wantUser(t, v, es256(t, "a"), "alice")
			e.set(text200(jwks(jwk(t, "b", p.p256, nil))))
			wantUser(t, v, es256(t, "b"), "alice")
		})
	}
}

func TestKeysOfNoUseAreNoFault(t *testing.T) {
	p := theKeys()
	e := newEndpoint(t, text200(jwks(
		jwk(t, "s", []byte(testSecret+"?"), nil),
		jwk(t, "p", p.ed25519, func(k *jwkset.JWKMarshal) { k.D = "AAAA" }),
		jwk(t, "e", p.p384, func(k *jwkset.JWKMarshal) { k.USE = "enc" }),
		jwkset.JWKMarshal{KTY: "new", KID: "n"},
		jwk(t, "a", p.p256, nil))))
	v := newRemoteVerifier(t, e, nil)
	run(t, v)
	wantUser(t, v, es256(t, "a"), "alice")
	wantRefused(t, v, sign(t, "HS256", `{"alg":"HS256","kid":"s"}`, goodClaims, []byte(testSecret+"?")), ErrSignature)
	wantRefused(t, v, sign(t, "EdDSA", `{"alg":"EdDSA","kid":"p"}`, goodClaims, p.ed25519), ErrKey)
	wantRefused(t, v, sign(t, "ES384", `{"alg":"ES384","kid":"e"}`, goodClaims, p.p384), ErrKey)
}

func TestEndpointThatNeverAnsweredMakesTokensUnavailable(t *testing.T) {
	e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusBadGateway) })
	v := newRemoteVerifier(t, e, nil)
	run(t, v)
	wantRefused(t, v, es256(t, "a"), ErrUnavailable)
	wantRefused(t, v, sign(t, "ES256", `{"alg":"ES256"}`, goodClaims, theKeys().p256), ErrUnavailable)
	wantUser(t, v, hs256(t, hsHeader, goodClaims), "alice")
	wantRefused(t, v, sign(t, "HS256", hsHeader, goodClaims, []byte(oldSecret)), ErrSignature)
}

func TestNobodyWaitsForever(t *testing.T) {
	e := newEndpoint(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	v := newRemoteVerifier(t, e, func(v *Verifier) { v.remote.timing.wait = 20 * time.Millisecond })
	wantRefused(t, v, es256(t, "a"), ErrUnavailable) // nobody runs it
	run(t, v)
	wantRefused(t, v, es256(t, "a"), ErrUnavailable)

	v.remote.timing.wait = time.Hour
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := v.Verify(ctx, es256(t, "a")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	v.remote.waiting.Store(maxWaiting)
	wantRefused(t, v, es256(t, "a"), ErrUnavailable)
	v.remote.waiting.Store(0)
}

// TestEndpointIsAskedAtAPace counts requests over a time of which it only takes the
// least: a slow machine asks less often.
func TestEndpointIsAskedAtAPace(t *testing.T) {
	e := newEndpoint(t, text200(jwks(jwk(t, "a", theKeys().p256, nil))))
	const pace = 50 * time.Millisecond
	v := newRemoteVerifier(t, e, func(v *Verifier) { v.remote.timing.pace = pace })
	began := time.Now()
	run(t, v)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 4 {
				wantRefused(t, v, es256(t, fmt.Sprintf("x%d-%d", i, n)), ErrKey)
			}
		})
	}
	all.Wait()
	if most := 1 + int32(time.Since(began)/pace); e.asked.Load() > most || e.asked.Load() < 4 {
		t.Errorf("asked %d times, want 4 to %d", e.asked.Load(), most)
	}
	wantUser(t, v, es256(t, "a"), "alice")
}

func TestKeysAreFetchedAgainByAndBy(t *testing.T) {
	p := theKeys()
	e := newEndpoint(t, text200(jwks(jwk(t, "a", p.p256, nil))))
	v := newRemoteVerifier(t, e, func(v *Verifier) {
		v.remote.timing.refresh = time.Millisecond
		v.remote.timing.retry = time.Millisecond
	})
	run(t, v)
	wantUser(t, v, es256(t, "a"), "alice")
	e.set(text200("?"))
	before := e.asked.Load()
	eventually(t, "it is asked again though it fails", func() bool { return e.asked.Load() > before+2 })
	e.set(text200(jwks(jwk(t, "b", p.p256, nil))))
	eventually(t, "what was taken out is forgotten", func() bool { return (*v.remote.keys.Load())[0].id == "b" })
}

func TestWhatIsSaidOfTheEndpointShowsNoURL(t *testing.T) {
	e := newEndpoint(t, text200("?"))
	said := make(chan string, 16)
	v := newVerifier(t, func(o *Options) {
		o.JWKSURL = strings.Replace(e.URL, "http://", "http://user:password@", 1) + "/?key=hush"
		o.Log = func(what string, err error) { said <- fmt.Sprint(what, err) }
	})
	v.remote.timing.retry = time.Millisecond
	v.remote.timing.pace = time.Millisecond
	run(t, v)
	lines := <-said
	e.CloseClientConnections()
	e.Close()
	lines += <-said
	for _, secret := range []string{"password", "hush"} {
		if strings.Contains(lines, secret) {
			t.Errorf("%q is shown: %s", secret, lines)
		}
	}
	for _, address := range []string{"http://keys.example/", "ftp://127.0.0.1/", "file:///etc/keys", "keys", "", "https://", "http://127.0.0.1.example/", "http://user:password@x.example/ \x7f"} {
		if err := checkURL(address); err == nil || strings.Contains(err.Error(), "password") {
			t.Errorf("%q: %v", address, err)
		}
	}
	if to, _ := http.NewRequest(http.MethodGet, "http://keys.example/", nil); v.remote.client.CheckRedirect(to, nil) == nil {
		t.Error("it may lead to where anybody between can name keys")
	}
	for _, address := range []string{"https://keys.example/", "http://localhost:1/", "http://[::1]:1/k"} {
		if err := checkURL(address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}
