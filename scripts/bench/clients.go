//go:build linux

package main

import (
	"cmp"
	"context"
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
	clientTick  = 100 * time.Millisecond
	openLimit   = 10 * time.Second // without a handshake that is answered
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
	fd    int
	state state
	rest  []byte // received, and not yet complete
}

// clients holds many WebSocket connections and tallies what they receive. One
// goroutine at a time owns all of it but for what is said below: whoever calls
// openClients, and from then on the loop, which close stops and waits for.
type clients struct {
	target   target
	conns    []connection
	ep       *epoll
	in, out  []byte
	started  int
	pending  int
	failure  error // the first one
	lastOpen time.Time

	tally *tally       // for everybody
	open  atomic.Int64 // for everybody: connections that are open
	stop  atomic.Bool
	loop  sync.WaitGroup
}

// openClients opens n connections and begins to read them; took is the time from the
// first connect to the last 101. It fails where one of them fails, or no handshake is
// answered for a while.
func openClients(ctx context.Context, t target, n int) (c *clients, took time.Duration, err error) {
	ep, err := newEpoll()
	if err != nil {
		return nil, 0, err
	}
	c = &clients{target: t, conns: make([]connection, n), ep: ep, in: make([]byte, readBuffer), tally: newTally()}
	for i := range c.conns {
		c.conns[i].fd = -1
	}
	start := time.Now()
	if err := c.openAll(ctx, start); err != nil {
		c.closeSockets()
		return nil, 0, fmt.Errorf("bench: %d of %d connections are open: %w", c.open.Load(), n, err)
	}
	c.loop.Go(func() {
		for !c.stop.Load() {
			c.turn()
		}
	})
	return c, c.lastOpen.Sub(start), nil
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
			_, _ = send(k.fd, goodbye) // what can't be said is noticed by the close
		}
		c.end(k)
	}
	c.ep.close()
}

func (c *clients) openAll(ctx context.Context, start time.Time) error {
	c.lastOpen = start
	for c.started < len(c.conns) || c.pending > 0 {
		for c.started < len(c.conns) && c.pending < opensAtOnce {
			if err := c.startOne(c.started); err != nil {
				return err
			}
			c.started++
			c.pending++
		}
		c.turn()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case c.failure != nil:
			return c.failure
		case time.Since(c.lastOpen) > openLimit:
			return fmt.Errorf("no handshake was answered for %v", openLimit)
		}
	}
	return c.failure
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

func (c *clients) startOne(i int) (err error) {
	if c.conns[i].fd, err = startConnect(c.target.addr, c.source(i)); err != nil {
		return err
	}
	return c.ep.control(unix.EPOLL_CTL_ADD, c.conns[i].fd, i, unix.EPOLLOUT|unix.EPOLLIN)
}

// turn waits for what is ready and handles it.
func (c *clients) turn() {
	events := c.ep.wait(clientTick)
	if len(events) == 0 {
		return
	}
	c.tally.mu.Lock()
	defer c.tally.mu.Unlock()
	for _, e := range events {
		k := &c.conns[e.Fd]
		var err error
		switch k.state {
		case ended: // earlier in this batch
		case connecting:
			err = c.connected(k, int(e.Fd))
		default:
			err = c.readable(k)
		}
		if err != nil { // it should have lived
			c.failure = cmp.Or(c.failure, err)
			c.end(k)
		}
	}
}

func (c *clients) connected(k *connection, i int) error {
	if err := connectError(k.fd); err != nil {
		return fmt.Errorf("bench: connect to %s: %w", c.target.addr, err)
	}
	c.out = c.target.appendRequest(c.out[:0], i)
	if n, err := send(k.fd, c.out); err != nil || n < len(c.out) {
		return fmt.Errorf("bench: send the handshake: %w", cmp.Or(err, io.ErrShortWrite))
	}
	k.state = handshaking
	return c.ep.control(unix.EPOLL_CTL_MOD, k.fd, i, unix.EPOLLIN)
}

// readable reads once, so that no connection keeps the others waiting.
func (c *clients) readable(k *connection) error {
	n, err := receive(k.fd, c.in)
	switch {
	case err == unix.EAGAIN:
		return nil
	case err == nil && n == 0:
		err = io.EOF
		fallthrough
	case err != nil:
		return fmt.Errorf("bench: the server ended the connection: %w", err)
	}
	in := c.in[:n]
	if len(k.rest) > 0 {
		in = append(k.rest, in...)
	}
	if k.state == handshaking {
		in, err = c.answered(k, in)
	}
	if k.state == open && err == nil {
		in, err = c.frames(k, in)
	}
	k.rest = append([]byte(nil), in...)
	return err
}

// answered takes the answer to the handshake off what was received, once it is
// complete, and returns the rest.
func (c *clients) answered(k *connection, in []byte) (rest []byte, err error) {
	rest, ok, err := takeAnswer(in)
	if ok {
		k.state = open
		c.pending--
		c.open.Add(1)
		c.lastOpen = time.Now()
	}
	return rest, err
}

// frames handles what a connection received, and returns what is not yet a whole
// frame. The caller holds the tally's lock.
func (c *clients) frames(k *connection, in []byte) (rest []byte, err error) {
	now := time.Now().UnixNano()
	for {
		op, payload, rest, ok, err := takeFrame(in)
		if !ok || err != nil {
			return rest, err
		}
		in = rest
		switch {
		case op < opClose:
			c.tally.add(payload, now)
		case op == opPing:
			c.out = appendClientFrame(c.out[:0], opPong, payload)
			_, _ = send(k.fd, c.out) // where it fails, the server ends the connection, which is told
		case op == opClose:
			return nil, fmt.Errorf("bench: the server closed the connection: %q", payload)
		}
	}
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
