package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/admin"
	"pushpod/auth"
	"pushpod/certs"
	"pushpod/cli"
	"pushpod/config"
	"pushpod/conn"
	"pushpod/embedded"
	"pushpod/hub"
	"pushpod/internal/backoff"
	"pushpod/internal/loglimit"
	"pushpod/internal/systemd"
	"pushpod/presence"
	"pushpod/redisconn"
	"pushpod/scripts"
)

// pod is one running server: its parts, in the order in which they start. They stop in
// the reverse order.
type pod struct {
	cfg     config.Config // as it was at the start; what may change since then is with the parts: see reload.go
	source  *config.Source
	version string
	signals <-chan os.Signal
	stdout  io.Writer
	stderr  io.Writer

	log      zerolog.Logger
	lines    loglimit.Lines // of it, that are limited
	addrs    []string       // of Redis
	embedded *embedded.Server
	redis    *redisconn.Redis
	pods     *presence.Pods
	store    *presence.Store
	tokens   *auth.Verifier // nil: auth.mode none
	certs    *certs.Files   // nil: no TLS
	hook     *auth.Hook     // nil: none
	hub      *hub.Hub
	server   *conn.Server
	admin    *admin.Server
	systemd  *systemd.Service

	asked   chan struct{} // capacity 1: to leave, other than by a signal
	left    chan struct{} // closed once the pod has left in order
	reloads reloads

	shutdown atomic.Pointer[config.Shutdown] // how the pod leaves

	failing sync.Mutex // protects lost
	lost    redisconn.Outage
}

// errSecondSignal is returned by run where a second signal cut the shutdown short.
var errSecondSignal = errors.New("second signal: stopped at once, without closing the connections")

// run runs the pod until a signal, and then shuts it down.
func (p *pod) run(ctx context.Context) error {
	p.log = newLogger(p.cfg.Log, p.cfg.Pod.Address, p.stderr)
	p.reloads.running.Store(&running{config: p.cfg})
	redis.SetLogger(redisLog{p.log}) // the library has one logger for all its clients
	p.asked, p.left, p.systemd = make(chan struct{}, 1), make(chan struct{}), p.service()
	p.warnOfOpenDoors()
	p.warnOfHiddenHealth()
	if err := p.startRedis(); err != nil {
		return err
	}
	defer p.closeRedis()
	if err := p.readKeys(); err != nil {
		return err
	}
	if err := p.readCerts(); err != nil {
		return err
	}
	if err := p.makeHook(); err != nil {
		return err
	}
	p.build()
	if err := p.listen(ctx); err != nil {
		return err
	}
	defer p.admin.Close()
	return p.serve(ctx)
}

