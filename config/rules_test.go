package config

import (
	"strings"
	"testing"
	"time"
)

func TestPodAddressComesFromPodIPOrLoopback(t *testing.T) {
	for _, c := range []struct{ listen, podIP, want string }{
		{"127.0.0.1:8080", "", "127.0.0.1:8080"},
		{"localhost:8081", "", "127.0.0.1:8081"},
		{"127.0.0.2:8080", "", "127.0.0.2:8080"},
		{"[::1]:8080", "", "[::1]:8080"},
		{":8080", "10.0.3.7", "10.0.3.7:8080"},
		{"0.0.0.0:8080", "fd00::7", "[fd00::7]:8080"},
		{"127.0.0.1:8080", "10.0.3.7", "10.0.3.7:8080"},
	} {
		environ := []string{"PUSHPOD_LISTEN=" + c.listen, "PUSHPOD_AUTH_INSECURE=on", "POD_IP=" + c.podIP, withRedis}
		if got := wantLoaded(t, LoadOptions{Environ: environ}).Pod.Address; got != c.want {
			t.Errorf("listen %s, POD_IP %q: pod.address is %s, want %s", c.listen, c.podIP, got, c.want)
		}
		given := wantLoaded(t, LoadOptions{Environ: append(environ, "PUSHPOD_POD_ADDRESS=pod-1:1")})
		if given.Pod.Address != "pod-1:1" {
			t.Errorf("given, and %s", given.Pod.Address)
		}
	}
}

func TestPodAddressMustBeGivenWhereNothingTellsIt(t *testing.T) {
	insecure := "PUSHPOD_AUTH_INSECURE=on"
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=:8080", insecure, withRedis}}, "pod.address", "must be given", "(:8080)", "POD_IP")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=10.0.3.7:8080", insecure, withRedis}}, "pod.address", "must be given")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=127.0.0.1:0"}}, "pod.address", "port 0")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=127.0.0.1:0", "POD_IP=10.0.0.1"}}, "pod.address", "port 0")
	for _, ip := range []string{"pod-1", "10.0.3.7:8080", "0.0.0.0", "::", "fe80::1%eth0"} {
		wantOneProblem(t, LoadOptions{Environ: []string{"POD_IP=" + ip}}, "pod.address", ip, "(POD_IP)")
	}
}

func TestDelayIsShortOnLoopback(t *testing.T) {
	for listen, want := range map[string]time.Duration{"127.0.0.1:8080": 0, "[::1]:1": 0, "localhost:1": 0, ":8080": 5 * time.Second, "10.0.0.1:1": 5 * time.Second} {
		environ := []string{"PUSHPOD_LISTEN=" + listen, "PUSHPOD_AUTH_INSECURE=on", "POD_IP=10.0.0.1", withRedis}
		if got := wantLoaded(t, LoadOptions{Environ: environ}).Shutdown.Delay; got != want {
			t.Errorf("listen %s: shutdown.delay is %s, want %s", listen, got, want)
		}
		environ = append(environ, "PUSHPOD_SHUTDOWN_DELAY=0s")
		if got := wantLoaded(t, LoadOptions{Environ: environ}).Shutdown.Delay; got != 0 {
			t.Errorf("listen %s: given 0s, and %s", listen, got)
		}
	}
}

// Kubernetes gives a pod 30 s. A connection whose client does not answer its close ends after
// 5 s, and then the pod stays for one more.
func TestLeavingFitsThirtySecondsByDefault(t *testing.T) {
	s := wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=:8080", "PUSHPOD_AUTH_INSECURE=on", "POD_IP=10.0.0.1", withRedis}}).Shutdown
	if all := s.Delay + s.Drain + 6*time.Second; all > 30*time.Second {
		t.Errorf("shutdown.delay %v + shutdown.drain %v + 6 s are %v", s.Delay, s.Drain, all)
	}
}

