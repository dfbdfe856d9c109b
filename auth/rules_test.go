package auth

import (
	"net/http"
	"testing"
)

// The keys that were fetched must not be forgotten because an issuer is renamed: where the
// endpoint is down at that moment, nobody would be let in.
func TestOtherRulesKeepTheKeysThatAreKnown(t *testing.T) {
	e := newEndpoint(t, text200(jwks(jwk(t, "a", theKeys().p256, nil))))
	v := newRemoteVerifier(t, e, nil)
	run(t, v)
	token := es256(t, "a")
	wantUser(t, v, token, "alice")
	e.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })

	other, err := v.With(Rules{RequireExp: true, Issuer: "another", Secret: oldSecret})
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, other, token, ErrIssuer)
	wantUser(t, v, token, "alice") // it is as it was
	rotated, err := v.With(Rules{RequireExp: true, Secret: oldSecret})
	if err != nil {
		t.Fatal(err)
	}
	wantUser(t, rotated, token, "alice")
	wantUser(t, rotated, sign(t, "HS256", hsHeader, goodClaims, []byte(oldSecret)), "alice")
	wantRefused(t, rotated, hs256(t, hsHeader, goodClaims), ErrSignature)
}

func TestRulesWithoutAnyKeyAreRefused(t *testing.T) {
	v := newVerifier(t, nil)
	for _, r := range []Rules{{}, {Secret: testSecret[:31]}} {
		if other, err := v.With(r); err == nil {
			t.Errorf("%v from %d bytes", other, len(r.Secret))
		}
	}
}
