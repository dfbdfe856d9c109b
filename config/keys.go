package config

import (
	"net/netip"
	"reflect"
	"strings"
	"time"

	"pushpod/internal/secret"
)

// A key is one setting. The table of them (keys) is the only place that knows
// a key's name, default, bounds and meaning.
type key struct {
	path    string // in the file's notation: conn.ping
	preset  string // the default, as a file or a variable would give it
	derived string // in place of preset, where the default depends on other keys: an example
	doc     string // plain sentences; the first one alone is the flag's usage
	secret  bool   // the value is shown to nobody, and no flag takes it
	reload  string // what a pod that runs applies another value to; "": it needs a restart

	name    string // of the kind of value
	allowed string
	schema  node
	words   []string // that the value may be; text that is none of them may be allowed too
	list    bool
	quoted  bool // the file needs quotes around the default
	set     func(c *Config, raw any) error
	get     func(c *Config) any
	copy    func(to, from *Config)
}

// newKey ties a key to the field it fills and the kind that reads it.
func newKey[T any](path, preset string, field func(*Config) *T, k kind[T], doc string) key {
	list := false
	switch any(*new(T)).(type) {
	case []string, []netip.Prefix:
		list = true
	}
	quoted := reflect.TypeFor[T]().Kind() == reflect.String
	return key{
		path: path, preset: preset, doc: doc,
		name: k.name, allowed: k.allowed, schema: k.schema, words: k.words, list: list,
		// Only what YAML would not read as text.
		quoted: quoted && (preset == "" || strings.HasSuffix(preset, ":")),
		set: func(c *Config, raw any) error {
			value, err := k.parse(raw)
			if err == nil {
				*field(c) = value
			}
			return err
		},
		get:  func(c *Config) any { return *field(c) },
		copy: func(to, from *Config) { *field(to) = *field(from) },
	}
}

func (k key) derivedAs(example string) key { k.derived = example; return k }
func (k key) kept() key                    { k.secret = true; return k }

// live marks a key that a pod takes over from its file while it runs. to says what another
// value holds for.
func (k key) live(to string) key { k.reload = to; return k }

// restart reports whether a pod must be restarted to take another value.
func (k key) restart() bool { return k.reload == "" }

// What a changed value holds for.
const (
	forAll        = "everything, at once"
	forNew        = "new connections"
	forHandshakes = "handshakes"
	forTokens     = "tokens that come then"
	forRedis      = "new connections to Redis"
)

// variable is the name of the key's environment variable.
func (k key) variable() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// section and leaf split the path: "conn" and "ping"; a top-level key has no
// section.
func (k key) section() string {
	section, _, nested := strings.Cut(k.path, ".")
	if !nested {
		return ""
	}
	return section
}

func (k key) leaf() string {
	return k.path[strings.LastIndexByte(k.path, '.')+1:]
}

const day = 24 * time.Hour

