package auth

import (
	"fmt"
	"io"
)

// LeastSecret is how many bytes a secret for HMAC has at least (RFC 7518 section 3.2).
const LeastSecret = 32

// Secret is a secret for HMAC. Package fmt does not show it, whatever the verb.
type Secret string

// Format writes a placeholder; see fmt.Formatter.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "(hidden)") }

// MarshalText returns a placeholder, for encoders; see encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }
