package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	testSecret = Secret("0123456789abcdef0123456789abcdef")
	oldSecret  = Secret("fedcba9876543210fedcba9876543210")
)

// noon is what the tests' clock says.
func noon() time.Time { return time.Unix(1_800_000_000, 0) }

func validID(id string) bool {
	return len(id) <= 256 && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) && !strings.HasPrefix(id, "}")
}

// newVerifier makes a Verifier with the tests' secret, clock and rule, unless change
// says otherwise.
func newVerifier(t testing.TB, change func(*Options)) *Verifier {
	t.Helper()
	o := Options{Rules: Rules{Secret: testSecret, RequireExp: true}, ValidID: validID, Now: noon}
	if change != nil {
		change(&o)
	}
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// private are private keys, made once: RSA keys take long.
type private struct {
	rsa     *rsa.PrivateKey
	p256    *ecdsa.PrivateKey
	p384    *ecdsa.PrivateKey
	p521    *ecdsa.PrivateKey
	ed25519 ed25519.PrivateKey
}

var theKeys = sync.OnceValue(func() private {
	r, err1 := rsa.GenerateKey(rand.Reader, 2048)
	a, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	b, err3 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	c, err4 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, e, err5 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		panic(err)
	}
	return private{r, a, b, c, e}
})

// of returns the private key that signs by an algorithm.
func (p private) of(alg string) crypto.Signer {
	switch alg {
	case "ES256":
		return p.p256
	case "ES384":
		return p.p384
	case "ES512":
		return p.p521
	case "EdDSA":
		return p.ed25519
	}
	return p.rsa
}

func pemOf(t testing.TB, keys ...crypto.Signer) string {
	t.Helper()
	var all strings.Builder
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		_ = pem.Encode(&all, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	return all.String()
}

// jwk writes the public part of a key, with change made to it.
func jwk(t testing.TB, kid string, of any, change func(*jwkset.JWKMarshal)) jwkset.JWKMarshal {
	t.Helper()
	if s, ok := of.(crypto.Signer); ok {
		of = s.Public()
	}
	k, err := jwkset.NewJWKFromKey(of, jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}, Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		t.Fatal(err)
	}
	m := k.Marshal()
	if change != nil {
		change(&m)
	}
	return m
}

func jwks(keys ...jwkset.JWKMarshal) string {
	b, _ := json.Marshal(jwkset.JWKSMarshal{Keys: keys})
	return string(b)
}

func keysFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sign signs a header and claims, as they are written.
func sign(t testing.TB, alg, header, claims string, with any) string {
	t.Helper()
	signed := b64(header) + "." + b64(claims)
	sig, err := jwt.GetSigningMethod(alg).Sign(signed, with)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func hs256(t testing.TB, header, claims string) string {
	t.Helper()
	return sign(t, "HS256", header, claims, []byte(testSecret))
}

const (
	hsHeader   = `{"alg":"HS256","typ":"JWT"}`
	goodClaims = `{"sub":"alice","exp":1800000060}`
)

// wantUser expects that a token is good.
func wantUser(t *testing.T, v *Verifier, token, user string) Identity {
	t.Helper()
	id, err := v.Verify(context.Background(), token)
	if err != nil || id.User != user {
		t.Errorf("got user %q, error %v, want %q", id.User, err, user)
	}
	return id
}

// wantRefused expects that a token is refused, and that the error shows nothing of it.
func wantRefused(t *testing.T, v *Verifier, token string, want error) {
	t.Helper()
	id, err := v.Verify(context.Background(), token)
	if !errors.Is(err, want) || id.User != "" {
		t.Errorf("got user %q, error %v, want %v", id.User, err, want)
	}
	if err == nil {
		return
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("the error shows a part of the token: %v", err)
		}
	}
}

