package auth

import (
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Issue makes a token, signed by HS256, for trying out.
func Issue(secret Secret, claims map[string]any) (string, error) {
	if _, err := newKey([]byte(secret)); err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(claims)).SignedString([]byte(secret))
}
