package config

import (
	"strings"
	"time"
)

// A key is one setting. The table of them (keys) is the only place that knows
// a key's name, default, bounds and meaning.
type key struct {
	path    string // in the file's notation: conn.ping
	preset  string // the default, as a file or a variable would give it
	derived string // in place of preset, where the default depends on other keys: an example
	doc     string // plain sentences; the first one alone is the flag's usage
	secret  bool   // the value is shown to nobody

	name    string // of the kind of value
	allowed string
	list    bool
	quoted  bool // the file needs quotes around the default
	set     func(c *Config, raw any) error
}

// newKey ties a key to the field it fills and the kind that reads it.
func newKey[T any](path, preset string, field func(*Config) *T, k kind[T], doc string) key {
	_, list := any(*new(T)).([]string)
	_, quoted := any(*new(T)).(string)
	return key{
		path: path, preset: preset, doc: doc,
		name: k.name, allowed: k.allowed, list: list,
		// Only what YAML would read otherwise.
		quoted: quoted && (preset == "" || strings.HasSuffix(preset, ":")),
		set: func(c *Config, raw any) error {
			value, err := k.parse(raw)
			if err == nil {
				*field(c) = value
			}
			return err
		},
	}
}

func (k key) derivedAs(example string) key { k.derived = example; return k }
func (k key) kept() key                    { k.secret = true; return k }

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

const oneRedis = "this version speaks to one standalone Redis"