// keys returns the table, in the order of the reference.
func keys() []key {
	return []key{
		newKey("listen", "127.0.0.1:8080", func(c *Config) *string { return &c.Listen }, listenAddress(),
			"Where clients connect (GET /ws). A loopback address serves this machine only; :8080 serves all interfaces."),
		newKey("proxy_protocol", "off", func(c *Config) *bool { return &c.ProxyProtocol }, onOff(),
			"Connections to listen come from proxies that tell the client's address by the PROXY protocol, version 1 or 2. Only auth.trusted_proxies may connect, and each connection must begin with its header, "+
				"also before TLS, and also that of a health check (LOCAL and UNKNOWN keep the proxy's own address). All others are closed without an answer."),

		newKey("tls.cert_file", "", func(c *Config) *string { return &c.TLS.CertFile }, text(4096, ""),
			"File with the certificate by which listen speaks TLS 1.2 and 1.3 (wss), in PEM, behind it those that lead to its authority. Without it, listen speaks plain TCP. "+
				"It is read again when it or one of the other two changes; if they can't be used then, the log says so and those that are known stay."),
		newKey("tls.key_file", "", func(c *Config) *string { return &c.TLS.KeyFile }, text(4096, ""),
			"File with the key of tls.cert_file, in PEM."),
		newKey("tls.client_ca_file", "", func(c *Config) *string { return &c.TLS.ClientCAFile }, text(4096, ""),
			"File with the certificates of authorities, in PEM. If it is given, clients need a certificate of one of them."),

		newKey("admin.listen", "127.0.0.1:9090", func(c *Config) *string { return &c.Admin.Listen }, listenAddress(),
			"Where operators connect: /healthz, /readyz and /metrics, which anyone may ask for, and the console page, profiles and what acts, which need admin.token if it is given. "+
				"It must differ from listen. If it is not on loopback, admin.token must be given, or admin.insecure be on. On loopback, and without a token, requests must name the pod by an address, localhost or the host given here. "+
				"Keep it away from the public."),
		newKey("admin.token", "", func(c *Config) *secret.Text { return &c.Admin.Token }, secretText(leastToken),
			"What operators must know: it goes into Authorization: Bearer, or into the form that a browser is shown. If it is given it is needed on loopback too. Better given in the environment than in a file. No flag takes it, and no log line or error shows it.").kept().live(forAll),
		newKey("admin.insecure", "off", func(c *Config) *bool { return &c.Admin.Insecure }, onOff(),
			"Allow an admin.listen that is not on loopback without admin.token. Anyone who can connect can then do what operators can.").live(forAll),
		newKey("admin.tls", "off", func(c *Config) *bool { return &c.Admin.TLS }, onOff(),
			"Speak TLS on admin.listen too (https), by the certificate of tls.cert_file. Operators need none of their own."),
		newKey("admin.pprof", "off", func(c *Config) *bool { return &c.Admin.Pprof }, onOff(),
			"Serve Go's profiles at /debug/pprof/ on admin.listen.").live(forAll),

		newKey("pod.address", "", func(c *Config) *string { return &c.Pod.Address }, podAddress(),
			"This pod's unique name among all pods; it subscribes to the channel push:pod:ADDRESS. By default $POD_IP with the port of listen; without POD_IP, "+
				"the address of listen if that is on loopback. Otherwise, and if the port of listen is 0, it must be given.").derivedAs("127.0.0.1:8080"),

		newKey("auth.mode", "none", func(c *Config) *string { return &c.Auth.Mode }, oneOf([]string{"none", "jwt", "header"}, nil), "How clients prove who they are. With none a client is who it says in ?user=ID, so none is allowed only if listen is on loopback or auth.insecure is on. "+
			"With jwt a client is the sub of a signed token, which stands in Authorization: Bearer, in auth.cookie, among the subprotocols (pushpod.v1, bearer.TOKEN) or in ?token=, looked for in this order. A token in ?token= that has a jti lets in one connection. "+
			"A connection is closed with 4000 when its token expires. "+
			"With header a client is who a trusted proxy, or its certificate, says: auth.header."),
		newKey("auth.insecure", "off", func(c *Config) *bool { return &c.Auth.Insecure }, onOff(),
			"Allow auth.mode none although listen is not on loopback. Anyone who can connect can be any user: use it only behind something that authenticates.").live(forAll),

		newKey("auth.hmac_secret", "", func(c *Config) *secret.Text { return &c.Auth.HMACSecret }, secretText(leastSecret),
			"Secret with which tokens are signed by HS256, HS384 or HS512. Better given in the environment than in a file. No flag takes it, and no log line or error shows it.").kept().live(forTokens),
		newKey("auth.hmac_secret_old", "", func(c *Config) *secret.Text { return &c.Auth.HMACSecretOld }, secretText(leastSecret),
			"Secret that is accepted too, while auth.hmac_secret is being replaced.").kept().live(forTokens),
		newKey("auth.keys_file", "", func(c *Config) *string { return &c.Auth.KeysFile }, text(4096, ""),
			"File with the keys that verify tokens: a JSON Web Key Set, or public keys and certificates in PEM. It is read again when it changes; if it can't be used then, the keys that are known stay."),
		newKey("auth.jwks_url", "", func(c *Config) *string { return &c.Auth.JWKSURL }, jwksURL(),
			"Where the issuer of tokens publishes its keys (a JSON Web Key Set). Keys are cached, and fetched again for a token that names an unknown one, once a second at most. "+
				"While they can't be fetched, the keys that are known stay, and tokens that name others get 503."),
		newKey("auth.issuer", "", func(c *Config) *string { return &c.Auth.Issuer }, text(1024, ""),
			"What iss of a token must be. If empty, it may be anything.").live(forTokens),
		newKey("auth.audience", "", func(c *Config) *[]string { return &c.Auth.Audience }, textList(),
			"Audiences of which the aud of a token must name one. If empty, it may be anything: then a token that was issued for another service of the same issuer is good here too.").live(forTokens),
		newKey("auth.leeway", "0s", func(c *Config) *time.Duration { return &c.Auth.Leeway }, duration(0, 5*time.Minute, false),
			"By how much the clock of the issuer may differ: a token is good for so long before its nbf and after its exp.").live(forTokens),
		newKey("auth.require_exp", "on", func(c *Config) *bool { return &c.Auth.RequireExp }, onOff(),
			"Refuse tokens that never expire.").live(forTokens),
		newKey("auth.cookie", "", func(c *Config) *string { return &c.Auth.Cookie }, cookieName(),
			"Name of a cookie in which a token may stand. If empty, there is none.").live(forHandshakes),
		newKey("auth.origins", "", func(c *Config) *[]string { return &c.Auth.Origins }, origins(),
			"Origins whose pages may connect. In a host name * stands for one or more characters, dots too; null stands for itself. If empty, pages of the host that they connect to may, on whatever port.").live(forHandshakes),
		newKey("auth.hook_url", "", func(c *Config) *secret.Text { return &c.Auth.HookURL }, hookURL(),
			"Service that says whether a client may connect, asked after all that auth.mode asks for. Each handshake is a POST of {\"user\",\"token\",\"ip\",\"origin\",\"device\"}, as far as these are known; with none, user is the asked one. "+
				"200 with {\"user\",\"expires\" (Unix ms),\"topics\"}, all optional, lets in; 401 or 403, with {\"reason\"} or without, refuses; on anything else the client gets 503. "+
				"It gets tokens: use https outside of your own network. A name and password in the URL are sent along; no log line or error shows it.").kept(),
		newKey("auth.hook_timeout", "2s", func(c *Config) *time.Duration { return &c.Auth.HookTimeout }, duration(100*time.Millisecond, 30*time.Second, false),
			"How long a client waits for auth.hook_url at most; after it the client gets 503. Where the hook fails again and again, it is not asked for 3s."),

		newKey("auth.header", "", func(c *Config) *string { return &c.Auth.Header }, userHeader(),
			"With auth.mode header, the header field in which a proxy of auth.trusted_proxies sends the user id, as it is, without a comma; it must replace the one that a client may have sent. "+
				"Where it is empty or missing, or the peer is no such proxy, the client gets 401; where it stands twice or holds a comma, 400. "+
				"tls-client-cn takes the user from the common name of the client's certificate, tls-client-san from its one subject alternative name (DNS name, e-mail address or URI); these need tls.client_ca_file, and no proxy."),
		newKey("auth.trusted_proxies", "", func(c *Config) *[]netip.Prefix { return &c.Auth.TrustedProxies }, proxies(),
			"Who is a proxy that is believed: what it sends in auth.header, and by proxy_protocol, and where a client is. In every auth.mode, the client's address is the last one in X-Forwarded-For that is not of these; "+
				"from anyone else that field is ignored. The address counts for limits.per_ip and stands in logs.").live(forHandshakes),

		newKey("redis.addresses", "", func(c *Config) *[]string { return &c.Redis.Addresses }, redisAddresses(),
			"The Redis that pods and producers share: host:port of a server, or of a node of a Cluster, which says itself what it is; of several nodes of a Cluster, of which one is enough; or, with redis.sentinel_master, of the Sentinels. unix:/path names a socket. "+
				"Where a name leads to another server than before, pods follow within 10s + redis.probe + redis.timeout. "+
				"If empty, the pod starts an embedded Redis for trying out, and listen must be on loopback: it keeps nothing, and is for one pod only."),
		newKey("redis.embedded_listen", "127.0.0.1:6379", func(c *Config) *string { return &c.Redis.EmbeddedListen }, listenAddress(),
			"Where the embedded Redis listens; if the port is taken, on the next free one. Unused if redis.addresses is given. It has no password."),
		newKey("redis.sentinel_master", "", func(c *Config) *string { return &c.Redis.SentinelMaster }, text(256, ""),
			"Name of the master that the Sentinels at redis.addresses monitor. Name all Sentinels: one that answers is enough, and whoever knows the latest failover is believed. If empty, redis.addresses are no Sentinels."),
		newKey("redis.sentinel_username", "", func(c *Config) *string { return &c.Redis.SentinelUsername }, text(256, ""),
			"User in the access control list of the Sentinels. redis.username is for the servers alone.").live(forRedis),
		newKey("redis.sentinel_password", "", func(c *Config) *secret.Text { return &c.Redis.SentinelPassword }, secretText(0),
			"Password for the Sentinels. No flag takes it, and no log line or error shows it.").kept().live(forRedis),
		newKey("redis.username", "", func(c *Config) *string { return &c.Redis.Username }, text(256, ""),
			"User in Redis's access control list. The user needs the channels too (&push:*); since Redis 7, new users have none.").live(forRedis),
		newKey("redis.password", "", func(c *Config) *secret.Text { return &c.Redis.Password }, secretText(0),
			"Password for Redis. Better given in the environment than in a file. No flag takes it, and no log line or error shows it.").kept().live(forRedis),
		newKey("redis.db", "0", func(c *Config) *int { return &c.Redis.DB }, number(0, 65535, false),
			"Number of the Redis database; a Cluster has 0 only. Databases separate keys, but not channels: to share one Redis between two installations, give each its own redis.prefix."),
		newKey("redis.tls", "off", func(c *Config) *bool { return &c.Redis.TLS.On }, onOff(),
			"Speak TLS to Redis, and to Sentinels."),
		newKey("redis.tls_ca_file", "", func(c *Config) *string { return &c.Redis.TLS.CAFile }, text(4096, ""),
			"File with the certificates of the authorities that sign Redis's, in PEM; if empty, the system's are trusted. This one and the next two are read again at each connection; while they can't be used, new connections to Redis fail, and the log says why."),
		newKey("redis.tls_cert_file", "", func(c *Config) *string { return &c.Redis.TLS.CertFile }, text(4096, ""),
			"File with the certificate that pods show to Redis, in PEM, where it asks for one."),
		newKey("redis.tls_key_file", "", func(c *Config) *string { return &c.Redis.TLS.KeyFile }, text(4096, ""),
			"File with the key of redis.tls_cert_file, in PEM."),
		newKey("redis.tls_server_name", "", func(c *Config) *string { return &c.Redis.TLS.ServerName }, text(253, ""),
			"Name that the certificates of Redis are for, where it is not the host that is connected to: Sentinels and Clusters name their servers by IP addresses."),
		newKey("redis.pubsub", "plain", func(c *Config) *string { return &c.Redis.PubSub }, oneOf([]string{"plain", "sharded"}, nil),
			"How producers reach the pod in a Cluster. plain: by PUBLISH, which every node of the Cluster takes part in. sharded: also by SPUBLISH to the node that has the slot of the pod's channel, which costs that one alone (Redis 7, Valkey); push.sh and the commands follow it. "+
				"Change the pods first, then the producers."),
		newKey("redis.prefix", "push:", func(c *Config) *string { return &c.Redis.Prefix }, text(128, "{}"),
			"Prefix of all keys and channels in Redis. All pods and producers of an installation need the same one."),
		newKey("redis.max_envelope", "1MiB", func(c *Config) *Size { return &c.Redis.MaxEnvelope }, size(kib, 64*mib),
			"Largest message that a pod accepts from its channels. A larger one is counted as a bad envelope and dropped."),
		newKey("redis.timeout", "3s", func(c *Config) *time.Duration { return &c.Redis.Timeout }, duration(10*time.Millisecond, time.Minute, false),
			"How long to wait for an answer of Redis before the command counts as failed."),
		newKey("redis.probe", "3s", func(c *Config) *time.Duration { return &c.Redis.Probe }, duration(10*time.Millisecond, time.Minute, false),
			"How often a pod publishes to itself to check its subscription. If Redis goes silent, the pod notices within redis.probe + redis.timeout."),
		newKey("redis.load_functions", "off", func(c *Config) *bool { return &c.Redis.LoadFunctions }, onOff(),
			"Load the function library (FCALL pushpod_push) at the start, if Redis supports functions and has no newer version."),
		newKey("redis.control", "off", func(c *Config) *bool { return &c.Redis.Control }, onOff(),
			"Obey a close only on the channels push:ctl:ADDRESS of each pod and push:ctl:all, so that Redis's access control list can tell who may push from who may close connections. "+
				"On push:pod:ADDRESS and push:all the data beside a close is still delivered; all is for push:all and push:ctl:all. All pods of an installation need the same value."),

		newKey("presence.ttl", "90s", func(c *Config) *time.Duration { return &c.Presence.TTL }, duration(time.Second, day, false),
			"How long a presence entry stays in Redis after its pod has died. Must be more than presence.renew + conn.ping + conn.ping_timeout."),
		newKey("presence.renew", "30s", func(c *Config) *time.Duration { return &c.Presence.Renew }, duration(100*time.Millisecond, 12*time.Hour, false),
			"How often a pod renews the presence entry of each connection. After a loss of data in Redis, presence is complete again within this time; and within it, blocks and revocations close live connections."),
		newKey("presence.heartbeat", "3s", func(c *Config) *time.Duration { return &c.Presence.Heartbeat }, duration(50*time.Millisecond, time.Minute, false),
			"How often a pod writes its heartbeat to Redis."),
		newKey("presence.lease", "10s", func(c *Config) *time.Duration { return &c.Presence.Lease }, duration(100*time.Millisecond, 10*time.Minute, false),
			"How long a pod's heartbeat may stay unchanged before other pods consider it dead; a restarted pod also waits this long before it takes over its own address. Must be at least twice presence.heartbeat."),

		newKey("conn.max_message", "64KiB", func(c *Config) *Size { return &c.Conn.MaxMessage }, size(125, 16*mib),
			"Largest message that a client may send. A larger one closes the connection with 1009.").live(forAll),
		newKey("conn.queue_bytes", "256KiB", func(c *Config) *Size { return &c.Conn.QueueBytes }, size(kib, gib),
			"Memory that a connection's send queue may take, for clients that read more slowly than messages come. A message takes more than its bytes: see docs/performance.md. A larger message is still sent if the queue is empty.").live(forAll),
		newKey("conn.slow_consumer", "disconnect", func(c *Config) *string { return &c.Conn.SlowConsumer }, oneOf([]string{"disconnect", "drop_newest", "drop_oldest"}, nil),
			"What happens when a send queue is full: disconnect (close with 1013; the client may reconnect), drop_newest (drop the new message), drop_oldest (drop the oldest messages in the queue).").live(forAll),
		newKey("conn.ping", "25s", func(c *Config) *time.Duration { return &c.Conn.Ping }, duration(time.Second, time.Hour, false),
			"How long a connection may be silent before the pod sends a ping. Must be less than the idle timeout of any proxy in between.").live("new connections; those that are open are pinged no less often than they were told"),
		newKey("conn.ping_timeout", "10s", func(c *Config) *time.Duration { return &c.Conn.PingTimeout }, duration(100*time.Millisecond, 10*time.Minute, false),
			"How long to wait for the answer to a ping before the connection counts as dead.").live("pings that are sent then"),
		newKey("conn.handshake_timeout", "5s", func(c *Config) *time.Duration { return &c.Conn.HandshakeTimeout }, duration(100*time.Millisecond, 5*time.Minute, false),
			"Time limit for a handshake; after it the client gets 408.").live(forNew),
		newKey("conn.max_header", "16KiB", func(c *Config) *Size { return &c.Conn.MaxHeader }, size(kib, mib),
			"Largest header of a handshake, including request line and cookies. A larger one is refused with 431.").live(forHandshakes),
		newKey("conn.max_age", "off", func(c *Config) *time.Duration { return &c.Conn.MaxAge }, duration(time.Second, 30*day, true),
			"Close a connection with 1001 after this time, plus or minus a tenth, so that connections spread over new pods.").live(forNew),
		newKey("conn.send_buffer", "off", func(c *Config) *Size { return &c.Conn.SendBuffer }, sizeOrOff(4*kib, 64*mib),
			"Size of the system's own buffer for what is sent to a connection (SO_SNDBUF), in front of which conn.queue_bytes waits: the system takes up to twice as much memory for it. "+
				"off leaves it to the system, which gives a client that reads slowly up to 4 MiB on Linux (net.ipv4.tcp_wmem). Small buffers slow down clients that are far away: a buffer is sent in one round trip. "+
				"What exceeds net.core.wmem_max is cut to it, and the log says so."),
		newKey("conn.io_uring", "auto", func(c *Config) *string { return &c.Conn.IOUring }, oneOf([]string{"auto", "off"}, nil),
			"How to send to many connections at once: auto (with Linux's io_uring, if the kernel allows it and a test at the start succeeds), off (one system call for each connection)."),

		newKey("limits.connections", "off", func(c *Config) *int { return &c.Limits.Connections }, number(1, 100_000_000, true),
			"Maximum number of connections on this pod. Further ones are refused with 503.").live(forHandshakes),
		newKey("limits.per_user", "100", func(c *Config) *int { return &c.Limits.PerUser }, number(1, 1_000_000, true),
			"Maximum number of connections of one user, over all pods.").live(forHandshakes),
		newKey("limits.on_excess", "reject", func(c *Config) *string { return &c.Limits.OnExcess }, oneOf([]string{"reject", "close_oldest"}, nil),
			"What to do with a connection beyond limits.per_user: reject (refuse it), close_oldest (accept it, and close the user's oldest connection with 4501).").live(forHandshakes),
		newKey("limits.per_ip", "off", func(c *Config) *int { return &c.Limits.PerIP }, number(1, 100_000_000, true),
			"Maximum number of connections from one address, or of IPv6 from one network of 64 bits, on this pod. Behind auth.trusted_proxies it is the client's address. Further ones are refused with 429.").live(forHandshakes),
		newKey("limits.handshakes_per_second", "off", func(c *Config) *int { return &c.Limits.HandshakesPerSecond }, number(1, 10_000_000, true),
			"Maximum number of handshakes a second on this pod. Further ones are refused with 429.").live(forHandshakes),
		newKey("limits.frames_per_second", "50", func(c *Config) *int { return &c.Limits.FramesPerSecond }, number(1, 1_000_000, true),
			"Maximum number of frames a second from one connection, including control frames and fragments. Further ones are rejected; if they go on, the connection is closed with 1008.").live(forAll),

		newKey("uplink.max_length", "100000", func(c *Config) *int64 { return &c.Uplink.MaxLength }, number[int64](1, 1_000_000_000, false),
			"About how many entries the stream of clients' requests (push:uplink) keeps; the oldest are removed first.").live(forAll),
		newKey("uplink.max_bytes", "64MiB", func(c *Config) *Size { return &c.Uplink.MaxBytes }, size(mib, 1024*gib),
			"About how much memory of Redis that stream takes, by the average size of what the pod adds. It keeps what uplink.max_length and uplink.max_bytes both allow, "+
				"so that clients that send much leave room for presence.").live(forAll),

		newKey("log.level", "info", func(c *Config) *string { return &c.Log.Level }, oneOf([]string{"trace", "debug", "info", "warn", "error"}, nil),
			"Least severe level that is logged.").live(forAll),
		newKey("log.format", "auto", func(c *Config) *string { return &c.Log.Format }, oneOf([]string{"auto", "json", "console"}, nil),
			"Format of log lines: json (one object a line), console (for people), auto (console on a terminal, else json)."),

		newKey("shutdown.delay", "", func(c *Config) *time.Duration { return &c.Shutdown.Delay }, duration(0, 10*time.Minute, false),
			"How long a pod that shuts down still accepts connections, with /readyz at 503, so that load balancers can turn away from it. By default 0s if listen is on loopback, else 5s.").derivedAs("0s").live(forAll),
		newKey("shutdown.drain", "15s", func(c *Config) *time.Duration { return &c.Shutdown.Drain }, duration(0, time.Hour, false),
			"Time over which a pod that shuts down closes its connections, evenly, so that clients don't all reconnect at once; who asked for it (?goaway=1) is told 3 s before. shutdown.delay + shutdown.drain + 6s must fit into the grace period that the pod gets.").live(forAll),
	}
}
