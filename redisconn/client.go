// Package redisconn makes every connection to Redis: clients, and raw
// connections of which the caller reads the bytes.
package redisconn

import (
	"crypto/tls"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"pushpod/internal/secret"
)

const (
	defaultTimeout  = 3 * time.Second
	defaultPoolSize = 8
	pipelines       = 4 // connections for pipelines, beside the others
	pipelineBuffer  = 64 << 10
)

// Options says how to reach Redis.
type Options struct {
	Addresses      []string // one: standalone; several: Cluster; with SentinelMaster: the Sentinels
	SentinelMaster string   // name of the master that the Sentinels watch
	Username       string
	Password       secret.Text // may be empty for a user with `nopass`
	DB             int
	TLS            *tls.Config   // nil: none
	Timeout        time.Duration // of a dial, a write, a read; 0: 3 s
	PoolSize       int           // connections of a client at most, beside 4 for pipelines; 0: 8

	// NoRetry makes a client send every command once at most; an error then means
	// "not known". It is for what is not idempotent, and for who repeats by itself.
	NoRetry bool
}

// NewClient returns a client for Redis; the caller closes it. It does not
// connect yet.
//
// It speaks RESP2, where a connection never moves under its user, and obeys the
// deadline of the context. The number of its connections is bounded, so that
// the client's file descriptors can be counted on.
func NewClient(o Options) redis.UniversalClient {
	settings := o.settings()
	if o.TLS == nil { // with a dialer of one's own the library does no TLS
		settings.Dialer = dialSocket(settings.DialTimeout)
	}
	return redis.NewUniversalClient(settings)
}

// settings are the options as the library has them.
func (o Options) settings() *redis.UniversalOptions {
	timeout, pool, retries := o.Timeout, o.PoolSize, 3
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	if pool <= 0 {
		pool = defaultPoolSize
	}
	if o.Username != "" && o.Password == "" {
		o.Password = "nopass" // go-redis logs nobody in without one; for an ACL's nopass any will do
	}
	if o.NoRetry {
		retries = -1
	}
	return &redis.UniversalOptions{
		Addrs:      o.Addresses,
		MasterName: o.SentinelMaster,
		Username:   o.Username,
		Password:   string(o.Password),
		DB:         o.DB,
		TLSConfig:  o.TLS,

		MaxRetries:            retries,
		DialTimeout:           timeout,
		ReadTimeout:           timeout,
		WriteTimeout:          timeout,
		PoolTimeout:           timeout,
		ContextTimeoutEnabled: true,
		DialerRetries:         1, // whoever dials in vain has a backoff of its own

		PoolSize:       pool,
		MaxActiveConns: pool,
		// Pipelines have connections of their own, so that presence never
		// queues behind single commands.
		PipelinePoolSize:        pipelines,
		PipelineReadBufferSize:  pipelineBuffer,
		PipelineWriteBufferSize: pipelineBuffer,

		Protocol:        2,
		DisableIdentity: true, // one round trip less, and no right to CLIENT needed
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
}
