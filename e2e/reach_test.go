package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pushpod/internal/redistest"
)

// However Redis is reached: the pod's subscription, its presence, its uplink, and the
// commands beside it.
func TestPodsReachRedis(t *testing.T) {
	t.Parallel()
	certs := redistest.NewCerts(t, "redis.test")
	tls := func(s settings) settings {
		return s.with("redis.tls", "on", "redis.tls_ca_file", certs.CA, "redis.tls_cert_file", certs.Cert, "redis.tls_key_file", certs.Key)
	}
	for name, start := range map[string]func(t *testing.T) (*redistest.Server, settings){
		"by TLS, with a certificate of its own": func(t *testing.T) (*redistest.Server, settings) {
			r := redistest.StartTLS(t, certs, "--include", usersFile(t), "--tls-auth-clients", "yes")
			r.Login(admin, passwordOf(admin))
			return r, tls(quick()).with("redis.tls_server_name", "redis.test")
		},
		"by a socket": func(t *testing.T) (*redistest.Server, settings) {
			path := filepath.Join(t.TempDir(), "redis.sock")
			return startRedis(t, "--unixsocket", path), quick().with("redis.addresses", "unix:"+path)
		},
		"by IPv6": func(t *testing.T) (*redistest.Server, settings) {
			l, err := net.Listen("tcp", "[::1]:0")
			if err != nil {
				t.Skip("there is no IPv6 here: ", err)
			}
			l.Close()
			r := startRedis(t, "--bind", "127.0.0.1", "::1")
			return r, quick().with("redis.addresses", fmt.Sprintf("[::1]:%d", r.Port()))
		},
		"by Sentinels with accounts, all by TLS": func(t *testing.T) (*redistest.Server, settings) {
			set := startSentinels(t, redistest.SentinelOptions{Sentinels: 1, Certs: certs, User: "ops", Password: "secret"})
			return set.Servers[0], bySentinels(tls(quick()), set).with("redis.sentinel_username", "client", "redis.sentinel_password", "client")
		},
		"without INFO": func(t *testing.T) (*redistest.Server, settings) {
			r := startRedis(t)
			r.CLI("ACL", "SETUSER", podUser, "-info", "-ping")
			return r, quick()
		},
		"where HELLO is unknown, as all that says what a server is": func(t *testing.T) (*redistest.Server, settings) {
			var args []string
			for _, name := range []string{"HELLO", "CLIENT", "INFO", "ROLE", "CLUSTER", "CONFIG", "PING"} {
				args = append(args, "--rename-command", name, "")
			}
			return startRedis(t, args...), quick()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, s := start(t)
			p := startPod(t, r, s)
			c := dial(t, p, "alice")
			wantEntries(t, asProducer(r), "alice", settle, map[string]string{c.uuid: p.channel})
			if n := luaPush(t, r, "alice", `"by redis-cli"`); n != 1 {
				t.Errorf("push.lua returned %d, want 1", n)
			}
			c.wantMessage(name, `"by redis-cli"`)
			c.request(name, "r1", `1`)

			env := p.settings.with("redis.username", producer, "redis.password", passwordOf(producer)).env()
			if out := mustRun(t, env, "push", "alice", `"by a command"`); out != "1\n" {
				t.Errorf("pushpod push printed %q, want 1", out)
			}
			c.wantMessage(name, `"by a command"`)
			if out := mustRun(t, env, "presence", "alice"); !strings.Contains(out, c.uuid) {
				t.Errorf("pushpod presence printed %q", out)
			}
			// Much at once, and messages larger than a record of TLS.
			large := `"` + strings.Repeat("x", 100_000) + `"`
			for range 10 {
				publish(t, asProducer(r), p.channel, to(large, c))
				c.wantMessage(name, large)
			}
		})
	}
}

