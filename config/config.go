package config

import (
	"net/netip"
	"time"

	"pushpod/internal/secret"
)

// A Config is the whole configuration of a pod. Default and Load make it; its
// values are within the bounds that Reference states. It is a plain value:
// whoever changes a copy by hand answers for the bounds.
type Config struct {
	Listen        string // host:port for clients
	TLS           TLS
	ProxyProtocol bool // who connects to Listen begins with a PROXY header

	Admin    Admin
	Pod      Pod
	Auth     Auth
	Redis    Redis
	Presence Presence
	Conn     Conn
	Limits   Limits
	Uplink   Uplink
	Log      Log
	Shutdown Shutdown
}

// TLS is the section `tls`: by which certificate Listen speaks TLS.
type TLS struct {
	CertFile     string // with KeyFile; "": no TLS
	KeyFile      string
	ClientCAFile string // "": clients need no certificate
}

// Admin is the section `admin`: the listener for operators.
type Admin struct {
	Listen   string      // host:port
	Token    secret.Text // at least 16 bytes; "": none
	Insecure bool        // allows no Token where Listen is not on loopback
	TLS      bool        // with the certificate of Config.TLS
	Pprof    bool
}

// Pod is the section `pod`: who this process is among the pods.
type Pod struct {
	Address string // host:port, unique per pod; never empty after Load
}

// Auth is the section `auth`: who a client is.
type Auth struct {
	Mode     string // "none", "jwt" or "header"
	Insecure bool   // allows mode "none" where Listen is not on loopback

	HMACSecret    secret.Text // at least 32 bytes; "": none
	HMACSecretOld secret.Text // likewise
	KeysFile      string      // "": none
	JWKSURL       string      // https, or http on loopback; "": none
	Issuer        string      // "": any
	Audience      []string    // nil: any
	Leeway        time.Duration
	RequireExp    bool
	Cookie        string      // "": none
	Origins       []string    // nil: the same host
	HookURL       secret.Text // http or https; "": none
	HookTimeout   time.Duration

	Header         string         // a header field, HeaderClientCN or HeaderClientSAN; "": none
	TrustedProxies []netip.Prefix // nil: none. IPv4 as IPv4
}

// Redis is the section `redis`.
type Redis struct {
	Addresses        []string // host:port, or one unix:/path; nil: an embedded Redis on EmbeddedListen
	EmbeddedListen   string   // host:port
	SentinelMaster   string   // "": Addresses are no Sentinels
	SentinelUsername string
	SentinelPassword secret.Text
	Username         string
	Password         secret.Text
	DB               int
	TLS              RedisTLS
	Prefix           string
	MaxEnvelope      Size
	Timeout          time.Duration
	Probe            time.Duration
	LoadFunctions    bool
	Control          bool
	PubSub           string // plain or sharded
}

// RedisTLS is how Redis, and Sentinels, are spoken TLS to.
type RedisTLS struct {
	On         bool
	CAFile     string // "": the system's authorities
	CertFile   string // with KeyFile; "": none
	KeyFile    string
	ServerName string // "": the host that is connected to
}

// Embedded says that no Redis is named, so that the pod brings its own.
func (r Redis) Embedded() bool { return len(r.Addresses) == 0 }

// Presence is the section `presence`: how long entries in Redis hold.
type Presence struct {
	TTL       time.Duration // above Renew + Conn.Ping + Conn.PingTimeout
	Renew     time.Duration
	Heartbeat time.Duration
	Lease     time.Duration // at least twice Heartbeat
}

// Conn is the section `conn`: one client's connection.
type Conn struct {
	MaxMessage       Size
	QueueBytes       Size
	SlowConsumer     string // "disconnect", "drop_newest" or "drop_oldest"
	Ping             time.Duration
	PingTimeout      time.Duration
	HandshakeTimeout time.Duration
	MaxHeader        Size
	MaxAge           time.Duration // 0: off
	SendBuffer       Size          // 0: the system's own
	IOUring          string        // "auto" or "off"
}

// Limits is the section `limits`. 0 means off.
type Limits struct {
	Connections         int
	PerUser             int
	OnExcess            string // "reject" or "close_oldest"
	PerIP               int
	HandshakesPerSecond int
	FramesPerSecond     int
}

// Uplink is the section `uplink`: what clients send up.
type Uplink struct {
	MaxLength int64 // entries in the stream
	MaxBytes  Size  // about what they take in Redis
}

// Log is the section `log`.
type Log struct {
	Level  string // "trace", "debug", "info", "warn" or "error"
	Format string // "auto", "json" or "console"
}

// Shutdown is the section `shutdown`: how a pod leaves.
type Shutdown struct {
	Delay time.Duration // 0s by default where Listen is on loopback, else 5s
	Drain time.Duration
}

// Default returns what Load returns when nothing at all is given: a pod on
// loopback with an embedded Redis.
func Default() Config {
	// The table's own presets and nothing else: a test holds that these load.
	c, err := Load(LoadOptions{})
	if err != nil {
		return Config{}
	}
	return c
}
