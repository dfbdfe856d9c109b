package main

import (
	"fmt"
	"net"

	"pushpod/config"
	"pushpod/conn"
)

// welcome prints what to do next, for somebody who tries pushpod out.
func (p *pod) welcome() {
	_, redisPort, _ := net.SplitHostPort(p.addrs[0])
	scheme := "ws"
	if p.certs != nil {
		scheme = "wss"
	}
	url := fmt.Sprint(scheme, "://", p.server.Addr(), conn.Path)
	clients, connect := howToConnect(url, &p.cfg)
	fmt.Fprintf(p.stdout, `
pushpod is running. Clients connect to   %[1]s
Redis (embedded) listens on              %[2]s
The embedded Redis is for trying out: its data is lost when pushpod stops.
%[5]s
Connect as alice, in a second terminal:
%[3]s
Push to alice, in a third one:
    go run . push alice '{"text":"hi"}' --redis.addresses %[2]s
or with redis-cli:
    redis-cli -p %[4]s --eval scripts/push.lua 'push:user:{alice}' , '{"text":"hi"}'

`, clients, p.addrs[0], connect, redisPort, p.inABrowser())
}

// inABrowser says where the pages for people are.
func (p *pod) inABrowser() string {
	scheme := "http"
	if p.cfg.Admin.TLS {
		scheme = "https"
	}
	url := fmt.Sprint(scheme, "://", p.admin.Addr(), "/")
	if p.mayDemo() {
		return "\nSee it at work in a browser              " + url + "demo\nThe console of this pod                  " + url + "\n"
	}
	return "\nThe console of this pod                  " + url + "\n"
}

// howToConnect says where clients connect, and how alice does, in lines of a shell.
func howToConnect(url string, c *config.Config) (clients, alice string) {
	a := &c.Auth
	alice = "    go run . connect alice --url " + url
	if c.TLS.CertFile != "" {
		alice += " --ca-file CA.pem"
	}
	if c.TLS.ClientCAFile != "" {
		alice += " --cert-file ALICE.pem --key-file ALICE.key"
	}
	field, certificate := userHeader(a.Header)
	switch {
	case a.Mode == "header" && certificate != nil:
		return url + ", with a certificate that names the user", alice
	case a.Mode == "header":
		return url + ", through a proxy of auth.trusted_proxies that sets " + field,
			"    # the proxy lets her in, and sets " + field + ": alice"
	case a.Mode != "jwt":
		return url + "?user=ID", alice
	case a.HMACSecret != "":
		return url + ", with a token", `    # with the same auth.hmac_secret: PUSHPOD_AUTH_HMAC_SECRET, or pushpod token --config FILE
    TOKEN=$(go run . token alice)
` + alice + ` --token "$TOKEN"`
	}
	return url + ", with a token", `    # TOKEN is one of your issuer's, whose sub is alice
` + alice + ` --token "$TOKEN"`
}
