//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	window    = 1000      // PUBLISHes under way at once, flat out
	chunk     = 256 << 10 // bytes written at once, about
	slowRedis = 30 * time.Second
)

// publisher PUBLISHes over one connection and reads the answers as they come.
// One goroutine uses it at a time. It holds its processor while it waits.
type publisher struct {
	c         *redisClient
	buf       []byte
	waiting   int   // PUBLISHes that Redis has not answered
	receivers int64 // sum of the answers
}

// message appends the i-th PUBLISH command; now is its stamp, in Unix ns.
type message func(dst []byte, i int, now int64) []byte

func newPublisher(ctx context.Context, s redisServer) (*publisher, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &publisher{c: c}, nil
}

func (p *publisher) close() { p.c.close() }

// pacer spreads messages evenly: the i-th is due i/rate seconds after start.
type pacer struct {
	start int64   // Unix ns
	rate  float64 // messages/s
}

func (p pacer) due(i int) int64 { return p.start + int64(float64(i)/p.rate*1e9) }

// reached is how many messages are due by now.
func (p pacer) reached(now int64) int {
	n := max(0, int(float64(now-p.start)/1e9*p.rate))
	for n > 0 && p.due(n-1) > now { // floating point may be one off, either way
		n--
	}
	for p.due(n) <= now {
		n++
	}
	return n
}

// abreast is how many PUBLISHes are under way at once in a paced stretch: one,
// as from a producer that waits for each answer, and twice as many whenever
// that has been too slow for the pace (a Redis far away).
type abreast struct {
	n    int
	last int64 // when it was last looked whether n is enough, Unix ns
}

const (
	mostAbreast = 100
	behind      = 5 * time.Millisecond  // behind the pace; a stall of the machine may be longer,
	lookEvery   = 50 * time.Millisecond // but is made up for by then
)

// late tells when the next message was due; now and due are Unix ns.
func (a *abreast) late(now, due int64) {
	if time.Duration(now-a.last) < lookEvery {
		return
	}
	a.last = now
	if time.Duration(now-due) > behind {
		a.n = min(2*a.n, mostAbreast)
	}
}

// paced publishes count messages at rate messages/s, evenly, and waits for all
// answers. Where it is late it sends what is due as fast as Redis answers, and
// at last without waiting for that: it never lowers the rate because Redis or
// the pod is slow. It gives up after twice the time and half a minute.
func (p *publisher) paced(ctx context.Context, rate float64, count int, next message) error {
	pace := pacer{start: time.Now().UnixNano(), rate: rate}
	end := time.Now().Add(2*time.Duration(float64(count)/rate*1e9) + slowRedis)
	most := abreast{1, pace.start}
	for i := 0; i < count; {
		if err := p.alive(ctx, end); err != nil {
			return err
		}
		now := time.Now().UnixNano()
		most.late(now, pace.due(i))
		due := min(pace.reached(now), count, i+most.n-p.waiting)
		if due <= i {
			pause := time.Duration(pace.due(i) - now)
			if p.waiting >= most.n {
				pause = max(pause, lookEvery)
			}
			// Answers are read in the pause, as they come.
			if poll(p.c.fd, unix.POLLIN, pause) != 0 {
				if err := p.answers(); err != nil {
					return err
				}
			}
			continue
		}
		p.buf = p.buf[:0]
		for ; i < due && len(p.buf) < chunk; i++ {
			p.buf = next(p.buf, i, now)
			p.waiting++
		}
		if err := p.flush(ctx, end); err != nil {
			return err
		}
	}
	return p.drain(ctx, 0, end)
}

// flat publishes count messages as fast as Redis takes them, and waits for all
// answers, within limit.
func (p *publisher) flat(ctx context.Context, count int, limit time.Duration, next message) error {
	end := time.Now().Add(limit)
	for i := 0; i < count; {
		if err := p.drain(ctx, window-1, end); err != nil {
			return err
		}
		p.buf = p.buf[:0]
		now := time.Now().UnixNano()
		for ; i < count && p.waiting < window && len(p.buf) < chunk; i++ {
			p.buf = next(p.buf, i, now)
			p.waiting++
		}
		if err := p.flush(ctx, end); err != nil {
			return err
		}
	}
	return p.drain(ctx, 0, end)
}

func (p *publisher) alive(ctx context.Context, end time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if time.Now().After(end) {
		return fmt.Errorf("bench: publishing takes too long; %d PUBLISHes without an answer", p.waiting)
	}
	return nil
}

// flush writes the buffer, and reads answers while Redis takes no more: it
// stops reading from a client that doesn't.
func (p *publisher) flush(ctx context.Context, end time.Time) error {
	for b := p.buf; len(b) > 0; {
		n, err := write(p.c.fd, b)
		b = b[n:]
		if err == nil {
			continue
		}
		if !errors.Is(err, errWouldBlock) {
			return fmt.Errorf("bench: write to Redis: %w", err)
		}
		if err := p.alive(ctx, end); err != nil {
			return err
		}
		if poll(p.c.fd, unix.POLLIN|unix.POLLOUT, 100*time.Millisecond)&unix.POLLIN != 0 {
			if err := p.answers(); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain reads answers until at most rest are missing.
func (p *publisher) drain(ctx context.Context, rest int, end time.Time) error {
	for p.waiting > rest {
		if err := p.alive(ctx, end); err != nil {
			return err
		}
		if poll(p.c.fd, unix.POLLIN, 100*time.Millisecond) != 0 {
			if err := p.answers(); err != nil {
				return err
			}
		}
	}
	return nil
}

// answers reads what has arrived.
func (p *publisher) answers() error {
	for p.waiting > 0 {
		r, err := p.c.next()
		if errors.Is(err, errWouldBlock) {
			return nil
		}
		if err == nil {
			err = r.err("PUBLISH")
		}
		if err != nil {
			return err
		}
		p.waiting--
		p.receivers += r.number
	}
	return nil
}
