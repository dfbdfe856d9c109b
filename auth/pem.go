package auth

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// parsePEM reads public keys and certificates (RFC 7468), which have no names. The
// decoder passes over a block that is cut off; here that is an error.
func parsePEM(b []byte) ([]key, error) {
	begun := bytes.Count(b, []byte("-----BEGIN "))
	var keys []key
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		k, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	if begun == 0 || len(keys) != begun {
		return nil, errors.New("it is neither a JSON Web Key Set nor whole PEM")
	}
	return keys, checkCount(keys)
}

func parseBlock(block *pem.Block) (key, error) {
	var material any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		material, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		material, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			material = c.PublicKey
		}
	default:
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return key{}, errPrivate
		}
		err = fmt.Errorf("%q is no public key", block.Type)
	}
	if err != nil {
		return key{}, err
	}
	return newKey(material)
}