// serve runs the parts. Their lives are nested: presence outlives the hub, so that the
// hub's last removals are still written; both outlive the listener.
func (p *pod) serve(ctx context.Context) error {
	storeCtx, stopStore := context.WithCancel(ctx)
	hubCtx, stopHub := context.WithCancel(ctx)
	var store, others sync.WaitGroup
	hubEnded := make(chan error, 1)
	others.Go(func() {
		if err := p.admin.Serve(); err != nil {
			p.log.Error().Err(err).Msg("the admin listener failed")
		}
	})
	store.Go(func() {
		if err := p.store.Run(storeCtx); err != nil && storeCtx.Err() == nil {
			p.log.Error().Err(err).Msg("the presence store ended")
		}
	})
	others.Go(func() { hubEnded <- p.hub.Run(hubCtx) })
	if p.tokens != nil {
		others.Go(func() { p.tokens.Run(hubCtx) })
	}
	if p.certs != nil {
		others.Go(func() { p.certs.Run(hubCtx) })
	}
	if p.hook != nil {
		others.Go(func() { p.hook.Run(hubCtx) })
	}
	others.Go(func() { p.source.Run(hubCtx) })
	others.Go(func() { p.lines.Run(hubCtx) })
	others.Go(func() { giveBackMemory(hubCtx, p.hub.Trim) })
	others.Go(func() { p.redis.Run(hubCtx, p.redisChanged, p.redisFailed) })
	if p.cfg.Redis.LoadFunctions {
		others.Go(func() { p.loadFunctions(hubCtx) })
	}
	err := p.server.Serve()
	if err == nil {
		others.Go(func() { p.watch(hubCtx) })
		p.systemd.Ready() // it serves: whether it is ready, /readyz says
		others.Go(func() { p.tellStatus(hubCtx) })
		p.log.Info().Stringer("listen", p.server.Addr()).Stringer("admin", p.admin.Addr()).
			Strs("redis", p.addrs).Str("version", p.version).Str("io_uring", p.ioUring()).Bool("tls", p.certs != nil).Msg("listening for connections")
		if p.embedded != nil {
			p.welcome()
		}
		err = p.wait(hubEnded)
	}
	if err == nil {
		err = p.leave(ctx)
	}

	// Unsubscribe; end the connections that are left, which removes their entries; end
	// presence, which still writes that.
	stopHub()
	p.server.Close()
	stopStore()
	if errors.Is(err, errSecondSignal) {
		p.admin.Close()
		return err // at once, without waiting
	}
	store.Wait()
	if err == nil {
		close(p.left)
	}
	p.admin.Close() // who waits at /drain is told before
	others.Wait()
	return err
}

// ioUring says whether messages go through io_uring, for the log.
func (p *pod) ioUring() string {
	switch used, err := p.server.IOUring(); {
	case used:
		return "used"
	case err != nil:
		return "not used: " + err.Error()
	}
	return "off"
}

// wait returns nil at a signal to shut down, or the error with which the hub ended. It
// reloads the configuration meanwhile.
func (p *pod) wait(hubEnded <-chan error) error {
	for {
		select {
		case err := <-hubEnded:
			return err
		case s := <-p.signals:
			if s != syscall.SIGHUP {
				p.log.Info().Stringer("signal", s).Msg("shutting down")
				return nil
			}
			p.askReload()
		case r := <-p.source.Readings():
			p.reload(r)
		case <-p.asked:
			p.log.Info().Str("by", "pushpod drain").Msg("shutting down")
			return nil
		}
	}
}

// leave shuts the pod down, in the order of the contract. A second signal cuts it short.
func (p *pod) leave(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() { // ends with leave
		for {
			select {
			case s := <-p.signals:
				if s != syscall.SIGHUP {
					cancel(errSecondSignal)
					return
				}
			case <-done:
				return
			}
		}
	}()

	p.systemd.Stopping(p.longest())

	// 1. Not ready, but still accepting, until load balancers have noticed.
	p.hub.StartDraining()
	backoff.Sleep(ctx, p.shutdown.Load().Delay)

	// 2. No new connections.
	p.hub.Refuse()
	p.server.StopAccepting()

	// 3. Close the connections one by one. The entry of each is removed when it ends.
	p.drain(ctx)

	// 4. Leave push:pods, then wait for what has already been published.
	leaving, stop := context.WithTimeout(ctx, p.cfg.Redis.Timeout)
	if err := p.pods.Leave(leaving); err != nil && ctx.Err() == nil {
		p.log.Warn().Err(err).Msg("can't remove this pod from push:pods; its lease will expire")
	}
	stop()
	backoff.Sleep(ctx, time.Second)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.log.Info().Msg("shutdown complete")
	return nil
}

// closeGrace is what a connection is given to end: TCP ends 5 s after a close frame at
// the latest.
const closeGrace = 6 * time.Second

// drain closes all connections, evenly over shutdown.drain, those that asked for it behind a
// notice, and waits until they have ended. The closes are spread, so clients need little more spread when they reconnect.
func (p *pod) drain(ctx context.Context) {
	retry := func() string { return conn.Retry(0, time.Second) }
	start := time.Now()
	n := p.server.Len()
	if err := p.server.Drain(ctx, p.shutdown.Load().Drain); err != nil {
		return
	}
	// A handshake may have completed meanwhile.
	for end := time.Now().Add(closeGrace); p.server.Len() > 0 && ctx.Err() == nil && time.Now().Before(end); backoff.Sleep(ctx, 20*time.Millisecond) {
		p.server.CloseAll(conn.CodeGoingAway, retry)
	}
	p.log.Info().Int("connections", n).Dur("took_ms", time.Since(start).Round(time.Millisecond)).Msg("connections closed")
}

