//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pushpod/internal/resp"
	"pushpod/scripts"
)

const (
	redisTimeout = 5 * time.Second
	maxReply     = 2 << 20 // bytes of a string, elements of an array
)

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
	resp.Reader
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
	c := &redisClient{file: f, fd: int(f.Fd()), in: make([]byte, 64<<10), Reader: resp.Reader{MaxString: maxReply, MaxFields: maxReply}}
	login := []string{"PING"}
	switch {
	case s.username != "":
		login = []string{"AUTH", s.username, s.password}
	case s.password != "":
		login = []string{"AUTH", s.password}
	}
	if err := c.do(ctx, login...); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// version is the name and the version of the server, such as "Redis 7.0.15".
func (s redisServer) version(ctx context.Context) (string, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	defer c.close()
	if err := c.do(ctx, "INFO", "server"); err != nil {
		return "", err
	}
	// Valkey names both, itself last.
	found := regexp.MustCompile(`(?:redis|valkey)_version:\S+`).FindAllString(string(c.Fields[0]), -1)
	if len(found) == 0 {
		return "Redis of an unknown version", nil
	}
	return strings.NewReplacer("redis_version:", "Redis ", "valkey_version:", "Valkey ").Replace(found[len(found)-1]), nil
}

// cpu returns the CPU time of Redis so far (INFO cpu); 0 where Redis does not tell it.
func (s redisServer) cpu(ctx context.Context) (time.Duration, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer c.close()
	switch err := c.do(ctx, "INFO", "cpu"); {
	case err != nil && c.Err() != nil: // a user without the right, or the embedded Redis
		return 0, nil
	case err != nil:
		return 0, err
	}
	var sum time.Duration
	for _, found := range regexp.MustCompile(`(?m)^used_cpu_(?:user|sys):([0-9.]+)`).FindAllSubmatch(c.Fields[0], -1) {
		seconds, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			return 0, fmt.Errorf("bench: CPU time of Redis: %w", err)
		}
		sum += time.Duration(seconds * float64(time.Second))
	}
	return sum, nil
}

// loadScripts gives Redis the script and the function library, and returns the
// script's name. A library that is there stays.
func (s redisServer) loadScripts(ctx context.Context) (sha string, err error) {
	c, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	defer c.close()
	if err := c.do(ctx, "SCRIPT", "LOAD", scripts.Push()); err != nil {
		return "", err
	}
	sha = string(c.Fields[0])
	library, _ := scripts.Library()
	if err := c.do(ctx, "FUNCTION", "LOAD", library); err != nil && !strings.Contains(err.Error(), "already exists") {
		return "", err
	}
	return sha, nil
}

func (c *redisClient) close() { _ = c.file.Close() }

// do sends one command and waits for its reply, which is then in the fields of the
// Reader.
func (c *redisClient) do(ctx context.Context, args ...string) error {
	command := resp.AppendCommand(nil, args...)
	if n, err := send(c.fd, command); err != nil || n < len(command) {
		return fmt.Errorf("bench: write %s to Redis: sent %d bytes of %d: %w", args[0], n, len(command), err)
	}
	for end := time.Now().Add(redisTimeout); ; poll(c.fd, unix.POLLIN, clientTick) {
		err := c.next()
		switch {
		case err == nil:
			return nil
		case err != unix.EAGAIN:
			return fmt.Errorf("bench: %s: %w", args[0], err)
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("bench: Redis did not answer %s within %v", args[0], redisTimeout)
		}
	}
}

// next takes the next reply that has arrived, which is then in the fields of the
// Reader; it fails with EAGAIN where there is none, and where Redis answers an error.
func (c *redisClient) next() error {
	for {
		taken, err := c.Parse(c.in[c.off:c.n])
		c.off += taken
		switch {
		case err != nil:
			return err
		case c.Skip > 0:
			return fmt.Errorf("a reply of Redis is longer than %d bytes", maxReply)
		case taken > 0:
			return c.Err()
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// fill reads what is there behind what is not yet parsed. The buffer grows where
// one reply fills it, which the Reader bounds.
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
		return fmt.Errorf("read from Redis: %w", err)
	case n == 0:
		return fmt.Errorf("the connection was closed by Redis: %w", io.ErrUnexpectedEOF)
	}
	c.n += n
	return nil
}
