package auth

import "pushpod/internal/secret"

// LeastSecret is how many bytes a secret for HMAC has at least (RFC 7518 section 3.2).
const LeastSecret = 32

// Secret is a secret for HMAC.
type Secret = secret.Text
