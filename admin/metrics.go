package admin

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pushpod/conn"
	"pushpod/hub"
	"pushpod/presence"
)

// Sources is where the metrics come from. Each is called at every scrape.
type Sources struct {
	Version  string
	Conn     func() conn.Stats
	Hub      func() hub.Stats
	Presence func() presence.Stats
	Pods     func() presence.PodsStats
	Cert     func() time.Time                  // when the certificate expires; nil: there is none
	Reloads  func() (applied, rejected uint64) // of the configuration; nil: there are none
}

// collector gives the packages' own counters, which cost the hot path next to
// nothing, their names.
type collector struct {
	src Sources
	d   map[string]*prometheus.Desc
}

// descriptions are all metrics: name, help, labels.
func descriptions() [][]string {
	return [][]string{
		{"pushpod_build_info", "The version that runs. Always 1.", "version"},
		{"pushpod_config_reloads_total", "Times that the configuration was read again: applied, also where nothing had changed, or rejected whole.", "result"},
		{"pushpod_connections", "Open connections: WebSockets, and streams of server-sent events."},
		{"pushpod_sse_connections", "Of pushpod_connections, streams of server-sent events."},
		{"pushpod_connections_max", "Connections for which the pod has descriptors. Those beyond are refused with 503."},
		{"pushpod_handshakes_pending", "Accepted sockets whose handshake is not complete."},
		{"pushpod_handshakes_total", "Handshakes by result: accepted, or the HTTP status of the refusal.", "result"},
		{"pushpod_tls_handshakes_total", "Handshakes of TLS by result: ok, failed, not_tls (what came was something else) or closed (the connection ended meanwhile). Who sent nothing is not counted.", "result"},
		{"pushpod_tls_certificate_expires_seconds", "When the certificate of tls.cert_file expires, Unix time."},
		{"pushpod_connections_ended_total", "Connections that ended, by reason.", "reason"},
		{"pushpod_accept_errors_total", "Sockets that could not be accepted, or were closed unanswered, because descriptors ran out."},
		{"pushpod_envelopes_total", "Envelopes read from Redis: ok, or bad and dropped.", "result"},
		{"pushpod_envelopes_unknown_members_total", "Unknown members of envelopes, which were ignored."},
		{"pushpod_closes_ignored_total", "Closes that came on another channel than push:ctl:…, with redis.control."},
		{"pushpod_revocations_total", "Open connections that were closed with 4500, by reason: the user is blocked, the token is revoked or outdated (push:valid-after).", "reason"},
		{"pushpod_deliveries_total", "Messages by what became of them, one for each message and connection.", "result"},
		{"pushpod_misses_total", "Targets of envelopes that are not on this pod."},
		{"pushpod_heals_total", "Checks of a user's presence for stale entries after a miss."},
		{"pushpod_subscription_gaps_total", "Established subscriptions that were lost. What was published until the next one is lost."},
		{"pushpod_probe_failures_total", "Probes of the pod's own subscription that did not come back in time."},
		{"pushpod_redis_up", "1 while the pod is subscribed and its probe comes back."},
		{"pushpod_ready", "1 while /readyz answers 200."},
		{"pushpod_not_ready", "1 while the pod is not ready for this reason, as named in /readyz.", "reason"},
		{"pushpod_draining", "1 while the pod shuts down."},
		{"pushpod_conflict", "1 while another instance uses this pod's address."},
		{"pushpod_publish_to_write_seconds", "Time from an envelope's `at` to its write to a connection."},
		{"pushpod_send_queue_bytes", "Bytes in all send queues."},
		{"pushpod_send_queue_connections", "Connections whose send queue is not empty."},
		{"pushpod_slow_consumers_total", "Connections closed because their send queue was full."},
		{"pushpod_writes_total", "Writes to connections, by system call or io_uring."},
		{"pushpod_written_bytes_total", "Bytes written to connections."},
		{"pushpod_client_frames_total", "Frames received from clients, of every kind."},
		{"pushpod_client_bytes_total", "Bytes received from clients."},
		{"pushpod_client_frames_rejected_total", "Client frames answered with rejected or error."},
		{"pushpod_rate_limited_total", "Client frames beyond limits.frames_per_second."},
		{"pushpod_pings_total", "Pings sent to clients."},
		{"pushpod_goaways_total", "Clients that were told to connect anew before their connection is closed (goaway)."},
		{"pushpod_auth_hook_requests_total", "Handshakes about which auth.hook_url was to be asked: allowed, refused, failed, timeout; and, not asked, open (circuit) or busy.", "result"},
		{"pushpod_auth_hook_circuit_open", "1 while auth.hook_url is not asked, or tried, because it failed too often."},
		{"pushpod_auth_hook_seconds", "Time that auth.hook_url took to answer, or to fail."},
		{"pushpod_uplink_requests_total", "Requests for the uplink stream: accepted by Redis, or failed.", "result"},
		{"pushpod_uplink_batches_total", "Round trips to Redis for the uplink stream."},
		{"pushpod_uplink_waiting", "Requests that wait for Redis."},
		{"pushpod_presence_operations_total", "Operations on presence entries.", "operation"},
		{"pushpod_presence_errors_total", "Presence operations that Redis refused or did not answer."},
		{"pushpod_presence_stale_removed_total", "Stale presence entries that this pod removed."},
		{"pushpod_presence_restored_total", "Presence entries that a renewal found missing and wrote again: Redis lost or evicted them, or another pod removed them."},
		{"pushpod_presence_batches_total", "Round trips to Redis for presence."},
		{"pushpod_presence_commands_total", "Redis commands for presence."},
		{"pushpod_presence_waiting", "Presence operations that wait for Redis."},
		{"pushpod_presence_per_field_expiry", "1 where Redis expires each presence entry by itself, 0 where a user's entries expire together."},
		{"pushpod_presence_batch_seconds", "Duration of presence round trips."},
		{"pushpod_heartbeats_total", "Heartbeats of this pod: ok, or failed.", "result"},
		{"pushpod_pods", "Pods in push:pods as this pod sees them: alive, itself included, or dead.", "state"},
		{"pushpod_dead_pods_removed_total", "Dead pods that this pod removed from push:pods."},
		{"pushpod_redis_round_trip_seconds", "Round trip of the last heartbeat's TIME command."},
		{"pushpod_loop_turns_total", "Turns of the event loops that found events."},
		{"pushpod_loop_events_total", "Events handled in those turns."},
	}
}