func TestEachAlgorithmIsVerifiedByItsKey(t *testing.T) {
	p := theKeys()
	v := newVerifier(t, func(o *Options) { o.KeysFile = keysFile(t, pemOf(t, p.rsa, p.p256, p.p384, p.p521, p.ed25519)) })
	for _, alg := range []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		var with any = p.of(alg)
		if strings.HasPrefix(alg, "HS") {
			with = []byte(testSecret)
		}
		token := sign(t, alg, `{"alg":"`+alg+`"}`, goodClaims, with)
		wantUser(t, v, token, "alice")
		if v.Cheap(token) != strings.HasPrefix(alg, "HS") {
			t.Errorf("%s: Cheap is %v", alg, v.Cheap(token))
		}
		wantRefused(t, v, sign(t, alg, `{"alg":"`+alg+`"}`, goodClaims, with)[:40]+"x", ErrMalformed)
		head, signature := token[:strings.LastIndex(token, ".")], token[strings.LastIndex(token, ".")+1:]
		changed := strings.Replace(head, b64(goodClaims), b64(`{"sub":"mallory","exp":1800000060}`), 1)
		wantRefused(t, v, changed+"."+signature, ErrSignature)
		wantRefused(t, v, head+".", ErrSignature)
	}
}

func TestKeyDecidesTheAlgorithm(t *testing.T) {
	p := theKeys()
	text := pemOf(t, p.rsa)
	onlyRSA := newVerifier(t, func(o *Options) { o.Secret = ""; o.KeysFile = keysFile(t, text) })
	der, _ := x509.MarshalPKIXPublicKey(p.rsa.Public())
	for _, public := range []string{text, strings.TrimSpace(text), string(der), p.rsa.N.String(), string(p.rsa.N.Bytes())} {
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			wantRefused(t, onlyRSA, sign(t, alg, `{"alg":"`+alg+`"}`, goodClaims, []byte(public)), ErrAlgorithm)
		}
	}
	onlySecret := newVerifier(t, nil)
	wantRefused(t, onlySecret, sign(t, "RS256", `{"alg":"RS256"}`, goodClaims, p.rsa), ErrKey)

	one := newVerifier(t, func(o *Options) {
		o.KeysFile = keysFile(t, jwks(jwk(t, "k", p.rsa, func(k *jwkset.JWKMarshal) { k.ALG = "RS256" })))
	})
	wantUser(t, one, sign(t, "RS256", `{"alg":"RS256","kid":"k"}`, goodClaims, p.rsa), "alice")
	wantRefused(t, one, sign(t, "PS256", `{"alg":"PS256","kid":"k"}`, goodClaims, p.rsa), ErrKey)
	wantRefused(t, one, sign(t, "RS512", `{"alg":"RS512","kid":"k"}`, goodClaims, p.rsa), ErrKey)

	curves := newVerifier(t, func(o *Options) { o.KeysFile = keysFile(t, pemOf(t, p.p384)) })
	forged, _ := (&jwt.SigningMethodECDSA{Name: "ES256", Hash: crypto.SHA256, KeySize: 48, CurveBits: 384}).Sign(b64(`{"alg":"ES256"}`)+"."+b64(goodClaims), p.p384)
	wantRefused(t, curves, b64(`{"alg":"ES256"}`)+"."+b64(goodClaims)+"."+base64.RawURLEncoding.EncodeToString(forged), ErrKey)
}

