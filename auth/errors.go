package auth

import "errors"

// Refused is why a token is not believed: 401. It is safe to show: it holds no part
// of the token.
type Refused string

func (r Refused) Error() string { return string(r) }

const (
	ErrMissing   = Refused("a token is missing")
	ErrMalformed = Refused("the token is malformed")
	ErrTooLarge  = Refused("the token is too large")
	ErrAlgorithm = Refused("the token's algorithm is not accepted")
	ErrCritical  = Refused("the token needs an extension that is not supported")
	ErrKey       = Refused("the token's key is not known")
	ErrSignature = Refused("the token's signature is wrong")
	ErrExpired   = Refused("the token has expired")
	ErrNoExpiry  = Refused("the token has no exp")
	ErrNotYet    = Refused("the token is not valid yet")
	ErrTime      = Refused("the token's exp, nbf and iat must be Unix seconds")
	ErrIssuer    = Refused("the token is of another issuer")
	ErrAudience  = Refused("the token is for another audience")
	ErrUser      = Refused("the token's sub is no user id")
	ErrID        = Refused("the token's jti is no id")
	ErrTopics    = Refused("the token's topics must be a list of text")
)

// ErrUnavailable is returned where a token's key could not be looked up: 503. The
// token may be good.
var ErrUnavailable = errors.New("the token's key can't be looked up now")