// NewCollector returns the metrics of a pod, for registering.
func NewCollector(s Sources) prometheus.Collector {
	c := &collector{src: s, d: map[string]*prometheus.Desc{}}
	for _, m := range descriptions() {
		c.d[m[0]] = prometheus.NewDesc(m[0], m[1], m[2:], nil)
	}
	return c
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.d {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name string, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.d[name], prometheus.GaugeValue, v, labels...)
	}
	count := func(name string, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.d[name], prometheus.CounterValue, float64(v), labels...)
	}
	gauge("pushpod_build_info", 1, c.src.Version)
	c.collectConn(gauge, count, ch)
	c.collectHub(gauge, count, ch)
	c.collectPresence(gauge, count, ch)
	c.collectPods(gauge, count)
	if c.src.Reloads != nil {
		applied, rejected := c.src.Reloads()
		count("pushpod_config_reloads_total", applied, "applied")
		count("pushpod_config_reloads_total", rejected, "rejected")
	}
}

type (
	gaugeFunc func(name string, v float64, labels ...string)
	countFunc func(name string, v uint64, labels ...string)
)

func (c *collector) collectConn(gauge gaugeFunc, count countFunc, ch chan<- prometheus.Metric) {
	s := c.src.Conn()
	gauge("pushpod_connections", float64(s.Open))
	gauge("pushpod_sse_connections", float64(s.OpenEvents))
	gauge("pushpod_connections_max", float64(s.MaxConns))
	gauge("pushpod_handshakes_pending", float64(s.Pending))
	accepted := false
	for status, n := range s.Handshakes {
		result := strconv.Itoa(status)
		if status == 101 {
			result, accepted = "accepted", true
		}
		count("pushpod_handshakes_total", n, result)
	}
	if !accepted {
		count("pushpod_handshakes_total", 0, "accepted")
	}
	count("pushpod_tls_handshakes_total", s.TLSHandshakes.OK, "ok")
	count("pushpod_tls_handshakes_total", s.TLSHandshakes.Failed, "failed")
	count("pushpod_tls_handshakes_total", s.TLSHandshakes.NotTLS, "not_tls")
	count("pushpod_tls_handshakes_total", s.TLSHandshakes.Closed, "closed")
	if c.src.Cert != nil {
		gauge("pushpod_tls_certificate_expires_seconds", float64(c.src.Cert().Unix()))
	}
	for _, cause := range conn.Causes() {
		count("pushpod_connections_ended_total", s.Ended[cause], cause.String())
	}
	count("pushpod_accept_errors_total", s.AcceptErrors)
	count("pushpod_deliveries_total", s.Written, "written")
	count("pushpod_deliveries_total", s.Expired, "expired")
	count("pushpod_deliveries_total", s.Collapsed, "collapsed")
	count("pushpod_deliveries_total", s.Dropped, "dropped")
	count("pushpod_deliveries_total", s.Closed, "closed")
	gauge("pushpod_send_queue_bytes", float64(s.QueuedBytes))
	gauge("pushpod_send_queue_connections", float64(s.QueuedConns))
	count("pushpod_slow_consumers_total", s.SlowConsumers)
	count("pushpod_writes_total", s.Writes)
	count("pushpod_written_bytes_total", s.WrittenBytes)
	count("pushpod_client_frames_total", s.FramesReceived)
	count("pushpod_client_bytes_total", s.BytesReceived)
	count("pushpod_rate_limited_total", s.RateLimited)
	count("pushpod_pings_total", s.PingsSent)
	count("pushpod_goaways_total", s.Goaways)
	count("pushpod_loop_turns_total", s.LoopTurns)
	count("pushpod_loop_events_total", s.LoopEvents)
	ch <- histogram(c.d["pushpod_publish_to_write_seconds"], conn.LatencyBounds(), s.Latency[:], s.LatencySum)
}

