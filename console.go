package main

import (
	"net"
	"net/netip"
	"strings"

	"pushpod/admin"
	"pushpod/presence"
	"pushpod/producer"
)

// console says what the page on admin.listen shows, and acts by.
func (p *pod) console(keys presence.Keys, sources admin.Sources) *admin.Console {
	c := &p.cfg
	return &admin.Console{
		Pod:     c.Pod.Address,
		Version: p.version,
		Keys:    keys,
		Lease:   c.Presence.Lease,
		TTL:     c.Presence.TTL,
		Auth:    c.Auth.Mode,
		Clients: func() (string, bool) { return p.server.Addr().String(), p.certs != nil },
		CLI:     redisCLI(p.addrs),
		Demo:    p.mayDemo(),
		Sources: sources,
		Producer: &producer.Producer{
			Redis: p.redis, Keys: keys, Control: c.Redis.Control, Sharded: c.Redis.PubSub == "sharded", MaxEnvelope: int(c.Redis.MaxEnvelope),
		},
		Address:      p.hub.Address,
		BadEnvelopes: p.hub.BadEnvelopes,
		Acted: func(what, whom string, remote netip.Addr) {
			p.log.Info().Str("action", what).Str("whom", whom).Stringer("address", remote).Msg("an operator has acted by the console")
		},
	}
}

// mayDemo reports whether a page may connect as whom it likes, from this machine only.
func (p *pod) mayDemo() bool {
	return p.cfg.Auth.Mode == "none" && p.certs == nil && p.cfg.OnLoopback()
}

// redisCLI is how redis-cli is called for the first of these addresses.
func redisCLI(addrs []string) string {
	if len(addrs) == 0 {
		return "redis-cli"
	}
	if path, is := strings.CutPrefix(addrs[0], "unix:"); is {
		return "redis-cli -s " + path
	}
	host, port, err := net.SplitHostPort(addrs[0])
	cli := "redis-cli"
	if ip, bad := netip.ParseAddr(host); err == nil && host != "localhost" && (bad != nil || !ip.IsLoopback()) {
		cli += " -h " + host
	}
	if err == nil && port != "6379" {
		cli += " -p " + port
	}
	return cli
}
