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
	"slices"
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
	core    core // for servers
	close   func()
}

// given is the setting that the options name.
func given(_ context.Context, o options, _ cores) (setting, error) {
	t, hostPort, err := newTarget(o.url)
	if err != nil {
		return setting{}, err
	}
	t.addr, err = resolve(hostPort)
	return setting{
		target: t, redis: redisServer{o.redis, o.username, o.password}, metrics: podMetrics{o.admin},
		server: process{o.pid}, core: anyCore, close: func() {},
	}, err
}

// start is the setting of a pod and, where none is named, a Redis that are
// started for it on free ports of 127.0.0.1.
func start(ctx context.Context, o options, c cores) (setting, error) {
	var children []*child
	s := setting{redis: redisServer{o.redis, o.username, o.password}, core: c.server}
	s.close = func() {
		for _, c := range slices.Backward(children) { // the pod leaves Redis
			c.stop()
		}
	}
	run := func(start func() (*child, error), up func() error) error {
		c, err := start()
		if err != nil {
			return err
		}
		children = append(children, c)
		return await(ctx, c.gone, up)
	}
	var err error
	if o.redis == "" {
		err = run(func() (*child, error) { return s.startRedis(ctx, c.rest) }, func() error {
			_, err := s.redis.version(ctx)
			return err
		})
	}
	if err == nil {
		err = run(func() (*child, error) { return s.startPod(ctx, o) }, func() error {
			_, err := s.metrics.get(ctx, "/readyz")
			return err
		})
	}
	if err != nil {
		s.close()
	}
	return s, err
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

// startRedis starts a Redis, and puts its address in s.
func (s *setting) startRedis(ctx context.Context, on core) (c *child, err error) {
	if s.redis.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(s.redis.addr)
	c, err = startChild(ctx, "Redis", on, func(cmd *exec.Cmd) { cmd.Dir = os.TempDir() },
		"redis-server", "--bind", host, "--port", port, "--save", "", "--appendonly", "no")
	if errors.Is(err, exec.ErrNotFound) {
		err = fmt.Errorf("%w: install it (make tools), or name a Redis with --redis", err)
	}
	return c, err
}

// startPod starts a pod, and puts its addresses in s.
func (s *setting) startPod(ctx context.Context, o options) (*child, error) {
	listen, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s.metrics = podMetrics{"http://" + admin}
	s.target = target{host: listen, path: "/ws?user="}
	if s.target.addr, err = resolve(listen); err != nil {
		return nil, err
	}
	c, err := startChild(ctx, "pushpod", s.core, func(cmd *exec.Cmd) {
		// The rest of the environment stays, so that other settings can be tried.
		cmd.Env = append(os.Environ(), "PUSHPOD_LOG_LEVEL=warn",
			"PUSHPOD_LISTEN="+listen, "PUSHPOD_ADMIN_LISTEN="+admin, "PUSHPOD_POD_ADDRESS="+listen,
			"PUSHPOD_REDIS_ADDRESSES="+s.redis.addr, "PUSHPOD_REDIS_PREFIX="+o.prefix, "PUSHPOD_SHUTDOWN_DRAIN=1s")
	}, o.binary, "serve")
	if err == nil {
		s.server = c.process
	}
	return c, err
}

// await tries until try succeeds, or whoever has to do something for it is gone.
func await(ctx context.Context, gone, try func() error) error {
	for end := time.Now().Add(startLimit); ; {
		err := try()
		if err == nil {
			return nil
		}
		if err := gone(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("bench: not within %v: %w", startLimit, err)
		}
		if err := sleep(ctx, tick); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// freeAddr finds a port of 127.0.0.1 below the range from which the kernel
// takes those of clients: one of the many connections could get it else.
func freeAddr() (string, error) {
	const low, high, tries = 20_000, 32_000, 100
	var errs error
	for range tries {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(low+rand.IntN(high-low)))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, l.Close()
		}
		errs = errors.Join(errs, err)
	}
	return "", fmt.Errorf("bench: find a free port: %w", errs)
}