func (c *collector) collectHub(gauge gaugeFunc, count countFunc, ch chan<- prometheus.Metric) {
	s := c.src.Hub()
	count("pushpod_envelopes_total", s.EnvelopesOK, "ok")
	count("pushpod_envelopes_total", s.EnvelopesBad, "bad")
	count("pushpod_envelopes_unknown_members_total", s.UnknownMembers)
	count("pushpod_closes_ignored_total", s.ClosesIgnored)
	for _, g := range []presence.Ground{presence.Blocked, presence.Revoked, presence.Outdated} {
		count("pushpod_revocations_total", s.Revoked[g], g.String())
	}
	count("pushpod_misses_total", s.Misses)
	count("pushpod_heals_total", s.Heals)
	count("pushpod_subscription_gaps_total", s.Gaps)
	count("pushpod_probe_failures_total", s.ProbeFailures)
	gauge("pushpod_redis_up", truth(s.RedisUp))
	gauge("pushpod_ready", truth(s.Ready))
	for _, name := range hub.ProblemNames() {
		gauge("pushpod_not_ready", truth(slices.Contains(s.Problems, name)), name)
	}
	gauge("pushpod_draining", truth(s.Draining))
	gauge("pushpod_conflict", truth(s.Conflict))
	count("pushpod_client_frames_rejected_total", s.FramesRejected)
	count("pushpod_uplink_requests_total", s.UplinkAccepted, "accepted")
	count("pushpod_uplink_requests_total", s.UplinkFailed, "failed")
	count("pushpod_uplink_batches_total", s.UplinkWrites)
	gauge("pushpod_uplink_waiting", float64(s.UplinkWaiting))

	count("pushpod_auth_hook_requests_total", s.Hook.Allowed, "allowed")
	count("pushpod_auth_hook_requests_total", s.Hook.Refused, "refused")
	count("pushpod_auth_hook_requests_total", s.Hook.Failed, "failed")
	count("pushpod_auth_hook_requests_total", s.Hook.TimedOut, "timeout")
	count("pushpod_auth_hook_requests_total", s.Hook.Open, "open")
	count("pushpod_auth_hook_requests_total", s.Hook.Busy, "busy")
	gauge("pushpod_auth_hook_circuit_open", truth(s.Hook.CircuitOpen))
	ch <- histogram(c.d["pushpod_auth_hook_seconds"], s.Hook.LatencyBounds(), s.Hook.Latency[:], s.Hook.LatencySum)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *collector) collectPresence(gauge gaugeFunc, count countFunc, ch chan<- prometheus.Metric) {
	s := c.src.Presence()
	count("pushpod_presence_operations_total", s.Registered, "register")
	count("pushpod_presence_operations_total", s.Rejected, "reject")
	count("pushpod_presence_operations_total", s.Refused, "refuse")
	count("pushpod_presence_operations_total", s.Replaced, "replace")
	count("pushpod_presence_operations_total", s.Renewed, "renew")
	count("pushpod_presence_operations_total", s.Unregistered, "unregister")
	count("pushpod_presence_operations_total", s.Dropped, "drop")
	count("pushpod_presence_errors_total", s.Errors)
	count("pushpod_presence_stale_removed_total", s.Stale)
	count("pushpod_presence_restored_total", s.Restored)
	count("pushpod_presence_batches_total", s.Batches)
	count("pushpod_presence_commands_total", s.Commands)
	gauge("pushpod_presence_waiting", float64(s.Waiting))
	gauge("pushpod_presence_per_field_expiry", truth(s.PerFieldExpiry))
	buckets := make(map[float64]uint64, len(s.Latency.Bounds))
	for i, bound := range s.Latency.Bounds {
		buckets[bound] = s.Latency.Counts[i]
	}
	ch <- prometheus.MustNewConstHistogram(c.d["pushpod_presence_batch_seconds"], s.Latency.Count, s.Latency.Sum, buckets)
}

func (c *collector) collectPods(gauge gaugeFunc, count countFunc) {
	s := c.src.Pods()
	count("pushpod_heartbeats_total", s.Beats, "ok")
	count("pushpod_heartbeats_total", s.Failures, "failed")
	gauge("pushpod_pods", float64(s.Alive), "alive")
	gauge("pushpod_pods", float64(s.Dead), "dead")
	count("pushpod_dead_pods_removed_total", s.Removed)
	gauge("pushpod_redis_round_trip_seconds", s.RTT.Seconds())
}

// histogram makes a Prometheus histogram of counts that are not cumulative,
// the last one beyond all bounds.
func histogram(d *prometheus.Desc, bounds []float64, counts []uint64, sum float64) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, bound := range bounds {
		n += counts[i]
		buckets[bound] = n
	}
	n += counts[len(bounds)]
	return prometheus.MustNewConstHistogram(d, n, sum, buckets)
}