func TestForgedHeaders(t *testing.T) {
	p := theKeys()
	path := keysFile(t, pemOf(t, p.rsa))
	v := newVerifier(t, func(o *Options) { o.KeysFile = path })
	attacker, _ := rsa.GenerateKey(rand.Reader, 2048)
	theirs, _ := json.Marshal(jwk(t, "x", attacker, nil))
	der, _ := x509.MarshalPKIXPublicKey(attacker.Public())
	rs := func(header string) string { return sign(t, "RS256", header, goodClaims, attacker) }
	hs := func(header string) string { return hs256(t, header, goodClaims) }
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"jwk":                {rs(`{"alg":"RS256","jwk":` + string(theirs) + `}`), ErrSignature},
		"jku":                {rs(`{"alg":"RS256","jku":"http://127.0.0.1:1/keys","kid":"x"}`), ErrSignature},
		"x5u":                {rs(`{"alg":"RS256","x5u":"http://127.0.0.1:1/keys"}`), ErrSignature},
		"x5c":                {rs(`{"alg":"RS256","x5c":["` + base64.StdEncoding.EncodeToString(der) + `"]}`), ErrSignature},
		"crit":               {hs(`{"alg":"HS256","crit":["exp"],"exp":1}`), ErrCritical},
		"crit, empty":        {hs(`{"alg":"HS256","crit":[]}`), ErrCritical},
		"b64":                {hs(`{"alg":"HS256","b64":false,"crit":["b64"]}`), ErrCritical},
		"alg twice":          {hs(`{"alg":"HS256","alg":"none"}`), ErrMalformed},
		"alg twice, escaped": {hs(`{"alg":"none","\u0061lg":"HS256"}`), ErrMalformed},
		"kid twice":          {hs(`{"alg":"HS256","kid":"a","kid":"b"}`), ErrMalformed},
		"typ twice":          {hs(`{"typ":"JWT","alg":"HS256","typ":"JWT"}`), ErrMalformed},
		"no alg":             {hs(`{"typ":"JWT"}`), ErrAlgorithm},
		"ALG":                {hs(`{"ALG":"HS256"}`), ErrAlgorithm},
		"alg is null":        {hs(`{"alg":null}`), ErrMalformed},
		"alg is a number":    {hs(`{"alg":256}`), ErrMalformed},
		"alg is a list":      {hs(`{"alg":["HS256"]}`), ErrMalformed},
		"kid is a number":    {hs(`{"alg":"HS256","kid":1}`), ErrMalformed},
		"kid of 257 bytes":   {hs(`{"alg":"HS256","kid":"` + strings.Repeat("k", 257) + `"}`), ErrMalformed},
		"many parameters":    {hs(`{"alg":"HS256"` + manyMembers(40) + `}`), ErrMalformed},
		"a list":             {hs(`["HS256"]`), ErrMalformed},
		"no JSON":            {hs(`{"alg":"HS256"`), ErrMalformed},
		"more than JSON":     {hs(`{"alg":"HS256"}{}`), ErrMalformed},
		"no UTF-8":           {hs("{\"alg\":\"HS256\",\"a\":\"\xff\"}"), ErrMalformed},
		"a lone surrogate":   {hs(`{"alg":"HS256","kid":"\ud800"}`), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, v, c.token, c.want) })
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "none ", "hs256", "Hs256", "HS256 ", "HS256\\u0000", "", "RS", "HS1", "dir", "A128KW", "ES256K", "Ed25519"} {
		for _, signature := range []string{"", "AA", strings.Split(hs(hsHeader), ".")[2]} {
			_, err := v.Verify(context.Background(), b64(`{"alg":"`+alg+`"}`)+"."+b64(goodClaims)+"."+signature)
			if !errors.Is(err, ErrAlgorithm) && !errors.Is(err, ErrMalformed) {
				t.Errorf("alg %q: %v", alg, err)
			}
		}
	}
	for _, kid := range []string{path, "../../../../dev/null", "/dev/null", "' UNION SELECT 'k'; --", "| id", "http://127.0.0.1:1/", "*", "%00", strings.Repeat("k", 256)} {
		wantRefused(t, v, sign(t, "RS256", `{"alg":"RS256","kid":`+quote(kid)+`}`, goodClaims, attacker), ErrSignature)
		wantRefused(t, v, sign(t, "HS256", `{"alg":"HS256","kid":`+quote(kid)+`}`, goodClaims, []byte("")), ErrSignature)
	}
}

// What a header points to is not fetched, be its signature good or not.
func TestNothingThatATokenPointsToIsFetched(t *testing.T) {
	p := theKeys()
	asked := newEndpoint(t, text200(jwks(jwk(t, "k", p.ed25519, nil))))
	keys := newEndpoint(t, text200(jwks(jwk(t, "k", p.p256, nil))))
	v := newRemoteVerifier(t, keys, nil)
	run(t, v)
	for _, member := range []string{"jku", "x5u", "jwk", "kid", "iss", "x5c", "url"} {
		header := func(alg string) string { return `{"alg":"` + alg + `","` + member + `":` + quote(asked.URL) + `}` }
		_, _ = v.Verify(context.Background(), sign(t, "ES256", header("ES256"), goodClaims, p.p256))
		_, _ = v.Verify(context.Background(), sign(t, "EdDSA", header("EdDSA"), goodClaims, p.ed25519))
		_, _ = v.Verify(context.Background(), hs256(t, header("HS256"), `{"sub":"alice","exp":1800000060,"iss":`+quote(asked.URL)+`}`))
	}
	wantUser(t, v, sign(t, "ES256", `{"alg":"ES256","kid":"k","jku":`+quote(asked.URL)+`}`, goodClaims, p.p256), "alice")
	wantRefused(t, v, sign(t, "EdDSA", `{"alg":"EdDSA","kid":"k","jku":`+quote(asked.URL)+`}`, goodClaims, p.ed25519), ErrKey)
	if n := asked.asked.Load(); n != 0 {
		t.Errorf("what tokens point to was asked %d times", n)
	}
}

