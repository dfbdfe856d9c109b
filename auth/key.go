package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/golang-jwt/jwt/v5"
)

// kind is what a key is, and what an algorithm needs.
type kind uint8

const (
	kindSecret kind = iota + 1
	kindRSA
	kindP256
	kindP384
	kindP521
	kindEd25519
)

// algorithm is one of RFC 7518 section 3.1 or RFC 8037 section 3.1.
type algorithm struct {
	name   string
	kind   kind
	method jwt.SigningMethod
}

// algorithmOf returns an algorithm by its name, whose case matters. "none" is not one.
func algorithmOf(name string) (algorithm, bool) {
	a := algorithm{name: name}
	switch name {
	case "HS256", "HS384", "HS512":
		a.kind = kindSecret
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		a.kind = kindRSA
	case "ES256":
		a.kind = kindP256
	case "ES384":
		a.kind = kindP384
	case "ES512":
		a.kind = kindP521
	case "EdDSA":
		a.kind = kindEd25519
	default:
		return algorithm{}, false
	}
	a.method = jwt.GetSigningMethod(name)
	return a, true
}

// key verifies signatures.
type key struct {
	id        string // "": it serves whatever key a token names
	algorithm string // "": it serves all algorithms of its kind
	kind      kind
	material  any // as the methods of its kind expect it
}

// Format writes no more than the type; see fmt.Formatter.
func (key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "auth.key") }

// serves reports whether the key is one with which a token may be signed that says
// it is signed by a and by the key kid.
func (k key) serves(a algorithm, kid string) bool {
	return k.kind == a.kind && (k.algorithm == "" || k.algorithm == a.name) && (k.id == "" || kid == "" || k.id == kid)
}

const (
	leastRSA = 2048 // bits (RFC 7518 section 3.3)
	mostRSA  = 8192 // bits: a verification takes about a millisecond
)

// newKey makes a key of public key material, or of a secret.
func newKey(material any) (key, error) {
	k := key{material: material}
	switch m := material.(type) {
	case []byte:
		if len(m) < LeastSecret {
			return k, fmt.Errorf("a secret must have at least %d bytes", LeastSecret)
		}
		k.kind = kindSecret
	case *rsa.PublicKey:
		if n := m.N.BitLen(); n < leastRSA || n > mostRSA {
			return k, fmt.Errorf("an RSA key must have %d to %d bits", leastRSA, mostRSA)
		}
		k.kind = kindRSA
	case *ecdsa.PublicKey:
		k.kind = map[string]kind{"P-256": kindP256, "P-384": kindP384, "P-521": kindP521}[m.Curve.Params().Name]
	case ed25519.PublicKey:
		k.kind = kindEd25519
	}
	if k.kind == 0 {
		return k, errors.New("this kind of key verifies no token")
	}
	return k, nil
}
