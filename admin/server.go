package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pushpod/hub"
	"pushpod/internal/secret"
)

// Options configures a [Server].
type Options struct {
	Listen string
	// TLS returns what a connection speaks TLS by, now; nil: none does.
	TLS func() *tls.Config
	// Token is what readers must show; "": nobody need, and requests must name this
	// host by an address, localhost or the host in Listen.
	Token secret.Text
	// Pprof has profiles served. Both are what the server starts with: see Server.Set.
	Pprof bool
	// Problems lists why the pod is not ready; none: it is.
	Problems func() []hub.Problem
	// Warnings lists what does not hinder the pod now and may later. It may be nil.
	Warnings func() []hub.Problem
	Registry *prometheus.Registry
	// Config is what readers see of the pod's configuration, as JSON. It may be nil.
	Config func() any
	// Console is what the page at / shows; nil: nothing.
	Console *Console
	// Refused is told of wrong tokens. It may be nil.
	Refused func(reason string, remote netip.Addr)
	// Drain has the pod leave as by SIGTERM, also where it leaves already. left is closed
	// once it has, within so long. Nil: nobody can ask for that.
	Drain func() (within time.Duration, left <-chan struct{})
}

// Access is what may change of [Options] while the server runs.
type Access struct {
	Token secret.Text
	Pprof bool
}

// Server answers operators. Listen, then Serve until Close.
type Server struct {
	opts     Options
	gate     atomic.Pointer[gate]
	http     *http.Server
	tls      *tls.Config // nil: plain
	listener net.Listener
	stop     context.CancelFunc // ends what is being answered
}

// New makes a server, which does nothing until Listen.
func New(o Options) *Server {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{opts: o, tls: tlsConfig(o.TLS), stop: stop}
	s.gate.Store(newGate(o, routes))
	s.http = &http.Server{
		Addr:              o.Listen,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.gate.Load().ServeHTTP(w, r) }),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	return s
}

// Set changes who is answered, and what, from the next request on; where it is something
// else than before, sessions of browsers end, and what they look at. It is not called by several goroutines at once.
func (s *Server) Set(a Access) {
	if a == (Access{s.opts.Token, s.opts.Pprof}) {
		return
	}
	s.opts.Token, s.opts.Pprof = a.Token, a.Pprof
	close(s.gate.Swap(newGate(s.opts, routes)).over)
}

// Listen opens the address, so that a taken port is known at once.
func (s *Server) Listen(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.http.Addr)
	if err != nil {
		return fmt.Errorf("admin: listen: %w", err)
	}
	if s.tls != nil {
		ln = tls.NewListener(ln, s.tls)
	}
	s.listener = ln
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: serve: %w", err)
	}
	return nil
}

// lastAnswers is how long Close waits for answers that are on their way.
const lastAnswers = time.Second

// Close ends the server, and what is being answered: what heeds its context says its last
// line. It may be called twice.
func (s *Server) Close() error {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	_ = s.http.Shutdown(ctx) // Close ends what is left
	return s.http.Close()
}

// ready says in a body what is wrong, and what may be soon.
func (o *Options) ready(w http.ResponseWriter, _ *http.Request) {
	status, body := http.StatusOK, map[string]any{"status": "ready"}
	if problems := o.Problems(); len(problems) > 0 {
		status, body = http.StatusServiceUnavailable, map[string]any{"status": "not ready", "problems": problems}
	}
	if o.Warnings != nil {
		if warnings := o.Warnings(); len(warnings) > 0 {
			body["warnings"] = warnings
		}
	}
	answer(w, status, body)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // people read it: Redis's words have > and '
	_ = encoder.Encode(body)     // the peer has gone: nobody to tell
}