func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":0`, i)
	}
	return b.String()
}

func TestForgedForms(t *testing.T) {
	v := newVerifier(t, nil)
	good := hs256(t, hsHeader, goodClaims)
	head, rest, _ := strings.Cut(good, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	// 32 bytes leave four bits in the last character, which must be 0.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, signature[len(signature)-1])
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"nothing":              {"", ErrMissing},
		"two parts":            {head + "." + claims, ErrMalformed},
		"four parts":           {good + ".", ErrMalformed},
		"five parts":           {good + ".AA.AA", ErrMalformed},
		"dots":                 {"..", ErrMalformed},
		"padding":              {good + "=", ErrMalformed},
		"padding in the head":  {head + "=." + rest, ErrMalformed},
		"bits left over":       {good[:len(good)-1] + alphabet[last+1:last+2], ErrMalformed},
		"a character too many": {good + "AA", ErrMalformed},
		"a line break":         {good + "\n", ErrMalformed},
		"a line break within":  {head + "\r\n." + rest, ErrMalformed},
		"a space":              {" " + good, ErrMalformed},
		"NUL":                  {good + "\x00", ErrMalformed},
		"alphabet of base64":   {head + "." + claims + "." + strings.Repeat("+/", 21) + "A", ErrMalformed},
		"JSON serialization":   {`{"payload":"` + claims + `","protected":"` + head + `","signature":"` + signature + `"}`, ErrMalformed},
		"16 KiB":               {hs256(t, hsHeader, `{"sub":"alice","exp":1800000060,"x":"`+strings.Repeat("x", 12<<10)+`"}`), ErrTooLarge},
		"16 KiB of header":     {strings.Repeat("A", 16<<10) + "." + rest, ErrTooLarge},
		"two tokens":           {good + "," + good, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, v, c.token, c.want) })
	}
	wantUser(t, v, good, "alice")
	wantUser(t, v, hs256(t, hsHeader, `{"sub":"alice","exp":1800000060,"x":"`+strings.Repeat("x", 6000)+`"}`), "alice")
}

func TestForgedSignaturesOfECDSA(t *testing.T) {
	p := theKeys()
	v := newVerifier(t, func(o *Options) { o.KeysFile = keysFile(t, pemOf(t, p.p256)) })
	token := sign(t, "ES256", `{"alg":"ES256"}`, goodClaims, p.p256)
	signed := token[:strings.LastIndex(token, ".")]
	raw, _ := base64.RawURLEncoding.DecodeString(token[len(signed)+1:])
	r, s, n := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:]), elliptic.P256().Params().N
	der := append([]byte{0x30, 70, 2, 33, 0}, raw[:32]...)
	der = append(append(der, 2, 33, 0), raw[32:]...)
	with := func(r, s *big.Int, size int) []byte {
		b := make([]byte, 2*size)
		r.FillBytes(b[:size])
		s.FillBytes(b[size:])
		return b
	}
	for name, sig := range map[string][]byte{
		"DER":            der,
		"zeros":          make([]byte, 64),
		"r is 0":         with(new(big.Int), s, 32),
		"s is 0":         with(r, new(big.Int), 32),
		"r is n":         with(n, s, 32),
		"s is n":         with(r, n, 32),
		"r is 1, s is 1": with(big.NewInt(1), big.NewInt(1), 32),
		"s + n":          with(r, new(big.Int).Add(s, n), 33),
		"r + n":          with(new(big.Int).Add(r, n), s, 33),
		"longer halves":  with(r, s, 40),
		"half":           raw[:32],
		"one byte less":  raw[:63],
		"one byte more":  append(append([]byte{}, raw...), 0),
		"swapped":        append(append([]byte{}, raw[32:]...), raw[:32]...),
		"all ones":       []byte(strings.Repeat("\xff", 64)),
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, v, signed+"."+base64.RawURLEncoding.EncodeToString(sig), ErrSignature)
		})
	}
	// (r, n-s) is a second signature of the same claims. JWA allows both, and signers
	// make either; so nothing may be told apart by a token's bytes.
	twin := with(r, new(big.Int).Sub(n, s), 32)
	wantUser(t, v, signed+"."+base64.RawURLEncoding.EncodeToString(twin), "alice")
}