// A pod with bad files starts, says which, and goes on once they are good.
func TestAPodWaitsForGoodFilesOfTLS(t *testing.T) {
	t.Parallel()
	certs := redistest.NewCerts(t, "redis.test")
	r := redistest.StartTLS(t, certs, "--include", usersFile(t))
	r.Login(admin, passwordOf(admin))
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launchPod(t, r, quick().with("redis.tls", "on", "redis.tls_ca_file", ca))
	eventually(t, "the log names the key and the file", settle, func() (bool, any) {
		log := p.stderr.String()
		return strings.Contains(log, "redis.tls_ca_file: there is no certificate in PEM in "+ca), log
	})
	p.wantNotReady("no good file", settle)
	good, err := os.ReadFile(certs.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, good, 0o600); err != nil {
		t.Fatal(err)
	}
	p.waitReady()
}

func TestARedisThatIsTooOldIsNamed(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--rename-command", "FUNCTION", "", "--rename-command", "SSUBSCRIBE", "")
	p := startPod(t, r, quick().with("redis.load_functions", "on"))
	eventually(t, "readiness warns, and stays", settle, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusOK && strings.Contains(body, "outdated") && strings.Contains(body, "redis.load_functions") && strings.Contains(body, "has no functions"), body
	})
	if n := strings.Count(p.stderr.String(), "has no functions"); n != 1 {
		t.Errorf("said %d times in the log, want once", n)
	}
	if version := regexp.MustCompile(`but (\S+ [0-9.]+) has no functions`).FindString(p.stderr.String()); version == "" {
		t.Error("the log does not say which Redis that is")
	}
	sharded := launchPod(t, r, quick().with("redis.pubsub", "sharded"))
	eventually(t, "SSUBSCRIBE is named", settle, func() (bool, any) {
		status, body := sharded.readyz()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "SSUBSCRIBE"), body
	})
}

// What does not fit to the Redis that there is, is named; the pod waits until it does.
func TestSettingsThatDoNotFitToRedisAreNamed(t *testing.T) {
	t.Parallel()
	certs := redistest.NewCerts(t, "redis.test")
	one, another := startRedis(t), startRedis(t)
	node := startRedis(t, "--cluster-enabled", "yes")
	node.CLI("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	set := startSentinels(t, redistest.SentinelOptions{Sentinels: 1})
	for name, c := range map[string]struct {
		settings settings
		names    []string
	}{
		"a database of a Cluster":  {settings{"redis.addresses": node.Addr(), "redis.db": "3"}, []string{"redis.db", "Cluster"}},
		"a Sentinel as a Redis":    {settings{"redis.addresses": set.Addrs()[0]}, []string{"redis.sentinel_master"}},
		"a Redis as a Sentinel":    {settings{"redis.addresses": one.Addr(), "redis.sentinel_master": "main"}, []string{"no Sentinel names the master", one.Addr()}},
		"several that are one":     {settings{"redis.addresses": one.Addr() + "," + another.Addr()}, []string{"several addresses", "give one"}},
		"a master of another name": {settings{"redis.addresses": set.Addrs()[0], "redis.sentinel_master": "other"}, []string{"redis.sentinel_master", set.Addrs()[0]}},
		"TLS where there is none":  {settings{"redis.addresses": one.Addr(), "redis.tls": "on", "redis.tls_ca_file": certs.CA}, []string{"TLS to " + one.Addr()}},
	} {
		s := quick()
		for k, v := range c.settings {
			s[k] = v
		}
		p := launchPod(t, one, s)
		eventually(t, name+" is named by readiness and log", settle, func() (bool, any) {
			status, body := p.readyz()
			log := p.stderr.String()
			named := status == http.StatusServiceUnavailable
			for _, text := range c.names {
				named = named && strings.Contains(body, text) && strings.Contains(log, text)
			}
			return named, body + log
		})
		if p.hasEnded() {
			t.Errorf("%s: the pod has ended", name)
		}
		p.sigkill()
	}
}
