package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	pushclient "pushpod/clients/go"
)

const tokenSecret = "an e2e secret of at least thirty-two bytes"

// keyFile writes a new key's public part to a file, as a whole, and returns a token of
// the key.
func keyFile(t *testing.T, path, user string) (token string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// auth and hub have the cases.
func TestTokens(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys.pem")
	bob := keyFile(t, keys, "bob")
	secret := []string{"PUSHPOD_AUTH_HMAC_SECRET=" + tokenSecret, "PUSHPOD_AUTH_AUDIENCE=pushpod"}
	p := startPod(t, startRedis(t), quick().with("auth.mode", "jwt", "auth.hmac_secret", tokenSecret, "auth.keys_file", keys,
		"auth.cookie", "session", "auth.origins", "https://*.example.com", "log.level", "debug"))

	var short struct {
		Token   string `json:"token"`
		Expires int64  `json:"expires"`
	}
	if err := json.Unmarshal([]byte(mustRun(t, secret, "token", "alice", "--ttl", "4s", "--json")), &short); err != nil {
		t.Fatal(err)
	}
	a := dial(t, p, "alice", withQuery("token", short.Token), withQuery("user", "mallory"))
	b := dial(t, p, "bob", withQuery("token", bob))
	a.check("alice, by a secret")
	b.check("bob, by a key")
	if got := producerCLI(t, p.redis, "HKEYS", "push:user:{alice}"); got != a.uuid {
		t.Errorf("presence of alice: %q, want %s", got, a.uuid)
	}
	if _, _ = a.wantClosed("its token expires", 4000, 10*time.Second); time.Now().Unix() < short.Expires {
		t.Error("closed too early")
	}

	long := strings.TrimSpace(mustRun(t, secret, "token", "alice"))
	page := "Origin: https://app.example.com"
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"Authorization": {upgradeRequest("/ws", "Authorization: Bearer "+long), 101},
		"cookie":        {upgradeRequest("/ws", "Cookie: session="+long, page), 101},
		"subprotocol":   {upgradeRequest("/ws", "Sec-WebSocket-Protocol: pushpod.v1, bearer."+long), 101},
		"expired":       {upgradeRequest("/ws", "Authorization: Bearer "+short.Token), 401},
		"no token":      {upgradeRequest("/ws?user=alice"), 401},
		"a bad one":     {upgradeRequest("/ws?token="+long, "Cookie: session="+long+"x"), 401},
		"another page":  {upgradeRequest("/ws", "Cookie: session="+long, "Origin: https://example.com"), 403},
		"its own page":  {upgradeRequest("/ws", "Cookie: session="+long, "Origin: http://"+p.listen), 403},
	} {
		if a := exchange(t, p.listen, c.request); a.status != c.status {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, c.status)
		}
	}
	for name, c := range map[string]struct {
		lines  string
		status int
	}{"all is well": {"Cookie: session=" + long, 426}, "a bad one": {"Cookie: session=x", 401}} {
		a := exchange(t, p.listen, request("GET /ws HTTP/1.1", "Host: "+p.listen, page, c.lines))
		wantRefusal(t, name, a, c.status)
		if got := a.header.Get("Access-Control-Allow-Origin"); got != "https://app.example.com" {
			t.Errorf("%s: Access-Control-Allow-Origin %q", name, got)
		}
	}

	for target, reason := range map[string]string{"/ws?refuse=close": "a token is missing", "/ws?refuse=close&token=x": "the token is malformed"} {
		conn, err := net.Dial("tcp", p.listen)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(settle))
		_, _ = io.WriteString(conn, upgradeRequest(target, "Sec-WebSocket-Protocol: pushpod.v1"))
		got, _ := io.ReadAll(conn) // it ends by itself
		_ = conn.Close()
		if text := string(got); !strings.HasPrefix(text, "HTTP/1.1 101 ") || !strings.Contains(text, "pushpod.v1") || !strings.HasSuffix(text, "\x0f\xa1"+reason) {
			t.Errorf("%s: %q, want a close frame with 4001 %s", target, text, reason)
		}
	}
	p.wantMetric("refusals by a close frame count as what they are", 6, "pushpod_handshakes_total", "result", "401")

	carol := keyFile(t, keys, "carol")
	eventually(t, "the new key is read", 10*time.Second, func() (bool, any) {
		c, refused, err := tryDial(t, p.listen, "carol", withQuery("token", carol))
		if c != nil {
			c.leave()
		}
		return err == nil && refused == nil, refused
	})
	if _, refused, _ := tryDial(t, p.listen, "bob", withQuery("token", bob)); refused == nil || refused.status != http.StatusUnauthorized {
		t.Errorf("the old key: %+v, want 401", refused)
	}
	b.check("bob, whose key is gone, stays until the token expires")

	log := p.stderr.String()
	for _, secret := range []string{tokenSecret, long, bob, short.Token, strings.Split(long, ".")[2], strings.Split(bob, ".")[1]} {
		if strings.Contains(log, secret) {
			t.Errorf("the log shows %.20s…", secret)
		}
	}
	wantLine(t, "the keys", log, "keys read again")
}

// TestGoClientOutlivesItsTokens has tokens that last for 3 s: one device reconnects each time,
// at once; another one brings fresh ones in time and stays connected.
func TestGoClientOutlivesItsTokens(t *testing.T) {
	t.Parallel()
	p := startPod(t, startRedis(t), quick().with("auth.mode", "jwt", "auth.hmac_secret", tokenSecret))
	tokens := func(user string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) {
			claims := jwt.MapClaims{"sub": user, "exp": time.Now().Add(3 * time.Second).Unix()}
			return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(tokenSecret))
		}
	}
	a, b := startDeviceWith(t, "alice", tokens("alice"), p.listen), startDeviceWith(t, "bob", tokens("bob"), p.listen)
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if err := b.client.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh: %v", err)
		}
	}
	a.wantConnects(3)
	for _, d := range []*device{a, b} {
		eventually(t, "a push reaches "+d.user, settle, func() (bool, any) {
			n := luaPush(t, p.redis, d.user, `"here"`, "id", "here")
			got := d.messages()
			return n == 1 && len(got) > 0 && got[len(got)-1] == `"here"`, fmt.Sprint(n, " ", len(got))
		})
	}
	a.note(func() {
		for _, reason := range a.reasons {
			var closed *pushclient.CloseError
			if !errors.As(reason, &closed) || closed.Code != 4000 {
				t.Errorf("alice was disconnected by %v, want close code 4000", reason)
			}
		}
	})
	b.note(func() {
		if b.connects != 1 {
			t.Errorf("bob has connected %d times, though his token was fresh: %v", b.connects, b.reasons)
		}
	})
	if n := p.metric("pushpod_handshakes_total", "result", "401"); n != 0 {
		t.Errorf("%v handshakes came with a token that had expired", n)
	}
}

func TestBadKeysStopTheStart(t *testing.T) {
	t.Parallel()
	r := run(t, []string{"PUSHPOD_AUTH_MODE=jwt", "PUSHPOD_AUTH_KEYS_FILE=/nowhere/keys.pem", "PUSHPOD_REDIS_ADDRESSES=127.0.0.1:1"}, "serve")
	if r.status != 1 {
		t.Errorf("exit %d, want 1", r.status)
	}
	wantLine(t, "a missing file", r.stderr, "auth.mode jwt", "/nowhere/keys.pem")
}
