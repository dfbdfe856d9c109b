package main

import (
	"context"
	"fmt"
	"time"

	"pushpod/internal/backoff"
	"pushpod/internal/systemd"
)

// service is what systemd is told by, where the pod is a service of its.
func (p *pod) service() *systemd.Service {
	return systemd.New(func(err error) { p.log.Warn().Err(err).Msg("can't tell systemd how the pod is") })
}

// tellStatus keeps the line in systemctl status true until ctx ends. Where nobody is told
// it returns at once.
func (p *pod) tellStatus(ctx context.Context) {
	if !p.systemd.Listens() {
		return
	}
	for said := ""; ctx.Err() == nil; backoff.Sleep(ctx, time.Second) {
		if text := p.statusLine(); text != said {
			said = text
			p.systemd.Status(text)
		}
	}
}

// statusLine says in a line whether the pod is ready, and if not, why.
func (p *pod) statusLine() string {
	connections := fmt.Sprint("connections: ", p.hub.Len())
	if problems := p.hub.Problems(); len(problems) > 0 {
		return "not ready: " + problems[0].Reason + "; " + connections
	}
	return "ready; " + connections
}

// watch feeds systemd's watchdog until ctx ends, while the loops and the hub go on.
func (p *pod) watch(ctx context.Context) {
	p.systemd.Watch(ctx, func() {
		p.server.Alive()
		p.hub.Alive()
	}, func() {
		p.log.Error().Msg("an event loop or the hub hangs: systemd's watchdog is fed no more")
	})
}

// longest is how long leave takes at most, and what follows it.
func (p *pod) longest() time.Duration {
	s := p.shutdown.Load()
	return s.Delay + s.Drain + closeGrace + 2*p.cfg.Redis.Timeout + 5*time.Second
}

// askToLeave has the pod leave as by SIGTERM. left is closed once it has, within so long.
// It may be called from anywhere, and repeatedly.
func (p *pod) askToLeave() (within time.Duration, left <-chan struct{}) {
	select {
	case p.asked <- struct{}{}:
	default: // it is asked already
	}
	return p.longest(), p.left
}
