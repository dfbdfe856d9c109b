package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// delayBehindBalancer is shutdown.delay's default where others reach the pod:
// about as long as a load balancer takes to notice /readyz.
const delayBehindBalancer = 5 * time.Second

// derive fills in the defaults that depend on other keys.
func (l *loader) derive(c *Config) {
	if l.faulty["listen"] {
		return
	}
	host, port, _ := splitAddress(c.Listen)
	local, isLocal := loopback(host)
	if !l.has("shutdown.delay") && !isLocal {
		c.Shutdown.Delay = delayBehindBalancer
	}
	if l.has("pod.address") {
		return
	}
	k, _ := l.find("pod.address")
	ip := l.env[podIP]
	parsed, err := netip.ParseAddr(ip)
	switch {
	case ip != "" && (err != nil || parsed.IsUnspecified() || parsed.Zone() != ""):
		l.add(Problem{Key: k.path, Value: show(ip), Source: podIP, Message: "is no IP address of this pod", Allowed: k.allowed})
	case port == 0:
		l.refuse(k, "", "", errors.New("must be given where listen has port 0"))
	case ip != "":
		c.Pod.Address = net.JoinHostPort(ip, strconv.Itoa(port))
	case isLocal:
		c.Pod.Address = net.JoinHostPort(local, strconv.Itoa(port))
	default:
		l.refuse(k, "", "", fmt.Errorf("must be given where listen (%s) is not on loopback, here or by %s", c.Listen, podIP))
	}
}

// check holds the keys against each other, as far as each is well by itself.
func (l *loader) check(c Config) {
	if l.sound("listen", "auth.mode", "auth.insecure") && c.Auth.Mode == "none" && !c.OnLoopback() && !c.Auth.Insecure {
		l.conflict("auth.mode", fmt.Sprintf("with none, anyone who can connect to listen (%s) can be any user", c.Listen),
			"none where listen is on loopback, such as 127.0.0.1:8080, or with auth.insecure: true")
	}
	if least := c.Presence.Renew + c.Conn.Ping + c.Conn.PingTimeout; l.sound("presence.ttl", "presence.renew", "conn.ping", "conn.ping_timeout") && c.Presence.TTL <= least {
		l.conflict("presence.ttl", "entries of live connections would expire", fmt.Sprintf(
			"more than presence.renew + conn.ping + conn.ping_timeout (%s + %s + %s = %s)",
			short(c.Presence.Renew), short(c.Conn.Ping), short(c.Conn.PingTimeout), short(least)))
	}
	if l.sound("presence.lease", "presence.heartbeat") && c.Presence.Lease < 2*c.Presence.Heartbeat {
		l.conflict("presence.lease", "pods would consider each other dead",
			fmt.Sprintf("at least twice presence.heartbeat (%s)", short(2*c.Presence.Heartbeat)))
	}
	if l.sound("listen", "admin.listen") && sameSocket(c.Listen, c.Admin.Listen) {
		l.conflict("admin.listen", "is the address of listen", "another address or port")
	}
	l.checkAdmin(c)
	if a := c.Auth; a.Mode == "jwt" && a.HMACSecret == "" && a.KeysFile == "" && a.JWKSURL == "" && l.sound("auth.mode", "auth.hmac_secret", "auth.keys_file", "auth.jwks_url") {
		l.conflict("auth.mode", "there is nothing by which tokens are verified", "jwt together with auth.hmac_secret, auth.keys_file or auth.jwks_url")
	}
	l.checkTLS(c)
	l.checkProxies(c)
	l.checkRedis(c)
}

// checkAdmin refuses an admin listener that anyone may use who reaches it.
func (l *loader) checkAdmin(c Config) {
	if onLoopback(c.Admin.Listen) || c.Admin.Token != "" || c.Admin.Insecure || !l.sound("admin.listen", "admin.token", "admin.insecure") {
		return
	}
	l.conflict("admin.listen", "is not on loopback, and without admin.token anyone who can connect to it can use more than /healthz, /readyz and /metrics",
		"an address on loopback, such as 127.0.0.1:9090, or any with admin.token or with admin.insecure: on")
}

// AdminHidden reports whether others reach Listen and can't reach Admin.Listen.
func (c Config) AdminHidden() bool { return onLoopback(c.Admin.Listen) && !c.OnLoopback() }

// OnLoopback reports whether Listen is reached from this machine only.
func (c Config) OnLoopback() bool { return onLoopback(c.Listen) }

func onLoopback(address string) bool {
	host, _, _ := splitAddress(address)
	_, local := loopback(host)
	return local
}

// conflict records that a key's value does not fit others.
func (l *loader) conflict(path, message, allowed string) {
	k, _ := l.find(path)
	value := any(k.preset)
	g, ok := l.given[path]
	if ok {
		value = g.value
	} else {
		g.source = "default"
	}
	problem := Problem{Key: path, Value: show(value), Source: g.source, Message: message, Allowed: allowed}
	if k.secret {
		problem.Value = hidden
	}
	l.add(problem)
}

func (l *loader) has(path string) bool {
	_, ok := l.given[path]
	return ok || l.faulty[path]
}

func (l *loader) sound(paths ...string) bool {
	for _, path := range paths {
		if l.faulty[path] {
			return false
		}
	}
	return true
}

// sameSocket says whether both can't be listened on at once. Port 0 never
// collides; an address without a host takes the port on all of them.
func sameSocket(a, b string) bool {
	hostA, portA, _ := splitAddress(a)
	hostB, portB, _ := splitAddress(b)
	return portA == portB && portA != 0 && (hostA == hostB || isAny(hostA) || isAny(hostB))
}

func isAny(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
