//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

const startLimit = 30 * time.Second

// setting is what a measurement works with: given, or started for it.
type setting struct {
	target  target
	redis   redisServer
	metrics podMetrics
	server  process
	core    int // for servers that are started; negative: any
	close   func()
}

// given is the setting that the options name.
func given(ctx context.Context, o options, say func(string, ...any)) (setting, error) {
	t, hostPort, err := newTarget(o.url)
	if err != nil {
		return setting{}, err
	}
	if t.addr, err = resolve(ctx, hostPort); err != nil {
		return setting{}, err
	}
	s := setting{target: t, metrics: newPodMetrics(o.admin), core: -1, close: func() {}}
	if s.redis, err = o.redisServer(ctx, o.redis); err != nil {
		return setting{}, err
	}
	switch {
	case o.pid != 0:
		s.server = process{o.pid}
	case isLocal(t.addr.Addr().AsSlice()):
		if s.server, err = listenerOf(t.addr.Port()); err != nil {
			say("no CPU or memory of the pod: %v", err)
		}
	}
	return s, nil
}

// isLocal reports whether an address is one of this machine's.
func isLocal(ip net.IP) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return true
		}
	}
	return false
}

// started is the setting of a pod and, where none is named, a Redis that are
// started for it on free ports of 127.0.0.1.
func started(ctx context.Context, o options, binary string, c cores) (setting, error) {
	s := setting{core: -1}
	rest := -1
	if c.pinned {
		s.core, rest = c.server, c.rest
	}
	var children []*child
	s.close = func() {
		for i := len(children) - 1; i >= 0; i-- {
			children[i].stop(10 * time.Second)
		}
	}
	fail := func(err error) (setting, error) {
		s.close()
		return setting{}, err
	}
	redisAddr := o.redis
	if redisAddr == "" {
		redis, addr, err := startRedis(rest)
		if err != nil {
			return fail(err)
		}
		children = append(children, redis)
		redisAddr = addr
	}
	var err error
	if s.redis, err = o.redisServer(ctx, redisAddr); err != nil {
		return fail(err)
	}
	if err := s.redis.await(ctx, children); err != nil {
		return fail(err)
	}
	pod, err := s.startPod(o, binary, redisAddr)
	if err != nil {
		return fail(err)
	}
	children = append(children, pod)
	s.server = pod.process()
	if err := s.awaitReady(ctx, pod); err != nil {
		return fail(err)
	}
	return s, nil
}

// buildPod builds the server of this module into dir.
func buildPod(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "pushpod")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "pushpod").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("bench: build pushpod (run this inside its source, or give --url or --binary): %w\n%s", err, out)
	}
	return binary, nil
}

func startRedis(core int) (*child, string, error) {
	const program = "redis-server"
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, "", fmt.Errorf("bench: %s is not in PATH: install it (make tools), or name a Redis with --redis", program)
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no")
	cmd.Dir = os.TempDir()
	c, err := startChild(program, cmd, core)
	return c, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

// await waits until Redis answers.
func (s redisServer) await(ctx context.Context, children []*child) error {
	for end := time.Now().Add(startLimit); ; {
		c, err := s.connect(ctx)
		if err == nil {
			c.close()
			return nil
		}
		if again := keepWaiting(ctx, end, children); again != nil {
			return errors.Join(again, err)
		}
	}
}

// startPod starts a pod, and puts its addresses in s.
func (s *setting) startPod(o options, binary, redisAddr string) (*child, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	adminPort, err := freePort()
	if err != nil {
		return nil, err
	}
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	admin := net.JoinHostPort("127.0.0.1", strconv.Itoa(adminPort))
	cmd := exec.Command(binary, "serve")
	// The rest of the environment stays, so that other settings can be tried.
	cmd.Env = append(os.Environ(),
		"PUSHPOD_LISTEN="+listen, "PUSHPOD_ADMIN_LISTEN="+admin, "PUSHPOD_POD_ADDRESS="+listen,
		"PUSHPOD_REDIS_ADDRESSES="+redisAddr, "PUSHPOD_REDIS_PREFIX="+o.prefix, "PUSHPOD_SHUTDOWN_DRAIN=1s")
	s.target = target{host: listen, path: "/ws?user="}
	if s.target.addr, err = resolve(context.Background(), listen); err != nil {
		return nil, err
	}
	s.metrics = newPodMetrics("http://" + admin)
	return startChild("pushpod", cmd, s.core)
}

func (s *setting) awaitReady(ctx context.Context, pod *child) error {
	for end := time.Now().Add(startLimit); ; {
		_, err := s.metrics.get(ctx, "/readyz")
		if err == nil {
			return nil
		}
		if again := keepWaiting(ctx, end, []*child{pod}); again != nil {
			return errors.Join(again, err)
		}
	}
}

// keepWaiting pauses, or says why there is nothing to wait for.
func keepWaiting(ctx context.Context, end time.Time, children []*child) error {
	for _, c := range children {
		if err := c.gone(); err != nil {
			return err
		}
	}
	if time.Now().After(end) {
		return fmt.Errorf("bench: not up within %v", startLimit)
	}
	return pause(ctx, 20*time.Millisecond)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// freePort finds a port of 127.0.0.1 below the range from which the kernel
// takes those of clients: one of the many connections could get it else.
func freePort() (int, error) {
	const low, high, tries = 20_000, 32_000, 100
	var last error
	for range tries {
		port := low + rand.IntN(high-low)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("bench: find a free port: %w", last)
}
