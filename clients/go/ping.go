package client

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/gobwas/ws"
)

// Ping sends a WebSocket ping and waits for its pong, which comes in only while somebody is in Next.
func (c *Conn) Ping(ctx context.Context) error {
	payload, pong := c.pings.expect()
	defer c.pings.forget(payload)
	if err := c.write(ctx, ws.OpPing, []byte(payload), writeTimeout); err != nil {
		return err
	}
	select {
	case <-pong:
		return nil
	case <-c.done:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("client: wait for a pong: %w", ctx.Err())
	}
}

// pings knows who waits for which pong.
type pings struct {
	mu      sync.Mutex
	last    uint64
	waiting map[string]chan struct{} // payload → closed by its pong
}

func (p *pings) expect() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	payload, pong := strconv.FormatUint(p.last, 10), make(chan struct{})
	if p.waiting == nil {
		p.waiting = make(map[string]chan struct{})
	}
	p.waiting[payload] = pong
	return payload, pong
}

func (p *pings) forget(payload string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, payload)
}

func (p *pings) answered(payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pong, ok := p.waiting[string(payload)]; ok {
		delete(p.waiting, string(payload))
		close(pong)
	}
}
