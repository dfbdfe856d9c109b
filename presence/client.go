package presence

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	defaultTimeout  = 3 * time.Second
	defaultPoolSize = 8
	pipelines       = 4 // connections for pipelines, beside the others
	pipelineBuffer  = 64 << 10
)

// ClientOptions says how to reach Redis.
type ClientOptions struct {
	Addresses      []string // one: standalone; several: Cluster; with SentinelMaster: the Sentinels
	SentinelMaster string   // name of the master that the Sentinels watch
	Username       string
	Password       string // may be empty for a user with `nopass`
	DB             int
	TLS            *tls.Config   // nil: none
	Timeout        time.Duration // of a dial, a write, a read; 0: 3 s

	// NoRetry makes every command be sent once at most; an error then means
	// "not known". It is for what is not idempotent, and for the Store, which
	// repeats by itself and must know what may have been sent twice.
	NoRetry bool

	PoolSize int                                                               // connections at most, beside 4 for pipelines; 0: 8
	Dialer   func(ctx context.Context, network, addr string) (net.Conn, error) // nil: the client's own
}

// NewClient returns a client for Redis; the caller closes it. It does not
// connect yet.
//
// It speaks RESP2, where a connection never moves under its user, and obeys the
// deadline of the context. The number of its connections is bounded, so that
// the client's file descriptors can be counted on.
func NewClient(o ClientOptions) redis.UniversalClient {
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	pool := o.PoolSize
	if pool <= 0 {
		pool = defaultPoolSize
	}
	if o.Username != "" && o.Password == "" {
		o.Password = "nopass" // go-redis logs nobody in without one; for an ACL's nopass any will do
	}
	retries := 3
	if o.NoRetry {
		retries = -1
	}
	if o.Dialer == nil && o.TLS == nil {
		o.Dialer = dialSocket(timeout)
	}
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:      o.Addresses,
		MasterName: o.SentinelMaster,
		Username:   o.Username,
		Password:   o.Password,
		DB:         o.DB,
		TLSConfig:  o.TLS,
		Dialer:     o.Dialer,

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
	})
}
