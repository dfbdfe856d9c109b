//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const redisTimeout = 5 * time.Second

// redisServer is where Redis is, and how to log in.
type redisServer struct {
	addr     netip.AddrPort
	username string
	password string // empty: no AUTH
}

// redisClient is one connection to Redis. One goroutine uses it at a time.
type redisClient struct {
	fd  int
	in  []byte // read and not yet parsed: in[off:n]
	off int
	n   int
	r   reply
}

// connect dials Redis and logs in.
func (s redisServer) connect(ctx context.Context) (*redisClient, error) {
	fd, err := dial(ctx, s.addr, redisTimeout)
	if err != nil {
		return nil, fmt.Errorf("bench: reach Redis: %w", err)
	}
	c := &redisClient{fd: fd, in: make([]byte, 64<<10)}
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

func (c *redisClient) close() { _ = unix.Close(c.fd) }

// do sends one command and waits for its reply, which is valid until the next
// one is read.
func (c *redisClient) do(ctx context.Context, args ...string) (*reply, error) {
	end := time.Now().Add(redisTimeout)
	if err := c.send(ctx, appendCommand(nil, args...), end); err != nil {
		return nil, err
	}
	for {
		r, err := c.next()
		switch {
		case err == nil:
			return r, r.err(args[0])
		case !errors.Is(err, errWouldBlock):
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case time.Now().After(end):
			return nil, fmt.Errorf("bench: Redis did not answer %s within %v", args[0], redisTimeout)
		}
		poll(c.fd, unix.POLLIN, 100*time.Millisecond)
	}
}

// send writes all of b.
func (c *redisClient) send(ctx context.Context, b []byte, end time.Time) error {
	for len(b) > 0 {
		n, err := write(c.fd, b)
		b = b[n:]
		switch {
		case err == nil:
			continue
		case !errors.Is(err, errWouldBlock):
			return fmt.Errorf("bench: write to Redis: %w", err)
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return errors.New("bench: Redis takes no more commands")
		}
		poll(c.fd, unix.POLLOUT, 100*time.Millisecond)
	}
	return nil
}

// next returns the next reply that has arrived, or errWouldBlock.
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
		c.makeRoom()
		n, err := read(c.fd, c.in[c.n:])
		if err != nil {
			if errors.Is(err, errWouldBlock) {
				return nil, errWouldBlock
			}
			return nil, fmt.Errorf("bench: read from Redis: %w", err)
		}
		if n == 0 {
			return nil, fmt.Errorf("bench: Redis closed the connection: %w", io.ErrUnexpectedEOF)
		}
		c.n += n
	}
}

// makeRoom moves what is not parsed to the front, and grows the buffer where
// one reply fills it; parseReply bounds that.
func (c *redisClient) makeRoom() {
	copy(c.in, c.in[c.off:c.n])
	c.n -= c.off
	c.off = 0
	if c.n == len(c.in) {
		c.in = append(c.in, make([]byte, len(c.in))...)
	}
}