func TestClaims(t *testing.T) {
	v := newVerifier(t, func(o *Options) { o.Issuer = "https://issuer"; o.Audience = []string{"us", "we"} })
	const rest = `"iss":"https://issuer","aud":"us"`
	for claims, want := range map[string]error{
		`{"sub":"alice","exp":1800000001,` + rest + `}`:                                          nil,
		`{"sub":"alice","exp":1800000000,` + rest + `}`:                                          ErrExpired,
		`{"sub":"alice","exp":0,` + rest + `}`:                                                   ErrExpired,
		`{"sub":"alice",` + rest + `}`:                                                           ErrNoExpiry,
		`{"sub":"alice","exp":"1800000060",` + rest + `}`:                                        ErrTime,
		`{"sub":"alice","exp":1800000060.5,` + rest + `}`:                                        ErrTime,
		`{"sub":"alice","exp":1.80000006e9,` + rest + `}`:                                        ErrTime,
		`{"sub":"alice","exp":-1800000060,` + rest + `}`:                                         ErrTime,
		`{"sub":"alice","exp":9007199254740992,` + rest + `}`:                                    ErrTime,
		`{"sub":"alice","exp":18446744075509551676,` + rest + `}`:                                ErrTime,
		`{"sub":"alice","exp":null,` + rest + `}`:                                                ErrTime,
		`{"sub":"alice","exp":9007199254740991,` + rest + `}`:                                    nil,
		`{"sub":"alice","exp":1800000060,"nbf":1800000000,` + rest + `}`:                         nil,
		`{"sub":"alice","exp":1800000060,"nbf":1800000001,` + rest + `}`:                         ErrNotYet,
		`{"sub":"alice","exp":1800000060,"nbf":"0",` + rest + `}`:                                ErrTime,
		`{"sub":"alice","exp":1800000060,"nbf":-1,` + rest + `}`:                                 ErrTime,
		`{"sub":"alice","exp":1800000060,"nbf":9007199254740993,` + rest + `}`:                   ErrTime,
		`{"sub":"alice","exp":1800000060,"iat":1800000030,` + rest + `}`:                         nil,
		`{"sub":"alice","exp":1800009999,"iat":1800000061,` + rest + `}`:                         ErrNotYet,
		`{"sub":"alice","exp":1800000060,"iat":1.5,` + rest + `}`:                                ErrTime,
		`{"sub":"alice","exp":1800000060,"exp":1800000060,` + rest + `}`:                         ErrMalformed,
		`{"sub":"alice","exp":1800000060,"sub":"root",` + rest + `}`:                             ErrMalformed,
		`{"sub":"alice","exp":1800000060,"s\u0075b":"root",` + rest + `}`:                        ErrMalformed,
		`{"sub":"alice","exp":1800000060,"x":1,"x":1,` + rest + `}`:                              ErrMalformed,
		`{"sub":"alice","exp":1800000060,"SUB":"root","Exp":"x",` + rest + `}`:                   nil,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer/","aud":"us"}`:                    ErrIssuer,
		`{"sub":"alice","exp":1800000060,"aud":"us"}`:                                            ErrIssuer,
		`{"sub":"alice","exp":1800000060,"iss":["https://issuer"],"aud":"us"}`:                   ErrIssuer,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer"}`:                                ErrAudience,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer","aud":"them"}`:                   ErrAudience,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer","aud":["them","we"]}`:            nil,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer","aud":["them"]}`:                 ErrAudience,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer","aud":[]}`:                       ErrAudience,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer","aud":["us",1]}`:                 ErrAudience,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer","aud":{"us":1}}`:                 ErrAudience,
		`{"sub":"alice","exp":1800000060,"iss":"https://issuer","aud":1}`:                        ErrAudience,
		`{"exp":1800000060,` + rest + `}`:                                                        ErrUser,
		`{"sub":"","exp":1800000060,` + rest + `}`:                                               ErrUser,
		`{"sub":7,"exp":1800000060,` + rest + `}`:                                                ErrUser,
		`{"sub":["alice"],"exp":1800000060,` + rest + `}`:                                        ErrUser,
		`{"sub":"a\nb","exp":1800000060,` + rest + `}`:                                           ErrUser,
		`{"sub":"a\u0000","exp":1800000060,` + rest + `}`:                                        ErrUser,
		`{"sub":"}a","exp":1800000060,` + rest + `}`:                                             ErrUser,
		`{"sub":"\ud800","exp":1800000060,` + rest + `}`:                                         ErrUser,
		`{"sub":"` + strings.Repeat("a", 257) + `","exp":1800000060,` + rest + `}`:               ErrUser,
		`{"sub":"` + strings.Repeat("a", 256) + `","exp":1800000060,` + rest + `}`:               nil,
		`{"sub":"alice","exp":1800000060,"jti":7,` + rest + `}`:                                  ErrID,
		`{"sub":"alice","exp":1800000060,"jti":"",` + rest + `}`:                                 ErrID,
		`{"sub":"alice","exp":1800000060,"jti":"a\tb",` + rest + `}`:                             ErrID,
		`{"sub":"alice","exp":1800000060,"jti":"` + strings.Repeat("a", 257) + `",` + rest + `}`: ErrID,
		`{"sub":"alice","exp":1800000060,"topics":"news",` + rest + `}`:                          ErrTopics,
		`{"sub":"alice","exp":1800000060,"topics":["news",1],` + rest + `}`:                      ErrTopics,
		`{"sub":"alice","exp":1800000060` + manyMembers(300) + `,` + rest + `}`:                  ErrMalformed,
		`"alice"`:                         ErrMalformed,
		`{"sub":"alice","exp":1800000060`: ErrMalformed,
		"{\"sub\":\"\xff\",\"exp\":1800000060," + rest + "}": ErrMalformed,
		``: ErrMalformed,
	} {
		token := hs256(t, hsHeader, claims)
		if want != nil {
			t.Run(claims, func(t *testing.T) { wantRefused(t, v, token, want) })
			continue
		}
		if _, err := v.Verify(context.Background(), token); err != nil {
			t.Errorf("%s: %v", claims, err)
		}
	}
}

