//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	opensAtOnce = 200       // handshakes under way
	perSource   = 2_000     // connections from one loopback address
	readBuffer  = 256 << 10 // bytes read at once
)

// state is where a connection is in its life; it only goes down the list.
type state uint8

const (
	connecting  state = iota // TCP is being connected
	handshaking              // the request is sent
	open                     // the server has upgraded
	ended                    // closed, by either side; there is no descriptor
)

// connection is one WebSocket to the server. The clients' loop owns it.
type connection struct {
	fd      int
	state   state
	parser  parser
	pending []byte // an answer to the handshake that came in pieces
}

// clients holds many WebSocket connections and tallies what they receive. One
// goroutine at a time owns all of it but for what is said below: whoever calls
// openClients, and from then on the loop, which close stops and waits for.
type clients struct {
	target   target
	conns    []connection
	ep       *epoll
	in       []byte
	out      []byte
	started  int
	pending  int
	failed   int
	failure  error // the first one
	lastOpen time.Time

	tally *tally       // for everybody
	open  atomic.Int64 // for everybody: connections that are open
	stop  atomic.Bool
	loop  sync.WaitGroup
}

// opened tells how the opening went.
type opened struct {
	n    int
	took time.Duration // from the first connect to the last 101
}

// openClients opens n connections and begins to read them. It fails where one
// of them fails, or no handshake is answered within 10 s.
func openClients(ctx context.Context, t target, n int, say func(string, ...any)) (*clients, opened, error) {
	ep, err := newEpoll()
	if err != nil {
		return nil, opened{}, err
	}
	c := &clients{target: t, conns: make([]connection, n), ep: ep, in: make([]byte, readBuffer), tally: new(tally)}
	for i := range c.conns {
		c.conns[i].fd = -1
	}
	took, err := c.openAll(ctx, say)
	if err != nil {
		c.closeSockets()
		return nil, opened{}, err
	}
	c.loop.Go(c.run)
	return c, opened{n, took}, nil
}

// close says goodbye on every connection and closes it.
func (c *clients) close() {
	c.stop.Store(true)
	c.loop.Wait()
	c.closeSockets()
}

func (c *clients) closeSockets() {
	goodbye := appendClientFrame(nil, opClose, []byte{1000 >> 8, 1000 & 0xff})
	for i := range c.conns {
		k := &c.conns[i]
		if k.state == open {
			_, _ = write(k.fd, goodbye) // what can't be said is noticed by the close
		}
		c.end(k)
	}
	c.ep.close()
}

func (c *clients) run() {
	for !c.stop.Load() {
		c.turn(100 * time.Millisecond)
	}
}

func (c *clients) openAll(ctx context.Context, say func(string, ...any)) (time.Duration, error) {
	const patience = 10 * time.Second
	start := time.Now()
	c.lastOpen = start
	said := start
	for c.started < len(c.conns) || c.pending > 0 {
		for c.started < len(c.conns) && c.pending < opensAtOnce {
			if err := c.startOne(c.started); err != nil {
				return 0, err
			}
			c.started++
			c.pending++
		}
		c.turn(100 * time.Millisecond)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case c.failure != nil:
			return 0, fmt.Errorf("bench: open connection %d of %d: %w", c.open.Load()+1, len(c.conns), c.failure)
		case now.Sub(c.lastOpen) > patience:
			return 0, fmt.Errorf("bench: %d of %d connections are open, and no handshake was answered for %v", c.open.Load(), len(c.conns), patience)
		case now.Sub(said) > 2*time.Second:
			say("%d of %d connections open", c.open.Load(), len(c.conns))
			said = now
		}
	}
	if c.failure != nil {
		return 0, fmt.Errorf("bench: %d of %d connections failed: %w", c.failed, len(c.conns), c.failure)
	}
	return c.lastOpen.Sub(start), nil
}

