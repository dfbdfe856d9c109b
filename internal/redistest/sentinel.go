package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
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
	Proxies   bool     // the servers are reached by proxies only
	Args      []string // of the servers
	// The servers' user who may do everything, where they have users; "": none.
	ServerUser, ServerPassword string
}

// Sentinels are a master and its replica, and the Sentinels that watch them.
type Sentinels struct {
	Servers   [2]*Server // the first one began as the master
	Proxies   [2]*Proxy  // before the servers; nil: none
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
		set.Servers[i] = set.startServer(i, o)
	}
	set.Servers[1].CLI("REPLICAOF", "127.0.0.1", strconv.Itoa(set.port(set.Servers[0])))
	set.eventually("the replica is in step", func() bool {
		return strings.Contains(set.Servers[1].CLI("INFO", "replication"), "master_link_status:up")
	})
	for range o.Sentinels {
		set.Sentinels = append(set.Sentinels, run(t, &Server{certs: o.Certs, config: o.sentinelConfig(set.port(set.Servers[0])), user: o.User, password: o.Password}))
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

// startServer starts one of the servers, and says to it where others reach it.
func (set *Sentinels) startServer(i int, o SentinelOptions) *Server {
	args := append([]string{"--repl-diskless-sync-delay", "0"}, o.Args...)
	if o.ServerUser != "" {
		args = append(args, "--masteruser", o.ServerUser, "--masterauth", o.ServerPassword)
	}
	s := run(set.t, &Server{certs: o.Certs, args: args})
	s.Login(o.ServerUser, o.ServerPassword)
	if o.Proxies {
		set.Proxies[i] = NewProxy(set.t, s.Addr())
		_, port, _ := net.SplitHostPort(set.Proxies[i].Addr())
		s.args = append(s.args, "--replica-announce-ip", "127.0.0.1", "--replica-announce-port", port)
		s.Restart() // by which it learns that
	}
	return s
}

// port is where others reach a server.
func (set *Sentinels) port(s *Server) int {
	for i, p := range set.Proxies {
		if p != nil && set.Servers[i] == s {
			_, port, _ := net.SplitHostPort(p.Addr())
			n, _ := strconv.Atoi(port)
			return n
		}
	}
	return s.Port()
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
	if o.ServerUser != "" {
		line("sentinel auth-user %s %s\nsentinel auth-pass %s %q", MasterName, o.ServerUser, MasterName, o.ServerPassword)
	}
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
			if named, err := s.TryCLI("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName); err == nil && named != fmt.Sprintf("127.0.0.1\n%d", set.port(master)) {
				return false
			}
		}
		return true
	})
}

// AwaitReplica waits until this server is the other one's replica, and in step, and the
// Sentinels know that: until then they begin no failover to it.
func (set *Sentinels) AwaitReplica(replica *Server) {
	set.t.Helper()
	set.eventually(replica.Addr()+" is a replica", func() bool {
		state, err := replica.TryCLI("INFO", "replication")
		if err != nil || !strings.Contains(state, "role:slave") || !strings.Contains(state, "master_link_status:up") {
			return false
		}
		for _, s := range set.Sentinels {
			known, err := s.TryCLI("SENTINEL", "REPLICAS", MasterName)
			if err == nil && (!strings.Contains(known, "flags\nslave\n") || !strings.Contains(known, "master-link-status\nok\n")) {
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
