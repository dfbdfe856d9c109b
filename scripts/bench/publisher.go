//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"pushpod/internal/resp"
)

const (
	window     = 1000      // PUBLISHes under way at once, flat out
	chunk      = 256 << 10 // bytes written at once, about
	flatLimit  = 2 * time.Minute
	pacedSpare = 30 * time.Second // beyond twice the time that a rate takes
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

// pacer spreads messages evenly: the i-th is due i/rate seconds after start. With a
// rate of 0 all are due at once.
type pacer struct {
	start int64   // Unix ns
	rate  float64 // messages/s
}

func (p pacer) due(i int) int64 {
	if p.rate == 0 {
		return p.start
	}
	return p.start + int64(float64(i)/p.rate*1e9)
}

// inflight bounds how many PUBLISHes may be without an answer at a rate: one, as from
// a producer that waits for each answer, and twice as many whenever that is too slow
// for the pace (a Redis far away).
type inflight struct {
	limit int
	last  int64 // when the limit was last looked at, Unix ns
}

const (
	maxInflight = 100
	behind      = 5 * time.Millisecond  // behind the pace; a stall of the machine may be longer,
	lookEvery   = 50 * time.Millisecond // but is made up for by then
)

// late tells when the next message was due; now and due are Unix ns.
func (f *inflight) late(now, due int64) {
	if time.Duration(now-f.last) < lookEvery {
		return
	}
	f.last = now
	if time.Duration(now-due) > behind {
		f.limit = min(2*f.limit, maxInflight)
	}
}

// publish publishes what l says, and waits for all answers. At a rate it sends what is
// due; where it is late, as fast as Redis answers, and at last without waiting for
// that: it never lowers the rate because Redis or the pod is slow. It fails where that
// takes too long.
func (p *publisher) publish(ctx context.Context, l load, next message) error {
	ctx, cancel := context.WithTimeout(ctx, l.limit())
	defer cancel()
	pace := pacer{time.Now().UnixNano(), l.rate}
	most := inflight{limit: 1, last: pace.start}
	if l.rate == 0 {
		most.limit = window
	}
	for i := 0; i < l.count || p.waiting > 0; {
		if ctx.Err() != nil {
			return fmt.Errorf("bench: publish: %d PUBLISHes without an answer: %w", p.waiting, ctx.Err())
		}
		now := time.Now().UnixNano()
		if l.rate > 0 && i < l.count {
			most.late(now, pace.due(i))
		}
		p.buf = p.buf[:0]
		for ; i < l.count && p.waiting < most.limit && pace.due(i) <= now && len(p.buf) < chunk; i++ {
			p.buf = next(p.buf, i, now)
			p.waiting++
		}
		err := error(nil)
		if len(p.buf) > 0 {
			err = p.flush(ctx)
		} else {
			pause := time.Duration(pace.due(i) - now)
			if i == l.count || p.waiting == most.limit {
				pause = lookEvery
			}
			err = p.answers(unix.POLLIN, pause)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// limit is how long publishing may take.
func (l load) limit() time.Duration {
	if l.rate == 0 {
		return flatLimit
	}
	return 2*time.Duration(float64(l.count)/l.rate*1e9) + pacedSpare
}

// flush writes the buffer. It reads answers while Redis takes no more, since Redis
// stops to read from a client that doesn't.
func (p *publisher) flush(ctx context.Context) error {
	for b := p.buf; len(b) > 0 && ctx.Err() == nil; {
		n, err := send(p.c.fd, b)
		if err == unix.EAGAIN {
			err = p.answers(unix.POLLIN|unix.POLLOUT, lookEvery)
		}
		if err != nil {
			return fmt.Errorf("bench: write to Redis: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// answers waits for one of the events, and reads what has arrived.
func (p *publisher) answers(events int16, wait time.Duration) error {
	poll(p.c.fd, events, wait)
	for p.waiting > 0 {
		err := p.c.next()
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bench: PUBLISH: %w", err)
		}
		p.waiting--
		p.receivers += p.c.Int
	}
	return nil
}

// appendPublish appends PUBLISH of a message to a channel.
func appendPublish(dst []byte, channel string, message []byte) []byte {
	dst = append(dst, "*3\r\n$7\r\nPUBLISH\r\n"...)
	return resp.AppendString(resp.AppendString(dst, channel), message)
}
