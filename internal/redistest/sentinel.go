package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// MasterName is what Sentinels call the master.
const MasterName = "main"

// SentinelOptions says which servers StartSentinels starts.
type SentinelOptions struct {
	Sentinels int           // 0: 3
	DownAfter time.Duration // without an answer, until a Sentinel calls a master down; 0: 500 ms
	Certs     *Certs        // all speak TLS only; nil: none
	User      string        // needed by the Sentinels, with Password; "": none
	Password  string
	Args      []string // of the servers
}

// Sentinels are a master and its replica, and the Sentinels that watch them.
type Sentinels struct {
	Servers   [2]*Server // the first one began as the master
	Sentinels []*Server

	t testing.TB
}

// StartSentinels starts them, and waits until all of them know each other, so that a
// failover can begin.
func StartSentinels(t testing.TB, o SentinelOptions) *Sentinels {
	t.Helper()
	if o.Certs != nil {
		needTLS(t)
	}
	if o.Sentinels == 0 {
		o.Sentinels = 3
	}
	if o.DownAfter == 0 {
		o.DownAfter = 500 * time.Millisecond
	}
	set := &Sentinels{t: t}
	for i := range set.Servers {
		set.Servers[i] = run(t, &Server{certs: o.Certs, args: o.Args})
	}
	set.Servers[1].CLI("REPLICAOF", "127.0.0.1", fmt.Sprint(set.Servers[0].Port()))
	set.eventually("the replica is in step", func() bool {
		return strings.Contains(set.Servers[1].CLI("INFO", "replication"), "master_link_status:up")
	})
	for range o.Sentinels {
		set.Sentinels = append(set.Sentinels, run(t, &Server{certs: o.Certs, config: o.sentinelConfig(set.Servers[0].Port()), user: o.User, password: o.Password}))
	}
	for _, s := range set.Sentinels {
		// Everything that Sentinels do every few seconds.
		s.CLI("SENTINEL", "DEBUG", "PING-PERIOD", "100", "INFO-PERIOD", "500", "ASK-PERIOD", "200", "PUBLISH-PERIOD", "300")
	}
	others := fmt.Sprintf("num-other-sentinels\n%d\n", o.Sentinels-1)
	set.eventually("the Sentinels know each other", func() bool {
		for _, s := range set.Sentinels {
			if state := s.CLI("SENTINEL", "MASTER", MasterName); !strings.Contains(state, others) || !strings.Contains(state, "num-slaves\n1\n") {
				return false
			}
		}
		return true
	})
	return set
}

func (o SentinelOptions) sentinelConfig(master int) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("bind 127.0.0.1")
	line("daemonize no")
	if c := o.Certs; c != nil {
		line("tls-replication yes\ntls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\ntls-auth-clients optional", c.Cert, c.Key, c.CA)
	}
	if o.User != "" {
		// What Redis documents as the least rights of Sentinels' clients, and what Sentinels
		// and this package need.
		line("user %s on >%s allchannels +@all", o.User, o.Password)
		line("user default off")
		line("sentinel sentinel-user %s\nsentinel sentinel-pass %s", o.User, o.Password)
		line("user client on >client -@all +auth +hello +ping +role +client|getname +client|id +client|setname +command " +
			"+sentinel|get-master-addr-by-name +sentinel|master +sentinel|myid +sentinel|replicas +sentinel|sentinels")
	}
	line("sentinel monitor %s 127.0.0.1 %d %d", MasterName, master, o.Sentinels/2+1)
	line("sentinel down-after-milliseconds %s %d", MasterName, o.DownAfter.Milliseconds())
	line("sentinel failover-timeout %s 1500", MasterName)
	return b.String()
}

// sentinelCommand returns the command line of a Sentinel, whose file it rewrites itself: a
// restarted one knows what it knew.
func (s *Server) sentinelCommand(port string) ([]string, error) {
	path := filepath.Join(s.dir, port+".conf")
	if _, err := os.Stat(path); err == nil {
		return []string{path, "--sentinel"}, nil
	}
	listen := "port " + port
	if s.certs != nil {
		listen = "port 0\ntls-port " + port
	}
	return []string{path, "--sentinel"}, os.WriteFile(path, []byte(listen+"\ndir "+s.dir+"\n"+s.config), 0o600)
}

// Addrs are the Sentinels' addresses.
func (set *Sentinels) Addrs() []string {
	var addrs []string
	for _, s := range set.Sentinels {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Await waits until all Sentinels that run name this server as the master.
func (set *Sentinels) Await(master *Server) {
	set.t.Helper()
	set.eventually("all Sentinels name "+master.Addr(), func() bool {
		for _, s := range set.Sentinels {
			if named, err := s.TryCLI("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName); err == nil && named != fmt.Sprintf("127.0.0.1\n%d", master.Port()) {
				return false
			}
		}
		return true
	})
}

// Failover makes the other server the master, while the one that is lives. It does not
// wait.
func (set *Sentinels) Failover() {
	set.t.Helper()
	set.eventually("a Sentinel begins a failover", func() bool {
		_, err := set.Sentinels[0].TryCLI("SENTINEL", "FAILOVER", MasterName)
		return err == nil // NOGOODSLAVE, until it knows that the replica is well
	})
}

func (set *Sentinels) eventually(what string, f func() bool) {
	set.t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			set.t.Fatalf("redistest: never: %s", what)
		}
	}
}