func (p *pod) listen(ctx context.Context) error {
	if err := p.server.Listen(ctx, p.cfg.Listen); err != nil {
		return cannotListen("listen", err)
	}
	if asked, given := int(p.cfg.Conn.SendBuffer), p.server.SendBuffer(); given < asked {
		p.log.Warn().Int("asked_bytes", asked).Int("given_bytes", given).Msg("conn.send_buffer is cut by the system (net.core.wmem_max)")
	}
	if err := p.admin.Listen(ctx); err != nil {
		p.server.Close()
		return cannotListen("admin.listen", err)
	}
	return nil
}

// cannotListen names the key and the flag with which to choose another address.
func cannotListen(key string, err error) error {
	return fmt.Errorf("can't listen: %w (to choose another address: --%s, or the key %s)", err, key, key)
}

// startRedis starts the embedded Redis where no other is configured, and makes
// the clients; they connect when they are first used.
func (p *pod) startRedis() error {
	p.addrs = p.cfg.Redis.Addresses
	if len(p.addrs) == 0 {
		s, err := embedded.Start(p.cfg.Redis.EmbeddedListen, func(format string, args ...any) {
			p.log.Info().Str("key", "redis.embedded_listen").Msgf(format, args...)
		})
		if err != nil {
			return cannotListen("redis.embedded_listen", err)
		}
		p.embedded = s
		p.addrs = []string{s.Addr()}
	}
	o := cli.RedisOptions(p.cfg.Redis)
	o.Addresses = p.addrs
	p.redis = redisconn.Open(o)
	return nil
}

// redisChanged is told what Redis is, and where.
func (p *pod) redisChanged(before, now *redisconn.Map) {
	p.log.Info().Stringer("kind", now.Kind).Stringers("nodes", stringers(now.Masters)).Int("slots", now.Covered()).Msg("Redis has answered what it is")
	p.hub.RewriteMoved(before, now)
}

// redisFailed is told why it is not known what Redis is, or that no Sentinel answers; nil:
// that is over.
func (p *pod) redisFailed(err error) {
	p.failing.Lock()
	defer p.failing.Unlock()
	if err == nil {
		if away, failures := p.lost.Over(); failures > 0 {
			p.log.Info().Dur("away_ms", away).Msg("Redis says again what it is, and where")
		}
		return
	}
	if p.lost.Failed(err) {
		p.log.Warn().Err(err).Msg("can't find out what Redis is, or where; trying again")
	}
}

func stringers[T fmt.Stringer](list []T) []fmt.Stringer {
	texts := make([]fmt.Stringer, len(list))
	for i, s := range list {
		texts[i] = s
	}
	return texts
}

func (p *pod) closeRedis() {
	p.redis.Close()
	if p.embedded != nil {
		p.embedded.Close()
	}
}

