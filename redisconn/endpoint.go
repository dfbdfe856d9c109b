package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// Endpoint is where one address leads, or Sentinels do: to one server now, and to
// another one after a failover, or once the address is led elsewhere. All
// connections that it makes lead to the server of that moment.
//
// It may be used from any goroutine. Close ends what it has to do with Sentinels.
type Endpoint struct {
	o          Options
	sentinels  *sentinels    // nil: one address
	generation atomic.Uint64 // of clients' connections; see Retire
	last       atomic.Pointer[Server]
	noInfo     atomic.Bool // INFO is refused: an ACL logs each time

	mu    sync.Mutex      // protects following
	stay  context.Context // until the server is left; see Leave
	leave context.CancelFunc
}

// NewEndpoint returns the Endpoint of one address, or of Sentinels. It does not
// connect yet.
func NewEndpoint(o Options) *Endpoint {
	e := &Endpoint{o: o}
	e.stay, e.leave = context.WithCancel(context.Background())
	if o.SentinelMaster != "" {
		e.sentinels = newSentinels(o, e.Leave)
	}
	return e
}

// Close closes the connections of clients and to Sentinels, and not those that Dial has
// returned.
func (e *Endpoint) Close() {
	e.Leave()
	if e.sentinels != nil {
		e.sentinels.close()
	}
}

// NewClient returns a client whose connections lead where the Endpoint does; the
// caller closes it. It does not connect yet. noRetry and poolSize are as in Options.
func (e *Endpoint) NewClient(noRetry bool, poolSize int) *redis.Client {
	return e.newClient(noRetry, poolSize, e.check)
}

func (e *Endpoint) newClient(noRetry bool, poolSize int, onConnect func(context.Context, *redis.Conn) error) *redis.Client {
	o := e.o
	o.NoRetry, o.PoolSize = noRetry, poolSize
	settings := o.settings().Simple()
	settings.Dialer = e.dialClient
	settings.OnConnect = onConnect
	settings.ConnMaxLifetime, settings.ConnMaxLifetimeJitter = strayFor, strayFor/4
	return redis.NewClient(settings)
}

// strayFor is how long a client's connection may lead somewhere else than the
// subscription does where nothing else tells: a name that was led elsewhere and back.
const strayFor = 10 * time.Minute

// Dial returns one connection, authenticated and with its database selected, and
// nothing unread in it, and what the server says of itself. The caller reads, writes
// and closes it: the library's own reader of a subscription drops messages where it
// stalls, and does not say what was lost when it reconnects. ctx bounds the call, and
// must have a deadline.
func (e *Endpoint) Dial(ctx context.Context) (net.Conn, Server, error) {
	c, s, _, err := e.DialWatched(ctx)
	return c, s, err
}

// DialWatched is Dial, and returns a channel that is closed when the server is left: see
// Leave. The channel is there with an error too.
func (e *Endpoint) DialWatched(ctx context.Context) (_ net.Conn, _ Server, left <-chan struct{}, _ error) {
	addr, stay, err := e.locate(ctx)
	if err != nil {
		return nil, Server{}, stay.Done(), fmt.Errorf("dial Redis: %w", err)
	}
	o := e.o
	o.Addresses = []string{addr}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(stay, cancel)()
	c, s, err := o.login(ctx, e.ask)
	if err != nil {
		return nil, Server{}, stay.Done(), fmt.Errorf("dial Redis: %w", err)
	}
	return c, s, stay.Done(), nil
}

// Server returns what the server said of itself that was dialed last; zero before.
func (e *Endpoint) Server() Server {
	if s := e.last.Load(); s != nil {
		return *s
	}
	return Server{}
}

// ask asks the server of a new connection what it is. Where it must be the master, a
// replica is an error.
func (e *Endpoint) ask(ctx context.Context, cn askable) (Server, error) {
	s, err := ask(ctx, cn, &e.noInfo)
	if err == nil && e.mustBeMaster() {
		err = wantMaster(s.Role, nil)
	}
	if err == nil {
		e.last.Store(&s)
	}
	return s, err
}

