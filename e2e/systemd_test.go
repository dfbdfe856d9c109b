package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A manager stands in for systemd: it has a notify socket.
type manager struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func startManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &manager{t, path, c}
}

// want waits until something with this in it is told.
func (m *manager) want(why, text string) string {
	m.t.Helper()
	var heard []string
	b := make([]byte, 4096)
	for end := time.Now().Add(settle); ; {
		_ = m.conn.SetReadDeadline(end)
		n, err := m.conn.Read(b)
		if err != nil {
			m.t.Fatalf("%s: %q is not told; heard %q", why, text, heard)
		}
		if said := string(b[:n]); strings.Contains(said, text) {
			return said
		} else if said != "WATCHDOG=1" {
			heard = append(heard, said)
		}
	}
}

func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	r.Pause()
	m := startManager(t)
	listen, admin := freeAddr(t), freeAddr(t)
	s := quick().asPod().with("listen", listen, "admin.listen", admin, "redis.addresses", r.Addr())
	env := append(s.env(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=1500000")
	p := &pod{process: startProcess(t, "service", env, "serve"), settings: s, redis: r, listen: listen, admin: admin}

	// It has started although Redis is away: a pod waits for that as long as it takes.
	m.want("it listens", "READY=1")
	m.want("Redis is away", "STATUS=not ready: ")
	r.Resume()
	m.want("Redis is back", "STATUS=ready; connections: 0")
	dial(t, p, "alice").check("as a service")
	m.want("somebody is there", "STATUS=ready; connections: 1")
	for range 3 {
		m.want("the loops go on", "WATCHDOG=1")
	}
	p.signal(syscall.SIGHUP)
	if said := m.want("SIGHUP", "RELOADING=1"); !strings.Contains(said, "\nMONOTONIC_USEC=") {
		t.Errorf("told %q", said)
	}
	m.want("it has loaded", "READY=1")
	p.sigterm()
	if said := m.want("SIGTERM", "STOPPING=1"); !strings.Contains(said, "\nEXTEND_TIMEOUT_USEC=") {
		t.Errorf("told %q", said)
	}
	m.want("it still goes on", "WATCHDOG=1")
	p.wantExit("SIGTERM", 0, settle)
}
