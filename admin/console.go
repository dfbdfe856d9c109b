package admin

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"pushpod/conn"
	"pushpod/hub"
	"pushpod/presence"
	"pushpod/producer"
)

// Console is what the console shows of the pod, and by what it acts.
type Console struct {
	Pod     string // its address
	Version string
	Keys    presence.Keys
	Lease   time.Duration // presence.lease
	TTL     time.Duration // presence.ttl
	Auth    string        // auth.mode
	Control bool          // redis.control: closes go over push:ctl:… only
	// Clients is where clients connect, host:port, and whether by TLS. It is called once the
	// server listens.
	Clients func() (address string, tls bool)
	// CLI is how people call redis-cli for the Redis of this pod, such as redis-cli -p 6379,
	// as it is known now.
	CLI func() string
	// Demo serves /demo, whose page connects as users of its own.
	Demo bool

	Sources  Sources
	Producer Producer
	// Address is where the client of a connection of this pod is; false: it holds no such one.
	Address func(presence.UUID) (netip.Addr, bool)
	// BadEnvelopes are the last ones, the newest first.
	BadEnvelopes func() []hub.BadEnvelope
	// Acted is told of what was done by the console. It may be nil.
	Acted func(what, whom string, remote netip.Addr)
}

// Producer is what the console reads from Redis, and does there; see [producer.Producer].
type Producer interface {
	Pods(ctx context.Context) ([]presence.Pod, error)
	Connections(ctx context.Context, user string) ([]producer.Connection, error)
	Block(ctx context.Context, user string) (reason string, lasts time.Duration, blocked bool, err error)
	Push(ctx context.Context, m producer.Message) ([]producer.Sent, error)
	Kick(ctx context.Context, user string, k producer.Kick) (producer.Kicked, error)
	Unblock(ctx context.Context, user string) (was bool, err error)
}

var _ Producer = (*producer.Producer)(nil)

// routes are what the console's pages ask for.
func (c *Console) routes(o Options, g *gate) []route {
	feed := newFeed(c, o, g.over)
	list := []route{
		{"/console/info", reading, c.info},
		{"/console/events", reading, feed.events},
		{"/console/user", reading, c.user},
		{"/console/bad", reading, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, c.BadEnvelopes()) }},
		{"/console/push", acting, c.push},
		{"/console/kick", acting, c.kick},
		{"/console/unblock", acting, c.unblock},
	}
	if c.Demo {
		list = append(list, route{"/demo", reading, c.demo})
	}
	return list
}

// info is what the pages need to know at first.
func (c *Console) info(w http.ResponseWriter, _ *http.Request) {
	address, tls := c.Clients()
	host, port, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "" // the one by which the page came
	}
	scheme := "ws"
	if tls {
		scheme = "wss"
	}
	closes := c.Keys.PodChannel // by an envelope with close
	if c.Control {
		closes = c.Keys.ControlChannel
	}
	answer(w, http.StatusOK, map[string]any{
		"pod": c.Pod, "version": c.Version, "auth": c.Auth, "demo": c.Demo, "cli": c.CLI(),
		"clients": map[string]string{"scheme": scheme, "host": host, "port": port, "path": conn.Path},
		"keys": map[string]string{
			"user": c.Keys.User("USER"), "block": c.Keys.Block("USER"), "pod": c.Keys.PodChannel("ADDRESS"), "close": closes("ADDRESS"), "all": c.Keys.AllChannel(), "pods": c.Keys.Pods(),
		},
		"bounds": conn.LatencyBounds(),
	})
}

// device is a connection of a user's, as the console shows it.
type device struct {
	producer.Connection
	Self    bool   `json:"self"`              // this pod holds it
	Address string `json:"address,omitempty"` // of the client, where this pod holds it
	Seen    *int64 `json:"seen,omitempty"`    // how long ago its pod has renewed its entry, in ms; absent: not known
}

// user shows a user's connections.
func (c *Console) user(w http.ResponseWriter, r *http.Request) {
	user := r.URL.Query().Get("id")
	if err := presence.ValidUser(user); err != nil {
		failed(w, http.StatusBadRequest, err)
		return
	}
	found, err := c.Producer.Connections(r.Context(), user)
	if err != nil {
		failed(w, http.StatusBadGateway, err)
		return
	}
	list := make([]device, 0, len(found))
	for _, f := range found {
		d := device{Connection: f}
		if uuid, ok := presence.ParseUUID(f.UUID); ok {
			if address, held := c.Address(uuid); held {
				d.Self, d.Address = true, address.String()
			}
		}
		if f.Expires != nil && c.TTL > 0 {
			ago := max(0, c.TTL.Milliseconds()-*f.Expires)
			d.Seen = &ago
		}
		list = append(list, d)
	}
	body := map[string]any{"user": user, "key": c.Keys.User(user), "connections": list}
	switch reason, lasts, blocked, err := c.Producer.Block(r.Context(), user); {
	case err != nil:
		body["block_unknown"] = err.Error()
	case blocked:
		body["block"] = map[string]any{"reason": reason, "lasts_ms": lasts.Milliseconds()}
	}
	answer(w, http.StatusOK, body)
}

func failed(w http.ResponseWriter, status int, err error) {
	answer(w, status, map[string]any{"error": err.Error()})
}
