//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

const redisTimeout = 5 * time.Second

// redisServer is where Redis is, and how to log in.
type redisServer struct {
	addr     string // host:port
	username string
	password string // empty: no AUTH
}

// redisClient is one connection to Redis. One goroutine uses it at a time.
type redisClient struct {
	file *os.File // keeps fd open
	fd   int
	in   []byte // read and not yet parsed: in[off:n]
	off  int
	n    int
	r    reply
}

// connect dials Redis and logs in.
func (s redisServer) connect(ctx context.Context) (*redisClient, error) {
	d := net.Dialer{Timeout: redisTimeout}
	conn, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, fmt.Errorf("bench: reach Redis: %w", err)
	}
	defer conn.Close()
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		return nil, fmt.Errorf("bench: reach Redis: %w", err)
	}
	c := &redisClient{file: f, fd: int(f.Fd()), in: make([]byte, 64<<10)}
	login := []string{"PING"}
	switch {
	case s.username != "":
		login = []string{"AUTH", s.username, s.password}
	case s.password != "":
		login = []string{"AUTH", s.password}
	}
	if _, err := c.do(ctx, login...); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// version asks what Redis it is.
func (s redisServer) version(ctx context.Context) (string, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	defer c.close()
	r, err := c.do(ctx, "INFO", "server")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?:redis|valkey)_version:\S+`).FindAll(r.fields[0], -1)
	if len(found) == 0 {
		return "unknown", nil
	}
	return string(found[len(found)-1]), nil
}

func (c *redisClient) close() { _ = c.file.Close() }

// do sends one command and waits for its reply, which is valid until the next
// one is read.
func (c *redisClient) do(ctx context.Context, args ...string) (*reply, error) {
	command := appendCommand(nil, args...)
	if n, err := send(c.fd, command); err != nil || n < len(command) {
		return nil, fmt.Errorf("bench: write %s to Redis: sent %d bytes of %d: %w", args[0], n, len(command), err)
	}
	for end := time.Now().Add(redisTimeout); ; poll(c.fd, unix.POLLIN, 100*time.Millisecond) {
		r, err := c.next()
		switch {
		case err == nil:
			return r, r.err(args[0])
		case err != unix.EAGAIN:
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case time.Now().After(end):
			return nil, fmt.Errorf("bench: Redis did not answer %s within %v", args[0], redisTimeout)
		}
	}
}

// next returns the next reply that has arrived, or EAGAIN. It is valid until next
// is called again.
func (c *redisClient) next() (*reply, error) {
	for {
		if c.off < c.n {
			taken, err := parseReply(c.in[c.off:c.n], &c.r)
			if err != nil {
				return nil, err
			}
			if taken > 0 {
				c.off += taken
				return &c.r, nil
			}
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads what is there behind what is not yet parsed. The buffer grows where
// one reply fills it, which parseReply bounds.
func (c *redisClient) fill() error {
	c.n = copy(c.in, c.in[c.off:c.n])
	c.off = 0
	if c.n == len(c.in) {
		c.in = append(c.in, make([]byte, len(c.in))...)
	}
	n, err := receive(c.fd, c.in[c.n:])
	switch {
	case err == unix.EAGAIN:
		return err
	case err != nil:
		return fmt.Errorf("bench: read from Redis: %w", err)
	case n == 0:
		return fmt.Errorf("bench: Redis closed the connection: %w", io.ErrUnexpectedEOF)
	}
	c.n += n
	return nil
}
