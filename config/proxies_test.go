package config

import (
	"fmt"
	"testing"
)

func TestTrustedProxiesAreNetworks(t *testing.T) {
	for given, want := range map[string]string{
		"":                                "[]",
		"10.0.3.7":                        "[10.0.3.7/32]",
		"::1, 192.168.0.0/16":             "[::1/128 192.168.0.0/16]",
		"loopback":                        "[127.0.0.0/8 ::1/128]",
		"::ffff:10.0.3.7":                 "[10.0.3.7/32]",
		"::ffff:10.0.0.0/104,fd00::/8":    "[10.0.0.0/8 fd00::/8]",
		"0.0.0.0/0":                       "[0.0.0.0/0]",
		"2001:db8:0:1::/64,10.0.3.128/25": "[2001:db8:0:1::/64 10.0.3.128/25]",
	} {
		c := wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_AUTH_TRUSTED_PROXIES=" + given}})
		if got := fmt.Sprint(c.Auth.TrustedProxies); got != want {
			t.Errorf("%q: %s, want %s", given, got, want)
		}
	}
}

func TestKeysAboutProxiesFitTogether(t *testing.T) {
	header := []string{"PUSHPOD_AUTH_MODE=header", "PUSHPOD_LISTEN=:8080", "POD_IP=10.0.0.1", withRedis}
	with := func(more ...string) LoadOptions {
		o := LoadOptions{Environ: append([]string{}, header...)}
		for _, m := range more {
			o.Environ = append(o.Environ, "PUSHPOD_"+m)
		}
		return o
	}
	const user, proxy = "AUTH_HEADER=X-User", "AUTH_TRUSTED_PROXIES=10.0.0.0/8"
	wantLoaded(t, with(user, proxy))
	wantLoaded(t, with(user, proxy, "PROXY_PROTOCOL=on"))
	wantLoaded(t, with(user, "AUTH_TRUSTED_PROXIES=::/0", "AUTH_INSECURE=on"))
	wantOneProblem(t, with(user), "auth.mode", `"header" (PUSHPOD_AUTH_MODE)`, "no proxy is trusted", "auth.trusted_proxies")
	wantOneProblem(t, with(proxy), "auth.mode", "which header field", "auth.header")
	wantOneProblem(t, with(user, "AUTH_TRUSTED_PROXIES=10.0.0.1,0.0.0.0/0"), "auth.trusted_proxies", "anyone who can connect", "auth.insecure")
	wantOneProblem(t, with(user, "AUTH_TRUSTED_PROXIES=::ffff:0.0.0.0/96"), "auth.trusted_proxies", "anyone who can connect")
	wantOneProblem(t, with("AUTH_HEADER=tls-client-cn"), "auth.header", "tls.client_ca_file")
	wantLoaded(t, with("AUTH_HEADER=tls-client-cn", "TLS_CERT_FILE=c", "TLS_KEY_FILE=k", "TLS_CLIENT_CA_FILE=a"))
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_" + user}}, "auth.header", "would not be looked at", "auth.mode: header")
	wantOneProblem(t, LoadOptions{Environ: []string{"PUSHPOD_PROXY_PROTOCOL=on"}}, "proxy_protocol", "auth.trusted_proxies")
	wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_PROXY_PROTOCOL=on", "PUSHPOD_" + proxy}})
	// A key that is wrong is told alone.
	wantOneProblem(t, with(user, "AUTH_TRUSTED_PROXIES=x", "PROXY_PROTOCOL=on"), "auth.trusted_proxies", `"x"`)
}