// keys returns the table, in the order of the reference.
func keys() []key {
	return []key{
		newKey("listen", "127.0.0.1:8080", func(c *Config) *string { return &c.Listen }, listenAddress(),
			"Where clients connect (GET /ws). A loopback address serves this machine alone; :8080 serves every interface."),

		newKey("admin.listen", "127.0.0.1:9090", func(c *Config) *string { return &c.Admin.Listen }, listenAddress(),
			"Where operators look: /healthz, /readyz, /metrics and the console page. Not the address of clients; keep the public away from it."),
		newKey("admin.pprof", "off", func(c *Config) *bool { return &c.Admin.Pprof }, onOff(),
			"Serve Go's profiles at /debug/pprof/ on admin.listen."),

		newKey("pod.address", "", func(c *Config) *string { return &c.Pod.Address }, podAddress(),
			"This pod's name, which no other pod may have: it listens on the channel push:pod:ADDRESS. By default $POD_IP and the port of listen; without POD_IP, "+
				"the address of listen where that is on loopback. Otherwise it must be given, and so it must where listen has port 0.").derivedAs("127.0.0.1:8080"),

		newKey("auth.mode", "none", func(c *Config) *string { return &c.Auth.Mode }, oneOf([]string{"none"}, map[string]string{
			"jwt":    "comes with a later version; this one knows none",
			"header": "comes with a later version; this one knows none",
		}), "How a client proves who it is. none believes what it says in ?user=ID, so it is allowed only where listen is on loopback, unless auth.insecure is on."),
		newKey("auth.insecure", "off", func(c *Config) *bool { return &c.Auth.Insecure }, onOff(),
			"Allow auth.mode none on a listen that others can reach. Whoever reaches it can be any user; right only where something in front decides who may."),

		newKey("redis.addresses", "", func(c *Config) *[]string { return &c.Redis.Addresses }, redisAddresses(),
			"The Redis that pods and producers share. None: an embedded one in this process, for trying out; it keeps nothing and no other pod should lean on it."),
		newKey("redis.embedded_listen", "127.0.0.1:6379", func(c *Config) *string { return &c.Redis.EmbeddedListen }, listenAddress(),
			"Where the embedded Redis listens; where the port is taken, on the next free one. Unused where redis.addresses is given. It asks nobody for a password."),
		newKey("redis.sentinel_master", "", func(c *Config) *string { return &c.Redis.SentinelMaster }, laterText(oneRedis+"; Sentinel comes with a later one"),
			"Name of the master that Sentinels watch. For a later version; only empty in this one."),
		newKey("redis.username", "", func(c *Config) *string { return &c.Redis.Username }, text(256, ""),
			"User of Redis's access control list, together with redis.password. It needs the channels too (&push:*), which new users don't have since Redis 7."),
		newKey("redis.password", "", func(c *Config) *string { return &c.Redis.Password }, text(4096, ""),
			"Password for Redis. Better given in the environment than in a file; it appears in no message.").kept(),
		newKey("redis.db", "0", func(c *Config) *int { return &c.Redis.DB }, number(0, 65535, false),
			"Number of the Redis database. Keys are per database, channels are not: tell two installations on one Redis apart by redis.prefix."),
		newKey("redis.tls", "off", func(c *Config) *bool { return &c.Redis.TLS }, laterSwitch(oneRedis+", without TLS; that comes with a later one"),
			"Speak TLS with Redis. For a later version; only off in this one."),
		newKey("redis.prefix", "push:", func(c *Config) *string { return &c.Redis.Prefix }, text(128, "{}"),
			"What every key and channel in Redis begins with. Pods and producers of one installation need the same."),
		newKey("redis.max_envelope", "1MiB", func(c *Config) *Size { return &c.Redis.MaxEnvelope }, size(kib, 64*mib),
			"Largest message that a pod takes from its channels. A larger one is counted as bad and dropped."),
		newKey("redis.timeout", "3s", func(c *Config) *time.Duration { return &c.Redis.Timeout }, duration(10*time.Millisecond, time.Minute, false),
			"How long to wait for Redis's answer before a request counts as failed."),
		newKey("redis.probe", "3s", func(c *Config) *time.Duration { return &c.Redis.Probe }, duration(10*time.Millisecond, time.Minute, false),
			"How often a pod publishes to itself to prove that its subscription works. A silent Redis is noticed within redis.probe + redis.timeout."),
		newKey("redis.load_functions", "off", func(c *Config) *bool { return &c.Redis.LoadFunctions }, onOff(),
			"Load the function library (FCALL pushpod_push) at start, where Redis has functions and no newer one."),

		newKey("presence.ttl", "90s", func(c *Config) *time.Duration { return &c.Presence.TTL }, duration(time.Second, day, false),
			"How long an entry outlives a pod that is gone without a word. Must be above presence.renew + conn.ping + conn.ping_timeout."),
		newKey("presence.renew", "30s", func(c *Config) *time.Duration { return &c.Presence.Renew }, duration(100*time.Millisecond, 12*time.Hour, false),
			"How often a pod renews the entry of each of its connections. An emptied Redis is whole again within this time."),
		newKey("presence.heartbeat", "3s", func(c *Config) *time.Duration { return &c.Presence.Heartbeat }, duration(50*time.Millisecond, time.Minute, false),
			"How often a pod tells the others that it lives."),
		newKey("presence.lease", "10s", func(c *Config) *time.Duration { return &c.Presence.Lease }, duration(100*time.Millisecond, 10*time.Minute, false),
			"How long the others wait without a heartbeat before they hold a pod for dead; also how long a pod waits to take over its own address. Must be at least twice presence.heartbeat."),

		newKey("conn.max_message", "64KiB", func(c *Config) *Size { return &c.Conn.MaxMessage }, size(125, 16*mib),
			"Largest message a client may send. A larger one closes its connection with 1009."),
		newKey("conn.queue_bytes", "256KiB", func(c *Config) *Size { return &c.Conn.QueueBytes }, size(kib, gib),
			"How much may wait for one client that reads more slowly than it is sent to. A larger message is still written where nothing waits."),
		newKey("conn.slow_consumer", "disconnect", func(c *Config) *string { return &c.Conn.SlowConsumer }, oneOf([]string{"disconnect", "drop_newest", "drop_oldest"}, nil),
			"What becomes of a client whose queue is full: disconnect (1013, it may come back), drop_newest (the message at hand), drop_oldest (what has waited longest)."),
		newKey("conn.ping", "25s", func(c *Config) *time.Duration { return &c.Conn.Ping }, duration(time.Second, time.Hour, false),
			"How long a connection is silent before the pod pings it. Stay below the idle timeout of whatever stands in between."),
		newKey("conn.ping_timeout", "10s", func(c *Config) *time.Duration { return &c.Conn.PingTimeout }, duration(100*time.Millisecond, 10*time.Minute, false),
			"How long to wait for the answer to a ping before the connection counts as dead."),
		newKey("conn.handshake_timeout", "5s", func(c *Config) *time.Duration { return &c.Conn.HandshakeTimeout }, duration(100*time.Millisecond, 5*time.Minute, false),
			"How long a client may take for its handshake; then it gets 408."),
		newKey("conn.max_header", "16KiB", func(c *Config) *Size { return &c.Conn.MaxHeader }, size(kib, mib),
			"Largest header of a handshake, request line and cookies included. A larger one is refused with 431."),
		newKey("conn.max_age", "off", func(c *Config) *time.Duration { return &c.Conn.MaxAge }, duration(time.Second, 30*day, true),
			"Close a connection with 1001 after this time, give or take a tenth, so that clients spread over new pods."),
		newKey("conn.io_uring", "auto", func(c *Config) *string { return &c.Conn.IOUring }, oneOf([]string{"auto", "off"}, nil),
			"How messages, pings and welcomes for many connections at once are sent: auto (through Linux's io_uring, where the kernel lets the pod and a trial at its start succeeds), off (one system call for each connection)."),

		newKey("limits.connections", "off", func(c *Config) *int { return &c.Limits.Connections }, number(1, 100_000_000, true),
			"Most connections that this pod holds. More are refused."),
		newKey("limits.per_user", "100", func(c *Config) *int { return &c.Limits.PerUser }, number(1, 1_000_000, true),
			"Most connections of one user, over all pods."),
		newKey("limits.on_excess", "reject", func(c *Config) *string { return &c.Limits.OnExcess }, oneOf([]string{"reject", "close_oldest"}, nil),
			"What a connection beyond limits.per_user does: reject (it is refused), close_oldest (it is taken, and the user's oldest one is closed with 4501)."),
		newKey("limits.per_ip", "off", func(c *Config) *int { return &c.Limits.PerIP }, number(1, 100_000_000, true),
			"Most connections to this pod from one address. More are refused."),
		newKey("limits.handshakes_per_second", "off", func(c *Config) *int { return &c.Limits.HandshakesPerSecond }, number(1, 10_000_000, true),
			"Most handshakes that this pod takes in a second. More are refused."),
		newKey("limits.frames_per_second", "50", func(c *Config) *int { return &c.Limits.FramesPerSecond }, number(1, 1_000_000, true),
			"Most frames a second from one connection, control frames and fragments too. More are refused, and then the connection is closed with 1008."),

		newKey("uplink.max_length", "100000", func(c *Config) *int64 { return &c.Uplink.MaxLength }, number[int64](1, 1_000_000_000, false),
			"About how many entries the stream of what clients sent up (push:uplink) keeps; the oldest go first."),

		newKey("log.level", "info", func(c *Config) *string { return &c.Log.Level }, oneOf([]string{"trace", "debug", "info", "warn", "error"}, nil),
			"The least serious lines that are logged."),
		newKey("log.format", "auto", func(c *Config) *string { return &c.Log.Format }, oneOf([]string{"auto", "json", "console"}, nil),
			"How log lines look: json (one object a line), console (for people), auto (console on a terminal, else json)."),

		newKey("shutdown.delay", "", func(c *Config) *time.Duration { return &c.Shutdown.Delay }, duration(0, 10*time.Minute, false),
			"How long a pod that was told to leave still accepts, while /readyz says 503 and load balancers turn away. By default 0s where listen is on loopback, else 5s.").derivedAs("0s"),
		newKey("shutdown.drain", "15s", func(c *Config) *time.Duration { return &c.Shutdown.Drain }, duration(0, time.Hour, false),
			"Over how long a leaving pod closes its connections, evenly, so that they don't all reconnect at once. With shutdown.delay it must fit into the grace period that the pod is given."),
	}
}
