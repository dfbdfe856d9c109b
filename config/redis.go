package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

const (
	unixPrefix = "unix:"
	maxUnix    = 107 // bytes of a socket's path (unix(7), without the zero)
)

// redisAddresses reads the list that names a Redis: a YAML list, or text with commas.
func redisAddresses() kind[[]string] {
	const allowed = "nothing (an embedded Redis), one or several host:port, such as 10.0.3.1:6379 or [::1]:6379, or one unix:/path"
	return kind[[]string]{name: "host:port", allowed: allowed, parse: func(raw any) ([]string, error) {
		addresses, ok := words(raw)
		if !ok {
			return nil, errNotAllowed
		}
		for _, a := range addresses {
			if err := redisAddress(a); err != nil {
				return nil, err
			}
		}
		if len(addresses) > 1 && slices.ContainsFunc(addresses, isUnix) {
			return nil, errors.New("a socket is one server's, and stands alone")
		}
		return addresses, nil
	}}.as(listSchema(patternSchema("^(unix:/.*|" + hostPattern + ":" + portPattern + ")$")))
}

func redisAddress(a string) error {
	if strings.Contains(a, "://") {
		return errors.New("is a URL; host and port go here, and user, password and db into their own keys (redis.tls: on in place of rediss)")
	}
	if path, ok := strings.CutPrefix(a, unixPrefix); ok {
		if !strings.HasPrefix(path, "/") || len(path) > maxUnix || strings.ContainsFunc(path, unicode.IsControl) {
			return fmt.Errorf("is not unix: and an absolute path of at most %d bytes", maxUnix)
		}
		return nil
	}
	if host, port, valid := splitAddress(a); !valid || host == "" || port == 0 {
		return errNotAllowed
	}
	return nil
}

func isUnix(address string) bool { return strings.HasPrefix(address, unixPrefix) }

// checkRedis holds the keys that say where Redis is against each other.
func (l *loader) checkRedis(c Config) {
	if !l.sound("redis.addresses") {
		return
	}
	if c.Redis.Embedded() {
		l.checkEmbedded(c)
		return
	}
	r := c.Redis
	if l.sound("redis.db") && r.DB != 0 && len(r.Addresses) > 1 && r.SentinelMaster == "" {
		l.conflict("redis.db", "redis.addresses are those of a Cluster, which has database 0 only", "0, or one address, or with redis.sentinel_master")
	}
	if r.SentinelMaster == "" {
		const needs = "only together with redis.sentinel_master"
		l.unused("redis.sentinel_username", r.SentinelUsername != "", "there are no Sentinels", needs)
		l.unused("redis.sentinel_password", r.SentinelPassword != "", "there are no Sentinels", needs)
	}
	if t := r.TLS; !t.On {
		l.unusedTLS(t, "redis.tls is off", "only together with redis.tls: on")
		return
	}
	if t := r.TLS; t.CertFile != "" && t.KeyFile == "" {
		l.conflict("redis.tls_key_file", "there is no key to the certificate", "the key of redis.tls_cert_file")
	}
	l.unused("redis.tls_key_file", r.TLS.KeyFile != "" && r.TLS.CertFile == "", "there is no certificate that it belongs to", "only together with redis.tls_cert_file")
	l.unused("redis.tls", slices.ContainsFunc(r.Addresses, isUnix), "Redis speaks no TLS on a socket of the file system", "off with unix:/path")
}

// checkEmbedded holds the keys of a Redis that nobody named. An embedded one serves one
// pod, and nobody's users.
func (l *loader) checkEmbedded(c Config) {
	if !c.OnLoopback() && l.sound("listen") {
		l.conflict("redis.addresses", fmt.Sprintf("must be given where listen (%s) is not on loopback: an embedded Redis is for trying out, and no other pod or producer shares it", c.Listen),
			"host:port of your Redis, such as 10.0.3.1:6379, or a listen on loopback, such as 127.0.0.1:8080")
	}
	const why, needs = "no Redis is given that it is for", "only together with redis.addresses; the embedded Redis has no users, no TLS and no Sentinels"
	r := c.Redis
	l.unused("redis.username", r.Username != "", why, needs)
	l.unused("redis.password", r.Password != "", why, needs)
	l.unused("redis.sentinel_master", r.SentinelMaster != "", why, needs)
	l.unused("redis.sentinel_username", r.SentinelUsername != "", why, needs)
	l.unused("redis.sentinel_password", r.SentinelPassword != "", why, needs)
	l.unused("redis.tls", r.TLS.On, why, needs)
	l.unusedTLS(r.TLS, why, needs)
}

func (l *loader) unusedTLS(t RedisTLS, why, needs string) {
	l.unused("redis.tls_ca_file", t.CAFile != "", why, needs)
	l.unused("redis.tls_cert_file", t.CertFile != "", why, needs)
	l.unused("redis.tls_key_file", t.KeyFile != "", why, needs)
	l.unused("redis.tls_server_name", t.ServerName != "", why, needs)
}

// unused refuses what would be left unused without a word.
func (l *loader) unused(path string, is bool, why, needs string) {
	if is && l.sound(path) {
		l.conflict(path, why, needs)
	}
}
