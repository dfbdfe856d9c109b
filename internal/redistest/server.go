package redistest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	binary     = "redis-server" // REDIS_SERVER names another: Valkey, a version
	cliBinary  = "redis-cli"
	missing    = "run scripts/install-test-tools.sh"
	startLimit = 20 * time.Second

	// Ports below the kernel's usual ephemeral range (32768 and up): there, a
	// client that dials a killed server could be given the server's own port,
	// and connect to itself.
	firstPort = 20000
	lastPort  = 32000
)

// A Server is one redis-server process. Its methods are for the test's own
// goroutine; Addr may be called from any.
type Server struct {
	t    testing.TB
	args []string
	dir  string
	port int

	user, password string // as whom Client and CLI log in; "": as nobody
	certs          *Certs // it speaks TLS only; nil: it speaks none
	config         string // of a Sentinel, but for the port; "": it is none

	mu   sync.Mutex // protects what follows
	proc *process
}

// process is one run of the binary; done is closed once it has been reaped.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a redis-server without persistence, waits until it answers, and
// kills it when the test ends. The args are added to the command line and win
// over the defaults: Start(t, "--maxmemory", "10mb").
//
// It ends the test where no redis-server is installed.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return run(t, &Server{args: args})
}

// run starts a new server on a free port.
func run(t testing.TB, s *Server) *Server {
	t.Helper()
	if _, err := exec.LookPath(serverBinary()); err != nil {
		t.Fatalf("redistest: no %s in PATH: %s", serverBinary(), missing)
	}
	s.t, s.dir = t, t.TempDir()
	t.Cleanup(s.Kill)
	var err error
	for range 10 {
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.start(); err == nil {
			return s
		}
		if !strings.Contains(err.Error(), "ddress already in use") {
			break
		}
	}
	t.Fatalf("redistest: start %s: %v", serverBinary(), err)
	return nil
}

func serverBinary() string {
	if given := os.Getenv("REDIS_SERVER"); given != "" {
		return given
	}
	return binary
}

// Login makes Client and CLI log in from now on: the server was started with users
// who need it.
func (s *Server) Login(user, password string) { s.user, s.password = user, password }

// Addr returns the server's host and port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Port returns the server's port.
func (s *Server) Port() int { return s.port }

// Client returns a new client for the server, closed when the test ends. It
// does not retry, and gives up on a reply after three seconds.
func (s *Server) Client() *redis.Client { return s.ClientAs(s.user, s.password) }

// ClientAs is Client for another user.
func (s *Server) ClientAs(user, password string) *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr:                  s.Addr(),
		TLSConfig:             s.certs.config(),
		Username:              user,
		Password:              password,
		MaxRetries:            -1,
		DialTimeout:           3 * time.Second,
		ReadTimeout:           3 * time.Second,
		WriteTimeout:          3 * time.Second,
		ContextTimeoutEnabled: true,
		Protocol:              2,
	})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Kill ends the server at once (SIGKILL) and waits until it has gone. Killing
// a server that has gone already does nothing.
func (s *Server) Kill() {
	p := s.take()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // works on a stopped process as well
	<-p.done
}

// Restart kills the server, if it still runs, and starts it again, empty, on
// the same port.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	deadline := time.Now().Add(startLimit)
	for {
		err := s.start()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || !strings.Contains(err.Error(), "ddress already in use") {
			s.t.Fatalf("redistest: restart %s on port %d: %v", serverBinary(), s.port, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Pause stops the server in time (SIGSTOP): its connections stay open, and
// nothing is answered until Resume.
func (s *Server) Pause() { s.t.Helper(); s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on (SIGCONT).
func (s *Server) Resume() { s.t.Helper(); s.signal(syscall.SIGCONT) }

// CLI runs redis-cli against the server and returns what it printed, without
// the last line break. An error reply ends the test.
func (s *Server) CLI(args ...string) string {
	s.t.Helper()
	out, err := s.TryCLI(args...)
	if err != nil {
		s.t.Fatalf("redistest: redis-cli %q: %v", args, err)
	}
	return out
}

// TryCLI is CLI where an error reply is expected: it is returned as the error.
func (s *Server) TryCLI(args ...string) (string, error) {
	s.t.Helper()
	return s.TryCLIAs(s.user, s.password, args...)
}

// TryCLIAs is TryCLI for another user.
func (s *Server) TryCLIAs(user, password string, args ...string) (string, error) {
	s.t.Helper()
	if _, err := exec.LookPath(cliBinary); err != nil {
		s.t.Fatalf("redistest: no %s in PATH: %s", cliBinary, missing)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	options := append([]string{"-e", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)}, s.certs.cliArgs()...)
	if user != "" {
		options = append(options, "--user", user)
	}
	cmd := exec.CommandContext(ctx, cliBinary, append(options, args...)...)
	cmd.Env = os.Environ()
	if user != "" {
		cmd.Env = append(cmd.Env, "REDISCLI_AUTH="+password)
	}
	out, err := cmd.CombinedOutput()
	text := strings.TrimSuffix(string(out), "\n")
	if err != nil {
		return text, fmt.Errorf("%w: %s", err, text)
	}
	return text, nil
}

// start runs the binary on s.port until it answers PING, or fails.
func (s *Server) start() error {
	logPath := filepath.Join(s.dir, "redis.log")
	logFile, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer logFile.Close() // the child has its own copy
	args, err := s.commandLine()
	if err != nil {
		return err
	}
	cmd := exec.Command(serverBinary(), args...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	s.mu.Lock()
	s.proc = p
	s.mu.Unlock()
	if err := s.await(p, logPath); err != nil {
		s.Kill()
		text, _ := os.ReadFile(logPath)
		return fmt.Errorf("%w; its log:\n%s", err, text)
	}
	return nil
}

func (s *Server) commandLine() ([]string, error) {
	port := strconv.Itoa(s.port)
	if s.config != "" {
		return s.sentinelCommand(port)
	}
	listen := []string{"--port", port}
	if s.certs != nil {
		listen = append([]string{"--port", "0", "--tls-port", port, "--tls-replication", "yes"}, s.certs.serverArgs()...)
	}
	return append(append(listen,
		"--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no", "--daemonize", "no"), s.args...), nil
}

// await returns once the server answers PING, be it with an error reply such
// as NOAUTH.
func (s *Server) await(p *process, logPath string) error {
	deadline := time.Now().Add(startLimit)
	for time.Now().Before(deadline) {
		select {
		case <-p.done:
			return errors.New("it ended at once")
		case <-time.After(5 * time.Millisecond):
		}
		if hasPorts(logPath) && s.answers() {
			return nil
		}
	}
	return fmt.Errorf("no answer within %v", startLimit)
}

// hasPorts reports whether a server's log says that it listens: until then another test's
// server may be the one that answers on a port that was free a moment ago.
func hasPorts(logPath string) bool {
	text, _ := os.ReadFile(logPath)
	return bytes.Contains(text, []byte("Server initialized")) || bytes.Contains(text, []byte("Sentinel ID is"))
}

func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if config := s.certs.config(); config != nil {
		c = tls.Client(c, config)
	}
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	var b [1]byte
	n, _ := c.Read(b[:])
	return n == 1
}

func (s *Server) take() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.proc
	s.proc = nil
	return p
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		s.t.Fatalf("redistest: %v for a server that has been killed", sig)
	}
	if err := s.proc.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("redistest: %v: %v", sig, err)
	}
}

// freePort returns a port that nothing listened on a moment ago.
func freePort() (int, error) {
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d", firstPort, lastPort)
}
