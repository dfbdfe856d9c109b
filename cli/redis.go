package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pushpod/config"
	"pushpod/presence"
	"pushpod/producer"
	"pushpod/redisconn"
)

// redisFlags are the keys that say where Redis is and what is in it.
func redisFlags() []string {
	return []string{
		"redis.addresses", "redis.embedded_listen", "redis.username", "redis.password", "redis.db", "redis.prefix", "redis.timeout",
		"redis.sentinel_master", "redis.sentinel_username", "redis.sentinel_password",
		"redis.tls", "redis.tls_ca_file", "redis.tls_cert_file", "redis.tls_key_file", "redis.tls_server_name",
	}
}

// A server is the Redis that a command speaks to.
type server struct {
	file  string         // --config
	flags *pflag.FlagSet // one flag for each key

	// Static after open.
	cfg   config.Redis
	lease time.Duration    // presence.lease
	redis *redisconn.Redis // to be closed
	keys  presence.Keys
}

// newServer adds the flags that say where Redis is to the command, and those of more keys.
func newServer(cmd *cobra.Command, more ...string) *server {
	s := &server{flags: pflag.NewFlagSet("keys", pflag.ContinueOnError)}
	config.AddFlags(s.flags)
	cmd.Flags().StringVar(&s.file, "config", "", "configuration file (YAML) that says where Redis is")
	s.flags.VisitAll(func(f *pflag.Flag) {
		if slices.Contains(redisFlags(), f.Name) || slices.Contains(more, f.Name) {
			cmd.Flags().AddFlag(f)
		}
	})
	return s
}

// open reads the configuration, and asks Redis what it is. The caller closes s.redis. Where
// nobody answers, the command says so.
func (s *server) open(ctx context.Context, environ []string) error {
	if err := noPod(s.flags); err != nil {
		return err
	}
	cfg, err := config.Load(config.LoadOptions{File: s.file, Flags: s.flags, Environ: environ})
	if err != nil {
		return err
	}
	s.cfg, s.lease = cfg.Redis, cfg.Presence.Lease
	s.keys = presence.NewKeys(s.cfg.Prefix)
	s.redis = redisconn.Open(RedisOptions(s.cfg))
	if err := s.redis.Ask(ctx); redisconn.IsSetting(err) {
		s.redis.Close()
		return err
	}
	return nil
}

// do sends a command on a key, repeatedly where it was lost on the way.
func (s *server) do(ctx context.Context, key string, cmd redis.Cmder) error {
	p := s.redis.Pipeline(true)
	p.Add(key, cmd)
	p.Exec(ctx)
	return cmd.Err()
}

// producer does what needs no script.
func (s *server) producer() *producer.Producer {
	return &producer.Producer{
		Redis: s.redis, Keys: s.keys, Control: s.cfg.Control, Sharded: s.cfg.PubSub == "sharded", MaxEnvelope: int(s.cfg.MaxEnvelope),
	}
}

// noPod sets what a pod must say of itself: whoever is none listens nowhere, and has no
// address.
func noPod(flags *pflag.FlagSet) error {
	for _, key := range []string{"listen", "pod.address"} {
		if err := flags.Set(key, "127.0.0.1:1"); err != nil {
			return fmt.Errorf("cli: %w", err)
		}
	}
	return nil
}

// RedisOptions says how to reach the Redis of a configuration; where none is named, the
// embedded one.
func RedisOptions(r config.Redis) redisconn.Options {
	o := redisconn.Options{
		Addresses:        r.Addresses,
		SentinelMaster:   r.SentinelMaster,
		SentinelUsername: r.SentinelUsername,
		SentinelPassword: r.SentinelPassword,
		Username:         r.Username,
		Password:         r.Password,
		DB:               r.DB,
		Timeout:          r.Timeout,
	}
	if r.Embedded() {
		o.Addresses = []string{r.EmbeddedListen}
	}
	if t := r.TLS; t.On {
		o.TLS = &redisconn.TLS{CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName}
	}
	return o
}

// address returns the address of the pod with this channel, or "" where the
// channel is not a pod's.
func (s *server) address(channel string) string {
	if address, ok := s.keys.PodAddress(channel); ok {
		return address
	}
	return ""
}

// failed adds to an error which Redis was tried, where nobody named one.
func (s *server) failed(err error) error {
	if s.cfg.Embedded() && notDialled(err) {
		return fmt.Errorf("%w (no redis.addresses is given, so the embedded Redis of a pod on this machine was tried)", err)
	}
	return err
}

// notDialled reports whether there was no connection at all, so that nothing
// was sent.
func notDialled(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}
