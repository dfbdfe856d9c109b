package config

import (
	"slices"
	"strings"
	"testing"
)

// withRedis names a Redis, which a listen off loopback needs.
const withRedis = "PUSHPOD_REDIS_ADDRESSES=redis:6379"

func TestRedisIsReachedByHostAndPortOrSocket(t *testing.T) {
	for given, want := range map[string]string{
		"10.0.3.1:6379":           "10.0.3.1:6379",
		"[::1]:6379":              "[::1]:6379",
		"redis.internal:6379":     "redis.internal:6379",
		"unix:/run/redis.sock":    "unix:/run/redis.sock",
		"a:1, b:2,[fd00::7]:6379": "a:1 b:2 [fd00::7]:6379",
	} {
		c := wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_REDIS_ADDRESSES=" + given}})
		if got := strings.Join(c.Redis.Addresses, " "); got != want {
			t.Errorf("%s is %s, want %s", given, got, want)
		}
	}
}

// Nobody but the pod itself would find it.
func TestAnEmbeddedRedisIsForLoopbackOnly(t *testing.T) {
	for _, listen := range []string{":8080", "0.0.0.0:8080", "10.0.3.7:8080", "pod.example.org:8080"} {
		environ := []string{"PUSHPOD_LISTEN=" + listen, "POD_IP=10.0.3.7", "PUSHPOD_AUTH_INSECURE=on"}
		wantOneProblem(t, LoadOptions{Environ: environ}, "redis.addresses", "must be given", "("+listen+")", "10.0.3.1:6379")
		wantLoaded(t, LoadOptions{Environ: append(environ, withRedis)})
	}
	for _, listen := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1"} {
		wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=" + listen}})
	}
}

// What says how to reach Redis must not be left unused without a word.
func TestKeysOfRedisFitTogether(t *testing.T) {
	pair := []string{"TLS=on", "TLS_CERT_FILE=/c", "TLS_KEY_FILE=/k"}
	for _, c := range []struct {
		problem string // key; "": none
		given   []string
	}{
		{"", []string{"ADDRESSES=a:1", "USERNAME=u"}}, // "nopass" in an ACL
		{"", []string{"ADDRESSES=a:1", "PASSWORD=p"}},
		{"", []string{"ADDRESSES=a:1", "USERNAME=u", "PASSWORD=p", "DB=3"}},
		{"", []string{"ADDRESSES=a:1,b:1"}},
		{"", []string{"ADDRESSES=a:1,b:1", "SENTINEL_MASTER=m", "SENTINEL_USERNAME=u", "SENTINEL_PASSWORD=p", "DB=3"}},
		{"", append(pair, "ADDRESSES=a:1", "TLS_CA_FILE=/a", "TLS_SERVER_NAME=redis")},
		{"", []string{"ADDRESSES=a:1", "TLS=on"}},
		{"redis.username", []string{"USERNAME=u"}},
		{"redis.password", []string{"PASSWORD=p"}},
		{"redis.sentinel_master", []string{"SENTINEL_MASTER=m"}},
		{"redis.tls", []string{"TLS=on"}},
		{"redis.sentinel_username", []string{"ADDRESSES=a:1", "SENTINEL_USERNAME=u"}},
		{"redis.sentinel_password", []string{"ADDRESSES=a:1", "SENTINEL_PASSWORD=p"}},
		{"redis.db", []string{"ADDRESSES=a:1,b:1", "DB=3"}},
		{"redis.tls_ca_file", []string{"ADDRESSES=a:1", "TLS_CA_FILE=/a"}},
		{"redis.tls_server_name", []string{"ADDRESSES=a:1", "TLS_SERVER_NAME=redis"}},
		{"redis.tls_key_file", []string{"ADDRESSES=a:1", "TLS=on", "TLS_CERT_FILE=/c"}},
		{"redis.tls_key_file", []string{"ADDRESSES=a:1", "TLS=on", "TLS_KEY_FILE=/k"}},
		{"redis.tls", []string{"ADDRESSES=unix:/s", "TLS=on"}},
	} {
		var environ []string
		for _, g := range slices.Clone(c.given) {
			environ = append(environ, "PUSHPOD_REDIS_"+g)
		}
		if c.problem == "" {
			wantLoaded(t, LoadOptions{Environ: environ})
			continue
		}
		if p := wantOneProblem(t, LoadOptions{Environ: environ}, "redis."); p.Key != c.problem {
			t.Errorf("%v: the problem is %s, want %s", c.given, p.Key, c.problem)
		}
	}
}