// build makes all parts from the configuration: the one place where its names
// become theirs.
func (p *pod) build() {
	c, may := &p.cfg, liveOf(&p.cfg)
	p.shutdown.Store(&may.shutdown)
	may.hub.Tokens = p.tokens
	keys := presence.NewKeys(c.Redis.Prefix)
	p.pods = presence.NewPods(presence.PodsOptions{
		Redis:     p.redis,
		Keys:      keys,
		Pod:       c.Pod.Address,
		Heartbeat: c.Presence.Heartbeat,
		Lease:     c.Presence.Lease,
		TTL:       c.Presence.TTL,
		Timeout:   c.Redis.Timeout,
		Version:   p.version,
		Info: func() presence.Info {
			return presence.Info{Connections: p.hub.Len(), Draining: p.hub.Draining(), Conflict: p.hub.Conflicting()}
		},
		Regained: func(time.Duration) { p.hub.Rewrite() },
		Log:      p.log,
	})
	p.store = presence.NewStore(presence.Options{
		Redis:    p.redis,
		Keys:     keys,
		Pod:      c.Pod.Address,
		TTL:      c.Presence.TTL,
		Renew:    c.Presence.Renew,
		Lease:    c.Presence.Lease,
		Timeout:  c.Redis.Timeout,
		Limit:    may.perUser,
		Pods:     p.pods,
		Own:      func(user string) int { return p.hub.CountUser(user) },
		Refused:  func(e presence.Entry, r *presence.Refused) { p.hub.Revoke(e, r) },
		Replaced: func(user string, old presence.Located) (string, []byte) { return p.hub.Replacement(user, old) },
		Log:      p.log,
	})
	header, certificate := userHeader(c.Auth.Header)
	p.hub = hub.New(hub.Options{
		Pod:      c.Pod.Address,
		Keys:     keys,
		Presence: p.store,
		Pods:     p.pods,
		Redis: hub.Redis{
			Nodes:       p.redis,
			MaxEnvelope: int(c.Redis.MaxEnvelope),
			Timeout:     c.Redis.Timeout,
			Probe:       c.Redis.Probe,
			Rights:      c.Presence.Renew,
		},
		Uplink:         p.redis,
		Renew:          c.Presence.Renew,
		Control:        c.Redis.Control,
		Sharded:        c.Redis.PubSub == "sharded",
		Settings:       may.hub,
		Header:         header,
		Certificate:    certificate,
		Hook:           p.hook,
		SpareProcessor: os.Getenv("GOMAXPROCS") == "", // what it says is left alone
		Log:            p.log,
	})
	p.server = conn.New(conn.Options{
		Admitter:      p.hub,
		Headers:       hub.HeaderFields(header),
		IOUring:       c.Conn.IOUring == "auto",
		SendBuffer:    int(c.Conn.SendBuffer),
		TLS:           p.clientTLS(),
		ProxyProtocol: c.ProxyProtocol,
		TrustProxy:    p.hub.TrustsProxy,
		Now:           p.pods.NowMs,
		Settings:      may.conn,
	})
	p.hub.Attach(p.server)

	registry := prometheus.NewRegistry()
	sources := admin.Sources{Version: p.version, Conn: p.server.Stats, Hub: p.hub.Stats, Presence: p.store.Stats, Pods: p.pods.Stats, Cert: p.certExpires(), Reloads: p.reloads.counts}
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		admin.NewCollector(sources),
	)
	p.admin = admin.New(admin.Options{
		Listen: c.Admin.Listen, Token: may.admin.Token, TLS: p.adminTLS(), Pprof: may.admin.Pprof, Config: p.showConfig, Problems: p.hub.Problems, Warnings: p.hub.Warnings, Registry: registry, Refused: p.adminRefused(), Drain: p.askToLeave,
		Console: p.console(keys, sources),
	})
}

// adminRefused logs wrong tokens on the admin listener, a few lines a second.
func (p *pod) adminRefused() func(reason string, remote netip.Addr) {
	line := p.lines.New(p.log, zerolog.WarnLevel, "admin request refused")
	return func(reason string, remote netip.Addr) {
		line.Event().Str("reason", reason).Stringer("address", remote).Send()
	}
}

// warnOfOpenDoors names what the configuration leaves open to whoever reaches it.
func (p *pod) warnOfOpenDoors() {
	if a := p.cfg.Admin; a.Insecure && a.Token == "" {
		p.log.Warn().Str("admin", a.Listen).Msg("admin.insecure is on and admin.token is not given: whoever reaches admin.listen can do what operators can")
	}
}

