package auth

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/MicahParks/jwkset"
)

// maxKeys bounds the keys of one source: a token that names none is tried with all
// that serve its algorithm.
const maxKeys = 32

var (
	errNoKeys   = errors.New("it holds no key that verifies tokens")
	errTooMany  = fmt.Errorf("it holds more than %d keys", maxKeys)
	errPrivate  = errors.New("a private key has no place here: give its public part")
	errOfOthers = errors.New("it is for other purposes")
)

// parseJWKS reads a JSON Web Key Set (RFC 7517 section 5). Keys for other purposes
// than signatures are passed over, and where lenient, all that can't be used.
// Secrets are taken only where they are allowed.
func parseJWKS(b []byte, secrets, lenient bool) ([]key, error) {
	var set struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, errors.New("it is no JSON Web Key Set") // err may show a part of a secret
	}
	var keys []key
	for i, written := range set.Keys {
		k, err := parseJWK(written, secrets)
		switch {
		case err == nil:
			keys = append(keys, k)
		case !lenient && !errors.Is(err, errOfOthers):
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
	}
	return keys, checkCount(keys)
}

func checkCount(keys []key) error {
	switch {
	case len(keys) == 0:
		return errNoKeys
	case len(keys) > maxKeys:
		return errTooMany
	}
	return nil
}

// parseJWK reads one key (RFC 7517 section 4).
func parseJWK(written jwkset.JWKMarshal, secrets bool) (key, error) {
	secret := written.KTY == jwkset.KtyOct
	a, known := algorithmOf(string(written.ALG))
	switch {
	case written.USE != "" && written.USE != jwkset.UseSig, written.ALG != "" && !known, written.CRV == jwkset.CrvX25519:
		return key{}, errOfOthers
	case written.D != "":
		return key{}, errPrivate
	case secret && !secrets:
		return key{}, errors.New("a secret must not be published")
	}
	read, err := jwkset.NewJWKFromMarshal(written, jwkset.JWKMarshalOptions{Private: secret}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, errors.New("it can't be read") // err may show a part of a secret
	}
	k, err := newKey(read.Key())
	if err == nil && known && a.kind != k.kind {
		err = errors.New("its alg is of another kind of key")
	}
	k.id, k.algorithm = written.KID, string(written.ALG)
	return k, err
}
