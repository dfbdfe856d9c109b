//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// subscriber receives a channel and tallies it: the limit of what a pod can
// do, since it is the way to a pod and nothing else.
type subscriber struct {
	c      *redisClient
	tally  *tally
	cancel context.CancelFunc
	wg     sync.WaitGroup
	err    error // why it ended; valid after wg.Wait
}

// subscribe subscribes and begins to receive, until close.
func subscribe(ctx context.Context, s redisServer, channel string) (*subscriber, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.do(ctx, "SUBSCRIBE", channel); err != nil {
		c.close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &subscriber{c: c, tally: newTally(), cancel: cancel}
	b.wg.Go(func() {
		for b.err == nil && ctx.Err() == nil {
			if poll(c.fd, unix.POLLIN, clientTick) != 0 {
				b.err = b.receive()
			}
		}
	})
	return b, nil
}

// close stops receiving and returns what ended it before, if anything did.
func (b *subscriber) close() error {
	b.cancel()
	b.wg.Wait()
	b.c.close()
	return b.err
}

// receive tallies what has arrived.
func (b *subscriber) receive() error {
	b.tally.mu.Lock()
	defer b.tally.mu.Unlock()
	for {
		err := b.c.next()
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bench: subscriber: %w", err)
		}
		if len(b.c.Fields) == 3 { // "message", channel, data
			b.tally.add(b.c.Fields[2], time.Now().UnixNano())
		}
	}
}
