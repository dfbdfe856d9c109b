// Package redisconn makes every connection to Redis: clients, and raw
// connections of which the caller reads the bytes.
package redisconn

import (
	"sync/atomic"
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
	// Addresses are host:port, or unix:/path. One: a server, or a Cluster's node;
	// several: a Cluster's nodes; with SentinelMaster: the Sentinels.
	Addresses        []string
	SentinelMaster   string // name of the master that the Sentinels watch; "": they are none
	SentinelUsername string // with the Sentinels
	SentinelPassword secret.Text
	Username         string
	Password         secret.Text // may be empty for a user with `nopass`
	DB               int
	TLS              *TLS          // of servers and Sentinels; nil: none. A unix: socket has none
	Timeout          time.Duration // of a dial, a write, a read; 0: 3 s
	PoolSize         int           // connections of a client at most, beside 4 for pipelines; 0: 8

	// NoRetry makes a client send every command once at most; an error then means
	// "not known". It is for what is not idempotent, and for who repeats by itself.
	NoRetry bool

	// changing are the accounts in place of those above, where these may change.
	changing *atomic.Pointer[Accounts]
}

// Accounts are the users as whom connections log in.
type Accounts struct {
	Username, SentinelUsername string
	Password, SentinelPassword secret.Text
}

// accounts are those for a connection that is made now.
func (o Options) accounts() Accounts {
	if o.changing != nil {
		return *o.changing.Load()
	}
	return Accounts{o.Username, o.SentinelUsername, o.Password, o.SentinelPassword}
}

// credentials are those for a connection to a server, as the library asks for them.
func (o Options) credentials() (user, password string) {
	a := o.accounts()
	return a.Username, loginPassword(a.Username, a.Password)
}

// sentinelCredentials are those for a connection to a Sentinel.
func (o Options) sentinelCredentials() (user, password string) {
	a := o.accounts()
	return a.SentinelUsername, loginPassword(a.SentinelUsername, a.SentinelPassword)
}

func (o Options) timeout() time.Duration {
	if o.Timeout <= 0 {
		return defaultTimeout
	}
	return o.Timeout
}

// settings are the options as the library has them.
//
// Clients speak RESP2, where a connection never moves under its user, and obey the
// deadline of the context. The number of their connections is bounded, so that
// file descriptors can be counted on.
func (o Options) settings() *redis.UniversalOptions {
	timeout, pool, retries := o.timeout(), o.PoolSize, 3
	if pool <= 0 {
		pool = defaultPoolSize
	}
	if o.NoRetry {
		retries = -1
	}
	return &redis.UniversalOptions{
		Addrs:               o.Addresses,
		Dialer:              o.dialClient,
		CredentialsProvider: o.credentials,
		DB:                  o.DB,

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

// loginPassword is the password to log in with.
func loginPassword(user string, password secret.Text) string {
	if user != "" && password == "" {
		return "nopass" // the library logs nobody in without one; for an ACL's nopass any will do
	}
	return string(password)
}