func TestModeNoneStaysOnLoopback(t *testing.T) {
	for _, listen := range []string{":8080", "0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "example.org:8080", "localhost.example.org:1"} {
		wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=" + listen, "POD_IP=10.0.0.1", withRedis}},
			"auth.mode", `"none" (default)`, "("+listen+")", "auth.insecure: true")
		wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=" + listen, "POD_IP=10.0.0.1", "PUSHPOD_AUTH_INSECURE=true", withRedis}})
	}
	for _, listen := range []string{"127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "LOCALHOST:1"} {
		wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=" + listen}})
	}
}

func TestEntriesOutliveTheirConnections(t *testing.T) {
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_PRESENCE_TTL=65s"}},
		"presence.ttl", `"65s"`, "more than presence.renew + conn.ping + conn.ping_timeout (30s + 25s + 10s = 1m5s)")
	wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_PRESENCE_TTL=65001ms"}})
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_CONN_PING=1h"}}, "presence.ttl", `"90s" (default)`)
}

func TestLeaseOutlivesAHeartbeat(t *testing.T) {
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_PRESENCE_LEASE=5s"}}, "presence.lease", "twice presence.heartbeat (6s)")
	wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_PRESENCE_LEASE=6s"}})
}

func TestListenersDoNotCollide(t *testing.T) {
	for _, admin := range []string{"127.0.0.1:8080", ":8080", "0.0.0.0:8080", "[::]:8080"} {
		wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_ADMIN_LISTEN=" + admin}}, "admin.listen", admin, "is the address of listen")
	}
	wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_ADMIN_LISTEN=127.0.0.2:8080"}})
	wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=127.0.0.1:0", "PUSHPOD_ADMIN_LISTEN=127.0.0.1:0", "PUSHPOD_POD_ADDRESS=a:1"}})
}

func TestRuleBetweenKeysIsLeftAloneWhereAKeyIsWrong(t *testing.T) {
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_CONN_PING=x"}}, "conn.ping")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=x"}}, "listen")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_AUTH_INSECURE=x", "PUSHPOD_LISTEN=:1", "POD_IP=10.0.0.1", withRedis}}, "auth.insecure")
}

func TestTokensNeedSomethingToVerifyThemBy(t *testing.T) {
	secret := strings.Repeat("s", leastSecret)
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_AUTH_MODE=jwt"}}, "auth.mode", `"jwt" (PUSHPOD_AUTH_MODE)`, "auth.jwks_url")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_AUTH_MODE=jwt", "PUSHPOD_AUTH_HMAC_SECRET_OLD=" + secret}}, "auth.mode")
	for _, by := range []string{"HMAC_SECRET=" + secret, "KEYS_FILE=/keys", "JWKS_URL=http://[::1]:1/", "JWKS_URL=http://localhost/"} {
		c := wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_AUTH_MODE=jwt", "PUSHPOD_AUTH_" + by, "PUSHPOD_LISTEN=:8080", "POD_IP=10.0.0.1", withRedis}})
		if c.Auth.Mode != "jwt" || !c.Auth.RequireExp {
			t.Errorf("%s: %+v", by[:4], c.Auth.Mode)
		}
	}
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_AUTH_MODE=jwt", "PUSHPOD_AUTH_HMAC_SECRET=short"}}, "auth.hmac_secret", "(hidden)", "too short")
}

func TestHookGoesWithEveryMode(t *testing.T) {
	secret := "PUSHPOD_AUTH_HMAC_SECRET=" + strings.Repeat("s", leastSecret)
	for _, url := range []string{"http://hook.internal/may", "https://pod:p@hook.example.com:8443/may?x=1", "http://[::1]:1"} {
		for _, mode := range []string{"none", "jwt"} {
			c := wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_AUTH_MODE=" + mode, secret, "PUSHPOD_AUTH_HOOK_URL=" + url}})
			if string(c.Auth.HookURL) != url || c.Auth.HookTimeout != 2*time.Second {
				t.Errorf("%s, %s: %+v", mode, url, c.Auth.HookTimeout)
			}
		}
	}
	// A hook does not make none safe: it may let in by what it is told alone.
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_LISTEN=:1", "POD_IP=10.0.0.1", withRedis, "PUSHPOD_AUTH_HOOK_URL=http://hook/"}}, "auth.mode", "auth.insecure")
}
