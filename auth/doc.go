// Package auth says who a client is, by a JSON Web Token (RFC 7519), and from which
// pages clients may come. It knows neither connections nor Redis.
//
// [Find] takes the token from a request, [Verifier.Verify] says whose it is. The
// signatures are the work of golang-jwt, the reading of keys that of jwkset; what
// is signed is read by the strict walker of internal/json, since a second reading of
// the same bytes is what forgeries live from.
//
// The key decides the algorithm: each key serves its own kind of algorithms and no
// other, whatever the token says. Keys come from the configuration alone: what a
// token brings along or points to (jwk, jku, x5c, x5u) is not read.
//
// Three sources of keys stand beside each other: secrets for HMAC, a file, and a
// JWKS endpoint (RFC 7517). [Verifier.Run] reads the last two again.
//
// Where no token says who a client is, a proxy or a certificate does: [Proxies] says
// which peers are believed, and where the client behind them is; [CommonName] and
// [AlternativeName] take a name from a certificate.
//
// A [Hook] asks a service of the operator's, after all else, whether a client may
// connect, and as whom.
//
// Files, from top to bottom: verifier.go (New, Run, Verify), origin.go, find.go,
// issue.go; header.go and claims.go (what a token says), signature.go; remote.go and
// file.go (where keys come from), jwk.go and pem.go (how they are written), key.go;
// names.go, secret.go, errors.go; proxies.go, certificate.go. For the hook: hook.go (NewHook, Run, Ask),
// hookcircuit.go, hookpost.go (what goes over the wire), hookanswer.go, hookstats.go.
package auth