func TestIdentityHoldsWhatTheTokenSays(t *testing.T) {
	v := newVerifier(t, func(o *Options) { o.Leeway = 30 * time.Second; o.RequireExp = false })
	id := wantUser(t, v, hs256(t, hsHeader, `{"sub":"żółw","exp":1799999990,"iat":1799990000,"nbf":1800000020,"jti":"id-1","topics":["news.*","user.{user}"]}`), "żółw")
	if id.Expires.Unix() != 1800000020 || id.IssuedAt.Unix() != 1799990000 || id.ID != "id-1" || len(id.Topics) != 2 {
		t.Errorf("got %+v", id)
	}
	wantRefused(t, v, hs256(t, hsHeader, `{"sub":"alice","exp":1799999970}`), ErrExpired)
	wantRefused(t, v, hs256(t, hsHeader, `{"sub":"alice","nbf":1800000031}`), ErrNotYet)
	id = wantUser(t, v, hs256(t, hsHeader, `{"sub":"alice","topics":[]}`), "alice")
	if !id.Expires.IsZero() || !id.IssuedAt.IsZero() || id.ID != "" || id.Topics == nil {
		t.Errorf("got %+v", id)
	}
	if id = wantUser(t, v, hs256(t, hsHeader, `{"sub":"alice"}`), "alice"); id.Topics != nil {
		t.Errorf("topics that were not given: %q", id.Topics)
	}
}

func TestSecretsAreRotated(t *testing.T) {
	v := newVerifier(t, func(o *Options) { o.SecretOld = oldSecret })
	wantUser(t, v, hs256(t, hsHeader, goodClaims), "alice")
	wantUser(t, v, sign(t, "HS512", `{"alg":"HS512","kid":"whatever"}`, goodClaims, []byte(oldSecret)), "alice")
	wantRefused(t, v, sign(t, "HS256", hsHeader, goodClaims, []byte(testSecret+"x")), ErrSignature)
	wantRefused(t, newVerifier(t, nil), sign(t, "HS256", hsHeader, goodClaims, []byte(oldSecret)), ErrSignature)
}

