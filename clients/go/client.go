package client

import (
	"context"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"
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
	link     *link              // nil while not connected
	changed  chan struct{}      // closed, and made anew, when link is set; closed for good with end
	end      error              // why Run has ended; nil before that
	receipts map[string]chan Frame
}

// A link is a connection that had its welcome.
type link struct {
	conn    *Conn
	welcome Welcome
	gone    chan struct{} // closed when it is no longer the Client's
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
	for {
		lasted, err := c.connect(ctx)
		if ctx.Err() != nil {
			return c.finish(ctx.Err())
		}
		wait, again := c.retry.after(err, lasted)
		if !again || c.opts.NoReconnect {
			return c.finish(err)
		}
		if c.opts.OnRetry != nil {
			c.opts.OnRetry(err, wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return c.finish(ctx.Err())
		}
	}
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

// connect is one connection from its beginning to its end. It returns how long the connection lasted after its welcome,
// and why it ended.
func (c *Client) connect(ctx context.Context) (time.Duration, error) {
	conn, err := dial(ctx, c.opts)
	if err != nil {
		return 0, err
	}
	goodbye := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(goodbye)
		_ = conn.Close(1000, "") // no more can be done for a server that does not answer
	})
	defer func() {
		if !stop() {
			<-goodbye
		}
		conn.shut(nil)
	}()

	conn.deadline.setPatience(c.opts.HandshakeTimeout)
	first, err := conn.nextFrame()
	if err != nil {
		return 0, err
	}
	c.onFrame(first)
	welcome, err := welcomeOf(first)
	if err != nil {
		_ = conn.Close(1002, "") // err says more than its result
		return 0, err
	}
	conn.deadline.setPatience(c.patience(welcome))

	since := time.Now()
	l := c.attach(conn, welcome)
	if c.opts.OnConnect != nil {
		c.opts.OnConnect(welcome)
	}
	err = c.receive(ctx, conn)
	c.detach(l)
	if c.opts.OnDisconnect != nil {
		c.opts.OnDisconnect(err)
	}
	return time.Since(since), err
}

// patience is how long the server may be silent; zero, for ever, where it does not say how often it pings.
func (c *Client) patience(w Welcome) time.Duration {
	const most = 24 * 60 * 60 // beyond that it is no interval but a mistake
	if w.Ping <= 0 || w.Ping > most {
		return 0
	}
	return time.Duration(w.Ping)*time.Second + c.opts.Grace
}

func (c *Client) receive(ctx context.Context, conn *Conn) error {
	for {
		f, err := conn.nextFrame()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		c.onFrame(f)
		switch f.Type {
		case "message":
			if !c.seen.add(f.ID) && c.opts.OnMessage != nil {
				c.opts.OnMessage(Message{ID: f.ID, Data: f.Data})
			}
		case "receipt":
			c.receipt(f)
		case "ping":
			// A failed write closes the connection, which the next read tells.
			_ = conn.SendText(ctx, []byte(`{"type":"pong"}`))
		}
		if ctx.Err() != nil {
			return ctx.Err() // a callback has called Close: no further frame is its business
		}
	}
}

func (c *Client) onFrame(f Frame) {
	if c.opts.OnFrame != nil {
		c.opts.OnFrame(f)
	}
}

func (c *Client) attach(conn *Conn, w Welcome) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = &link{conn: conn, welcome: w, gone: make(chan struct{})}
	close(c.changed)
	c.changed = make(chan struct{})
	return c.link
}

func (c *Client) detach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = nil
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

// send refuses what the pod would close the connection for.
func (l *link) send(ctx context.Context, frame []byte) error {
	if most := l.welcome.MaxMessage; most > 0 && len(frame) > most {
		return fmt.Errorf("%w: frame of %d bytes, the pod takes %d", ErrTooLarge, len(frame), most)
	}
	if !utf8.Valid(frame) {
		return fmt.Errorf("client: frame is not UTF-8")
	}
	return l.conn.SendText(ctx, frame)
}