// Retire keeps clients from using again the connections that they have now: they may
// lead to another server than new ones. Commands under way are not disturbed.
func (e *Endpoint) Retire() { e.generation.Add(1) }

// Leave leaves the server that there was: it is known that the Endpoint leads elsewhere.
// Clients' connections to it are closed, so that nobody waits for one that hangs; of a
// command under way it is not known whether it was done. It is called where the Sentinels
// name another master, too.
func (e *Endpoint) Leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.generation.Add(1)
	e.leave()
	e.stay, e.leave = context.WithCancel(context.Background())
}

// Left returns a channel that is closed when the server is left that there is now.
func (e *Endpoint) Left() <-chan struct{} { return e.staying().Done() }

func (e *Endpoint) staying() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stay
}

// Watch asks the Sentinels again and again which server is the master, until ctx
// ends. A master that hangs is left as soon as they name another one.
// failed is called where none of them answers, and with nil once one does again: meanwhile
// the master that they named last is believed, as long as it says that it is one. Without
// Sentinels it only waits.
func (e *Endpoint) Watch(ctx context.Context, failed func(error)) {
	if e.sentinels == nil {
		<-ctx.Done()
		return
	}
	e.sentinels.watch(ctx, failed)
}

// locate returns the address of the server, and a context that ends when it is left.
func (e *Endpoint) locate(ctx context.Context) (addr string, stay context.Context, err error) {
	if e.sentinels == nil {
		return e.o.Addresses[0], e.staying(), nil
	}
	for {
		addr, err = e.sentinels.master(ctx)
		if stay = e.staying(); err != nil || addr == e.sentinels.known() {
			return addr, stay, err
		} // else it was left in between
	}
}

// mustBeMaster reports whether a replica is the wrong server: Sentinels know the
// master, and one that was just named may not be it yet, or not any more. Where one
// address leads to a replica nobody knows better.
func (e *Endpoint) mustBeMaster() bool { return e.sentinels != nil }

// check looks at a client's new connection, once it is logged in.
func (e *Endpoint) check(ctx context.Context, cn *redis.Conn) error {
	if !e.mustBeMaster() {
		return nil
	}
	return wantMaster(askRole(ctx, cn))
}

// errReplica says that the Sentinels' master is none.
var errReplica = errors.New("the server that the Sentinels name is a replica")

// wantMaster is an error for a replica. Who does not say what it is may be a master.
func wantMaster(r Role, err error) error {
	if err == nil && r == Replica {
		return errReplica
	}
	return err
}

// dialClient is the dialer of clients.
func (e *Endpoint) dialClient(ctx context.Context, _, _ string) (net.Conn, error) {
	addr, stay, err := e.locate(ctx)
	if err != nil {
		return nil, err
	}
	p := &pooled{of: e, made: e.generation.Load()}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(stay, cancel)()
	if p.Conn, err = e.o.reach(ctx, addr, dialSocket); err != nil {
		return nil, err
	}
	p.forget = context.AfterFunc(stay, func() { _ = p.Conn.Close() })
	return p, nil
}

// pooled is a connection of a client's, until it is retired, or its server is left.
type pooled struct {
	net.Conn
	of     *Endpoint
	made   uint64
	forget func() bool // that it is to be closed when the server is left
}

func (p *pooled) Close() error {
	p.forget()
	return p.Conn.Close()
}

var errRetired = errors.New("the connection may lead to another server than new ones")

// SyscallConn is asked for by the library before it uses a connection again, to see
// whether it is still alive; with an error, it makes another one.
func (p *pooled) SyscallConn() (syscall.RawConn, error) {
	if p.of.generation.Load() != p.made {
		return nil, errRetired
	}
	if sc, ok := p.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return seen{}, hungUp(p.Conn)
}

// seen is a connection that has been looked at.
type seen struct{}

func (seen) Control(func(fd uintptr)) error           { return nil }
func (seen) Read(func(fd uintptr) (done bool)) error  { return nil }
func (seen) Write(func(fd uintptr) (done bool)) error { return nil }