// source is the i-th connection's own address. Where the server is on
// loopback there are many, so that ports don't run out.
func (c *clients) source(i int) netip.Addr {
	if a := c.target.addr.Addr(); !a.Is4() || !a.IsLoopback() {
		return netip.Addr{}
	}
	k := i / perSource
	return netip.AddrFrom4([4]byte{127, 0, byte(1 + k/250%255), byte(1 + k%250)})
}

func (c *clients) startOne(i int) error {
	fd, err := startConnect(c.target.addr, c.source(i))
	if err != nil {
		return err
	}
	c.conns[i].fd = fd
	if err := c.ep.add(fd, i, unix.EPOLLOUT|unix.EPOLLIN); err != nil {
		return fmt.Errorf("bench: watch a connection: %w", err)
	}
	return nil
}

// turn waits for what is ready and handles it.
func (c *clients) turn(timeout time.Duration) {
	events := c.ep.wait(timeout)
	if len(events) == 0 {
		return
	}
	c.tally.mu.Lock()
	defer c.tally.mu.Unlock()
	for _, e := range events {
		k := &c.conns[e.Fd]
		switch {
		case k.state == ended: // earlier in this batch
		case k.state == connecting:
			if e.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
				c.connected(k, int(e.Fd))
			}
		default:
			c.readable(k)
		}
	}
}

func (c *clients) connected(k *connection, i int) {
	if err := connectError(k.fd); err != nil {
		c.fail(k, fmt.Errorf("bench: connect to %s: %w", c.target.addr, err))
		return
	}
	c.out = c.target.appendRequest(c.out[:0], i)
	n, err := write(k.fd, c.out)
	if err == nil && n < len(c.out) {
		err = io.ErrShortWrite
	}
	if err != nil {
		c.fail(k, fmt.Errorf("bench: send the handshake: %w", err))
		return
	}
	k.state = handshaking
	if err := c.ep.change(k.fd, i, unix.EPOLLIN); err != nil {
		c.fail(k, fmt.Errorf("bench: watch a connection: %w", err))
	}
}

// readable reads once, so that no connection keeps the others waiting.
func (c *clients) readable(k *connection) {
	n, err := read(k.fd, c.in)
	if errors.Is(err, errWouldBlock) {
		return
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		c.fail(k, fmt.Errorf("bench: the server ended the connection: %w", err))
		return
	}
	in := c.in[:n]
	if k.state == handshaking {
		if len(k.pending) > 0 {
			in = append(k.pending, in...)
		}
		rest, ok, err := takeAnswer(in)
		if err != nil {
			c.fail(k, err)
			return
		}
		if !ok {
			k.pending = append([]byte(nil), in...)
			return
		}
		k.state, k.pending = open, nil
		c.pending--
		c.open.Add(1)
		c.lastOpen = time.Now()
		in = rest
	}
	c.frames(k, in)
}

// frames handles what a connection received. The caller holds the tally's lock.
func (c *clients) frames(k *connection, in []byte) {
	now := time.Now().UnixNano()
	for len(in) > 0 {
		f, rest, ok, err := k.parser.next(in)
		if err != nil {
			c.fail(k, err)
			return
		}
		if !ok {
			return
		}
		in = rest
		switch {
		case f.op < opClose:
			c.tally.add(f.head, now)
		case f.op == opPing:
			c.out = appendClientFrame(c.out[:0], opPong, f.head)
			_, _ = write(k.fd, c.out) // where it fails, the server ends the connection, which is told
		case f.op == opClose:
			c.fail(k, fmt.Errorf("bench: the server closed the connection: %q", f.head))
			return
		}
	}
}

// fail ends a connection that should have lived.
func (c *clients) fail(k *connection, err error) {
	c.failed++
	if c.failure == nil {
		c.failure = err
	}
	c.end(k)
}

func (c *clients) end(k *connection) {
	switch k.state {
	case open:
		c.open.Add(-1)
	case connecting, handshaking:
		c.pending--
	}
	if k.fd >= 0 {
		_ = unix.Close(k.fd)
		k.fd = -1
	}
	k.state = ended
}