// warnOfHiddenHealth says how to ask for readiness where probes from outside can't.
func (p *pod) warnOfHiddenHealth() {
	if p.cfg.AdminHidden() {
		p.log.Warn().Str("admin", p.cfg.Admin.Listen).Str("listen", p.cfg.Listen).
			Msg("admin.listen is on loopback and listen is not: probes and Prometheus elsewhere can't reach /readyz and /metrics; ask by the command pushpod health (an exec probe), by GET /healthz on listen, or give admin.listen another address and admin.token")
	}
}

// readKeys makes what verifies tokens, where they are asked for.
func (p *pod) readKeys() (err error) {
	a := &p.cfg.Auth
	if a.Mode != "jwt" {
		return nil
	}
	p.tokens, err = auth.New(auth.Options{
		Rules:    liveOf(&p.cfg).tokens,
		KeysFile: a.KeysFile,
		JWKSURL:  a.JWKSURL,
		ValidID:  validID,
		Log:      events(p.log),
	})
	if err != nil {
		return fmt.Errorf("auth.mode jwt: %w", err)
	}
	return nil
}

// userHeader says what auth.header means: a header field, or a part of the certificate.
func userHeader(name string) (field string, certificate func(*x509.Certificate) (string, error)) {
	switch name {
	case config.HeaderClientCN:
		return "", auth.CommonName
	case config.HeaderClientSAN:
		return "", auth.AlternativeName
	}
	return name, nil
}

// makeHook makes what asks who may connect, where it is asked for.
func (p *pod) makeHook() (err error) {
	a := &p.cfg.Auth
	if a.HookURL == "" {
		return nil
	}
	failure := p.lines.New(p.log, zerolog.WarnLevel, "the auth hook gave no answer of use")
	p.hook, err = auth.NewHook(auth.HookOptions{
		URL:     string(a.HookURL),
		Timeout: a.HookTimeout,
		ValidID: validID,
		Log:     events(p.log),

		LogFailure: func(what string, err error) { failure.Event().Str("reason", what).Err(err).Send() },
	})
	if err != nil {
		return fmt.Errorf("auth.hook_url: %w", err)
	}
	return nil
}

func validID(id string) bool { return presence.ValidUser(id) == nil }

func policy(name string) conn.Policy {
	switch name {
	case "drop_newest":
		return conn.DropNewest
	case "drop_oldest":
		return conn.DropOldest
	}
	return conn.Disconnect
}

// loadFunctions loads the function library into each node that has none or an older one: at
// the start, into nodes that come later, and again every presence.renew, into those that have
// been emptied.
func (p *pod) loadFunctions(ctx context.Context) {
	var away redisconn.Outage
	for failures := 1; ctx.Err() == nil; {
		m, rest := p.redis.Map(), p.cfg.Presence.Renew
		if m.Kind == redisconn.Unknown { // there may be more nodes
			select {
			case <-ctx.Done():
			case <-m.Replaced():
			}
			continue
		}
		loaded, found, err := scripts.LoadFunctions(ctx, functionServers(m)...)
		why := ""
		switch {
		case errors.Is(err, scripts.ErrNoFunctions): // until it is another Redis
			why = "redis.load_functions is on, but " + m.Masters[0].Endpoint().Server().String() + " has no functions: they need Redis 7 or later, or Valkey; push.lua does the same"
			failures = 1
		case err != nil && ctx.Err() == nil:
			if away.Failed(err) {
				p.log.Warn().Err(err).Msg("can't load the function library; trying again")
			}
			failures++
			rest = backoff.After(failures, 100*time.Millisecond, 10*time.Second)
		case loaded || failures > 0:
			p.log.Info().Bool("loaded", loaded).Int("version_before", found).Msg("function library checked")
			failures = 0
			away.Over()
		}
		if p.hub.Outdated(why) && why != "" {
			p.log.Warn().Msg(why)
		}
		due := time.NewTimer(rest)
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-m.Replaced():
		}
		due.Stop()
	}
}

func functionServers(m *redisconn.Map) (list []scripts.FunctionServer) {
	for _, n := range m.Masters {
		list = append(list, n.Client())
	}
	return list
}
