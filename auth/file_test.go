package auth

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
)

// write replaces a file at once: nobody reads half of it.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// run runs a Verifier until the test ends.
func run(t *testing.T, v *Verifier) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); v.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// eventually waits until what is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func TestKeysFileIsReadAgain(t *testing.T) {
	p := theKeys()
	path := keysFile(t, pemOf(t, p.p256))
	var good, bad atomic.Int32
	v := newVerifier(t, func(o *Options) {
		o.KeysFile = path
		o.Log = func(_ string, err error) {
			if err == nil {
				good.Add(1)
			} else {
				bad.Add(1)
			}
		}
	})
	v.file.Every = time.Millisecond
	run(t, v)
	first := sign(t, "ES256", `{"alg":"ES256"}`, goodClaims, p.p256)
	second := sign(t, "EdDSA", `{"alg":"EdDSA"}`, goodClaims, p.ed25519)
	wantUser(t, v, first, "alice")
	wantRefused(t, v, second, ErrKey)

	whole := pemOf(t, p.ed25519, p.p384)
	for _, broken := range []string{"", whole[:len(whole)/2+40], whole[:100], "{", `{"keys":[]}`, `{"keys":[{"kty":"EC"}]}`, "certainly no key"} {
		before := bad.Load()
		write(t, path, broken)
		eventually(t, "the broken file is said", func() bool { return bad.Load() > before })
		wantUser(t, v, first, "alice")
		wantRefused(t, v, second, ErrKey)
	}
	before := bad.Load()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing file is said", func() bool { return bad.Load() > before })
	wantUser(t, v, first, "alice")
	write(t, path, whole)
	eventually(t, "the new keys are read", func() bool { return good.Load() == 1 })
	wantUser(t, v, second, "alice")
	wantRefused(t, v, first, ErrKey)
	if n := bad.Load(); n > 8 {
		t.Errorf("%d lines of 8 faults: each is said once", n)
	}
}

func TestKeysOfAFile(t *testing.T) {
	p := theKeys()
	ec := jwk(t, "ec", p.p256, nil)
	secret := jwk(t, "s", []byte(testSecret), nil)
	for name, c := range map[string]struct {
		text  string
		keys  int
		wrong string // a part of the error
	}{
		"JWKS":                 {jwks(ec, jwk(t, "r", p.rsa, nil), secret), 3, ""},
		"JWKS with encryption": {jwks(ec, jwk(t, "r", p.rsa, func(k *jwkset.JWKMarshal) { k.USE = "enc" }), jwk(t, "r", p.rsa, func(k *jwkset.JWKMarshal) { k.ALG = "RSA-OAEP" })), 1, ""},
		"two keys of one kid":  {jwks(ec, jwk(t, "ec", p.ed25519, nil)), 2, ""},
		"private JWK":          {jwks(ec, jwk(t, "x", p.p384, func(k *jwkset.JWKMarshal) { k.D = "AAAA" })), 0, "key 2: a private key"},
		"short secret":         {jwks(jwk(t, "s", []byte("tooshort"), nil)), 0, "32 bytes"},
		"alg of another kind":  {jwks(jwk(t, "r", p.rsa, func(k *jwkset.JWKMarshal) { k.ALG = "HS256" })), 0, "another kind"},
		"alg of another curve": {jwks(jwk(t, "r", p.p256, func(k *jwkset.JWKMarshal) { k.ALG = "ES384" })), 0, "another kind"},
		"short RSA":            {jwks(jwk(t, "r", p.rsa, func(k *jwkset.JWKMarshal) { k.N = k.N[:170] })), 0, "2048"},
		"off the curve":        {jwks(jwk(t, "r", p.p256, func(k *jwkset.JWKMarshal) { k.X = k.Y })), 0, "can't be read"},
		"none of use":          {jwks(jwk(t, "r", p.rsa, func(k *jwkset.JWKMarshal) { k.USE = "enc" })), 0, "no key"},
		"too many":             {strings.Repeat(pemOf(t, p.ed25519), 33), 0, "more than 32"},
		"huge":                 {strings.Repeat(" ", maxKeyBytes+1), 0, "more than"},
		"PEM":                  {pemOf(t, p.rsa, p.ed25519), 2, ""},
		"PEM with words":       {"# ours\r\n" + pemOf(t, p.rsa) + "end\n", 1, ""},
		"private PEM":          {strings.ReplaceAll(pemOf(t, p.rsa), "PUBLIC", "PRIVATE"), 0, "private key"},
		"PEM cut off":          {pemOf(t, p.rsa)[:200] + "\n" + pemOf(t, p.rsa), 0, "whole PEM"},
		"other PEM":            {strings.ReplaceAll(pemOf(t, p.rsa), "PUBLIC KEY", "X509 CRL"), 0, "no public key"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New(Options{KeysFile: keysFile(t, c.text), ValidID: validID})
			switch {
			case c.wrong == "" && err != nil:
				t.Fatal(err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("got %v, want an error with %q", err, c.wrong)
			case c.wrong == "" && len(*v.file.keys.Load()) != c.keys:
				t.Errorf("%d keys, want %d", len(*v.file.keys.Load()), c.keys)
			}
		})
	}
	if _, err := New(Options{KeysFile: t.TempDir() + "/none", ValidID: validID}); err == nil {
		t.Error("a missing file: no error")
	}
}

func TestKeyIDChoosesTheKey(t *testing.T) {
	p := theKeys()
	other := []byte(oldSecret)
	v := newVerifier(t, func(o *Options) {
		o.Secret = ""
		o.KeysFile = keysFile(t, jwks(jwk(t, "a", []byte(testSecret), nil), jwk(t, "b", other, nil), jwk(t, "ec", p.p256, nil)))
	})
	wantUser(t, v, hs256(t, `{"alg":"HS256","kid":"a"}`, goodClaims), "alice")
	wantUser(t, v, hs256(t, hsHeader, goodClaims), "alice")
	wantUser(t, v, sign(t, "HS256", `{"alg":"HS256","kid":"b"}`, goodClaims, other), "alice")
	wantRefused(t, v, hs256(t, `{"alg":"HS256","kid":"b"}`, goodClaims), ErrSignature)
	wantRefused(t, v, hs256(t, `{"alg":"HS256","kid":"ec"}`, goodClaims), ErrAlgorithm)
	wantRefused(t, v, hs256(t, `{"alg":"HS256","kid":"A"}`, goodClaims), ErrAlgorithm)
}
