package client

import (
	"context"
	"fmt"
	"sync"
)

// A Client keeps one user connected. New makes it, Run connects it; the other methods may be called from any goroutine,
// before, during and after Run.
type Client struct {
	opts Options // static

	// Owned by Run.
	seen  seenIDs
	retry retry

	mu       sync.Mutex // guards what follows
	started  bool
	closed   bool               // Close was called
	cancel   context.CancelFunc // ends Run; nil before started
	link     *link              // the newest connection; nil while there is none
	changed  chan struct{}      // closed, and made anew, when link is set; closed for good with end
	end      error              // why Run has ended; nil before that
	receipts map[string]chan Frame
}

// New returns a client that is not connected yet, or an error that says which option is wrong.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Client{
		opts:     o,
		seen:     seenIDs{limit: o.SeenIDs},
		retry:    retry{backoff: o.Backoff, tokens: o.Token != nil, draw: uniform},
		changed:  make(chan struct{}),
		receipts: make(map[string]chan Frame),
	}, nil
}

// Run connects, and stays connected until ctx ends, Close is called, or the server says what can't be mended by coming
// again. When ctx or Close ends it, it says so to the server (close code 1000) and waits up to 2 s for the answer.
//
// It returns nil after Close, ctx's error after ctx's end, ErrStarted where it was called before, and else the reason: a
// *CloseError or a *HandshakeError that is final, or, with NoReconnect, whatever came first.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if over, err := c.start(cancel); over {
		return err
	}
	r := newRunner(c)
	err := r.loop(ctx)
	cancel()
	r.wait(ctx)
	return c.finish(err)
}

// Close ends Run, which says goodbye to the server. It does not wait: Run's return is the end. It may be called at any
// time, also before Run and from a callback, and again.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
	case c.started:
		c.cancel()
	default:
		c.end = ErrClosed
		close(c.changed)
	}
	c.closed = true
}

// start reports whether Run is over before it has begun, and what it returns then.
func (c *Client) start(cancel context.CancelFunc) (over bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started {
		return true, ErrStarted
	}
	c.started, c.cancel = true, cancel
	return c.closed, nil
}

// finish tells all who wait for a connection that there will be none, and returns what Run returns.
func (c *Client) finish(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = fmt.Errorf("%w: %w", ErrClosed, err)
	if c.closed {
		c.end, err = ErrClosed, nil
	}
	close(c.changed)
	return err
}

func (c *Client) onFrame(f Frame) {
	if c.opts.OnFrame != nil {
		c.opts.OnFrame(f)
	}
}

func (c *Client) onDisconnect(err error) {
	if c.opts.OnDisconnect != nil {
		c.opts.OnDisconnect(err)
	}
}

// attach makes l the connection for what is sent from now on.
func (c *Client) attach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	close(c.changed)
	c.changed = make(chan struct{})
}

// detach says that l has ended; another one may have taken its place before.
func (c *Client) detach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == l {
		c.link = nil
	}
	close(l.gone)
}

// connected returns the connection, and waits for it where there is none.
func (c *Client) connected(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, changed, end := c.link, c.changed, c.end
		c.mu.Unlock()
		if end != nil {
			return nil, end
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("client: wait for a connection: %w", ctx.Err())
		}
	}
}

// Send writes one frame as it is, when there is a connection, and returns without waiting for a receipt: whether the pod
// got it is not known. For frames that this package has no method for.
func (c *Client) Send(ctx context.Context, frame []byte) error {
	l, err := c.connected(ctx)
	if err != nil {
		return err
	}
	return l.send(ctx, frame)
}
