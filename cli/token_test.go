package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pushpod/auth"
)

const tokenSecret = "a secret of at least thirty-two bytes"

func TestTokenIsGoodForItsUser(t *testing.T) {
	environ := []string{"PUSHPOD_AUTH_HMAC_SECRET=" + tokenSecret, "PUSHPOD_AUTH_ISSUER=us", "PUSHPOD_AUTH_AUDIENCE=a,b", "PUSHPOD_LISTEN=:8080", "PUSHPOD_AUTH_MODE=jwt"}
	v, err := auth.New(auth.Options{Rules: auth.Rules{Secret: tokenSecret, Issuer: "us", Audience: []string{"a"}, RequireExp: true}, ValidID: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(token string) auth.Identity {
		t.Helper()
		id, err := v.Verify(context.Background(), token)
		if err != nil {
			t.Fatalf("%s: %v", token, err)
		}
		return id
	}
	r := run(t, environ, "token", "żółw")
	id := verify(strings.TrimSuffix(r.stdout, "\n"))
	if left := time.Until(id.Expires); id.User != "żółw" || left < 50*time.Minute || left > time.Hour || r.code != 0 || r.stderr != "" {
		t.Errorf("%+v, %+v", id, r)
	}
	r = run(t, environ, "token", "bob", "--ttl", "90s", "--claim", "jti=7f3a", "--claim", `topics=["news","a=b"]`, "--claim", "note=3 words =", "--json")
	var made struct {
		Token   string
		Expires int64
	}
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil {
		t.Fatal(err)
	}
	id = verify(made.Token)
	if id.User != "bob" || id.ID != "7f3a" || len(id.Topics) != 2 || id.Topics[1] != "a=b" || id.Expires.Unix() != made.Expires || time.Until(id.Expires) > 90*time.Second {
		t.Errorf("%+v, %+v", id, made)
	}
}

func TestTokenNeedsASecretAndAUser(t *testing.T) {
	good := []string{"PUSHPOD_AUTH_HMAC_SECRET=" + tokenSecret}
	run(t, nil, "token", "alice").want(t, "no secret", 2, "", "auth.hmac_secret is not given")
	run(t, []string{"PUSHPOD_AUTH_HMAC_SECRET=short"}, "token", "alice").want(t, "a short secret", 2, "", "too short")
	run(t, good, "token").want(t, "no user", 2, "", "USER is missing")
	run(t, good, "token", "}a").want(t, "no user id", 2, "", "user")
	run(t, good, "token", "alice", "--claim", "admin").want(t, "no value", 2, "", "NAME=VALUE")
	run(t, good, "token", "alice", "--claim", "sub=bob").want(t, "two users", 2, "", "USER")
}
