package main

import (
	"testing"

	"pushpod/config"
)

func TestWelcomeSaysHowToConnectInEachMode(t *testing.T) {
	const url = "ws://127.0.0.1:8080/ws"
	for name, c := range map[string]struct {
		set            func(*config.Config)
		clients, alice string
	}{
		"none": {func(c *config.Config) {}, url + "?user=ID", "    go run . connect alice --url " + url},
		"a secret": {
			func(c *config.Config) { c.Auth.Mode, c.Auth.HMACSecret = "jwt", "s" }, url + ", with a token",
			"    # with the same auth.hmac_secret: PUSHPOD_AUTH_HMAC_SECRET, or pushpod token --config FILE\n" +
				"    TOKEN=$(go run . token alice)\n    go run . connect alice --url " + url + ` --token "$TOKEN"`,
		},
		"an issuer": {
			func(c *config.Config) { c.Auth.Mode = "jwt" }, url + ", with a token",
			"    # TOKEN is one of your issuer's, whose sub is alice\n    go run . connect alice --url " + url + ` --token "$TOKEN"`,
		},
		"a proxy": {
			func(c *config.Config) { c.Auth.Mode, c.Auth.Header = "header", "X-User" },
			url + ", through a proxy of auth.trusted_proxies that sets X-User",
			"    # the proxy lets her in, and sets X-User: alice",
		},
		"certificates": {
			func(c *config.Config) {
				c.Auth.Mode, c.Auth.Header = "header", config.HeaderClientCN
				c.TLS.CertFile, c.TLS.ClientCAFile = "cert.pem", "ca.pem"
			},
			url + ", with a certificate that names the user",
			"    go run . connect alice --url " + url + " --ca-file CA.pem --cert-file ALICE.pem --key-file ALICE.key",
		},
	} {
		var cfg config.Config
		c.set(&cfg)
		if clients, alice := howToConnect(url, &cfg); clients != c.clients || alice != c.alice {
			t.Errorf("%s: %q, %q; want %q, %q", name, clients, alice, c.clients, c.alice)
		}
	}
}