func TestSecretsAreShownToNobody(t *testing.T) {
	o := Options{Rules: Rules{Secret: testSecret, SecretOld: oldSecret}, ValidID: validID}
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(struct{ S Secret }{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	shown := string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, what := range []any{o, &o, v, *v, o.Secret, v.secrets} {
			shown += fmt.Sprintf(verb, what) + "\n"
		}
	}
	for _, s := range []Secret{testSecret, oldSecret} {
		for _, form := range []string{string(s), fmt.Sprintf("%x", string(s)), fmt.Sprintf("%X", string(s)), fmt.Sprint([]byte(s)), fmt.Sprintf("%#v", []byte(s))} {
			if strings.Contains(shown, strings.Trim(form, "[]")) {
				t.Errorf("a secret is shown: %s", form)
			}
		}
	}
	if _, err := New(Options{Rules: Rules{Secret: testSecret[:31]}}); err == nil || strings.Contains(err.Error(), string(testSecret[:31])) {
		t.Errorf("a secret of 31 bytes: %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no source of keys: no error")
	}
}

func TestIssuedTokensAreGood(t *testing.T) {
	token, err := Issue(testSecret, map[string]any{"sub": "alice", "exp": noon().Unix() + 60, "topics": []string{"news"}})
	if err != nil {
		t.Fatal(err)
	}
	wantUser(t, newVerifier(t, nil), token, "alice")
	if _, err := Issue("short", nil); err == nil || strings.Contains(err.Error(), `"short"`) {
		t.Errorf("a short secret: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	p := theKeys()
	v := newVerifier(f, func(o *Options) { o.KeysFile = keysFile(f, pemOf(f, p.p256, p.ed25519)) })
	good := hs256(f, hsHeader, goodClaims)
	f.Add(good)
	f.Add(sign(f, "ES256", `{"alg":"ES256","kid":"k"}`, goodClaims, p.p256))
	f.Add(hs256(f, `{"alg":"HS256","alg":"none"}`, goodClaims))
	f.Add(hs256(f, hsHeader, `{"sub":"alice","exp":1e999,"aud":[["x"]]}`))
	f.Add(b64(`{"alg":"none"}`) + "." + b64(goodClaims) + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Verify(context.Background(), token)
		if err == nil && (id.User == "" || !validID(id.User)) {
			t.Errorf("user %q of %q", id.User, token)
		}
		if refused := Refused(""); err != nil && !errors.As(err, &refused) {
			t.Errorf("%q: %v is no refusal", token, err)
		}
		if err == nil && token != good && !strings.HasPrefix(token, b64(`{"alg":"E`)[:10]) {
			// The fuzzer does not know the secret: what it finds must be signed.
			if _, parsed := jwt.Parse(token, func(*jwt.Token) (any, error) { return []byte(testSecret), nil }, jwt.WithoutClaimsValidation()); parsed != nil {
				t.Errorf("%q is good to us only: %v", token, parsed)
			}
		}
	})
}

// FuzzClaims signs whatever claims there are, so that they are read.
func FuzzClaims(f *testing.F) {
	v := newVerifier(f, func(o *Options) { o.Audience = []string{"us"} })
	f.Add(`{"sub":"alice","exp":1800000060,"aud":"us"}`)
	f.Add(`{"sub":"a\u0000b","exp":1800000060,"aud":["us",""]}`)
	f.Add(`{"topics":["a",[]],"nbf":-0,"iat":1e3}`)
	f.Add(` {"jti":"\ud800"} `)
	f.Fuzz(func(t *testing.T, claims string) {
		if id, err := v.Verify(context.Background(), hs256(t, hsHeader, claims)); err == nil {
			if !validID(id.User) || id.User == "" || !noon().Before(id.Expires) || !json.Valid([]byte(claims)) {
				t.Errorf("%q: %+v", claims, id)
			}
		}
	})
}

func BenchmarkVerifyHS256(b *testing.B) {
	v := newVerifier(b, func(o *Options) { o.Issuer = "https://issuer.example"; o.Audience = []string{"pushpod"} })
	token := hs256(b, hsHeader, `{"sub":"alice","iss":"https://issuer.example","aud":"pushpod","iat":1799999000,"exp":1800000060,"jti":"0a1b2c3d"}`)
	b.ReportAllocs()
	for b.Loop() { // as a handshake asks
		if _, err := v.Verify(context.Background(), token); err != nil || !v.Cheap(token) {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyAsymmetric(b *testing.B) {
	p := theKeys()
	v := newVerifier(b, func(o *Options) { o.KeysFile = keysFile(b, pemOf(b, p.rsa, p.p256, p.p384, p.p521, p.ed25519)) })
	for _, alg := range []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"} {
		token := sign(b, alg, `{"alg":"`+alg+`"}`, goodClaims, p.of(alg))
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
