package main

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"pushpod/admin"
	"pushpod/config"
	"pushpod/presence"
	"pushpod/producer"
	"pushpod/redisconn"
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
		Control: c.Redis.Control,
		Clients: func() (string, bool) { return p.server.Addr().String(), p.certs != nil },
		CLI:     func() string { return redisCLI(c.Redis, p.addrs, p.redis.Map().Kind == redisconn.Cluster) },
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

// redisCLI is how redis-cli is called for the Redis at these addresses. Who calls it brings
// an account of their own.
func redisCLI(c config.Redis, addrs []string, inCluster bool) string {
	words := []string{"redis-cli"}
	add := func(option, value string) {
		if value != "" {
			words = append(words, option, shellWord(value))
		}
	}
	if inCluster {
		words = append(words, "-c") // follows to the node that has the key
	}
	if path, is := strings.CutPrefix(addrs[0], "unix:"); is {
		add("-s", path)
	} else if c.SentinelMaster != "" {
		words = append(words, "-h MASTER -p PORT") // which Sentinels name
	} else if host, port, err := net.SplitHostPort(addrs[0]); err == nil {
		if ip, bad := netip.ParseAddr(host); host != "localhost" && (bad != nil || !ip.IsLoopback()) || c.TLS.On {
			add("-h", host)
		}
		if port != "6379" {
			add("-p", port)
		}
	}
	if c.DB != 0 {
		add("-n", strconv.Itoa(c.DB))
	}
	if c.TLS.On {
		words = append(words, "--tls")
		add("--cacert", c.TLS.CAFile)
		add("--cert", c.TLS.CertFile)
		add("--key", c.TLS.KeyFile)
		add("--sni", c.TLS.ServerName)
	}
	return strings.Join(words, " ")
}

// shellWord is a text as a word of a shell.
func shellWord(text string) string {
	if strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_./:,=@%+-", r)
	}) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
