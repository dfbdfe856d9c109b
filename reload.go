package main

import (
	"errors"
	"sync/atomic"

	"github.com/rs/zerolog"

	"pushpod/admin"
	"pushpod/auth"
	"pushpod/config"
	"pushpod/conn"
	"pushpod/hub"
	"pushpod/presence"
	"pushpod/redisconn"
)

// live is all that may change while the pod runs, as its parts take it.
type live struct {
	accounts redisconn.Accounts
	perUser  presence.Limit
	tokens   auth.Rules
	hub      hub.Settings // without Tokens, which are made of tokens
	conn     conn.Settings
	admin    admin.Access
	shutdown config.Shutdown
	level    zerolog.Level
}

// liveOf is the one place where the names of the configuration become those of the parts
// for what may change.
func liveOf(c *config.Config) live {
	return live{
		accounts: redisconn.Accounts{
			Username: c.Redis.Username, Password: c.Redis.Password,
			SentinelUsername: c.Redis.SentinelUsername, SentinelPassword: c.Redis.SentinelPassword,
		},
		perUser: presence.Limit{PerUser: c.Limits.PerUser, OnExcess: c.Limits.OnExcess},
		tokens: auth.Rules{
			Secret:     auth.Secret(c.Auth.HMACSecret),
			SecretOld:  auth.Secret(c.Auth.HMACSecretOld),
			Issuer:     c.Auth.Issuer,
			Audience:   c.Auth.Audience,
			Leeway:     c.Auth.Leeway,
			RequireExp: c.Auth.RequireExp,
		},
		hub: hub.Settings{
			Limits: hub.Limits{
				Connections:         c.Limits.Connections,
				PerIP:               c.Limits.PerIP,
				HandshakesPerSecond: c.Limits.HandshakesPerSecond,
			},
			Origins:         auth.NewOrigins(c.Auth.Origins),
			Cookie:          c.Auth.Cookie,
			Proxies:         auth.NewProxies(c.Auth.TrustedProxies),
			UplinkMaxLength: c.Uplink.MaxLength,
			UplinkMaxBytes:  int64(c.Uplink.MaxBytes),
		},
		conn: conn.Settings{
			MaxMessage:       int(c.Conn.MaxMessage),
			QueueBytes:       int(c.Conn.QueueBytes),
			SlowConsumer:     policy(c.Conn.SlowConsumer),
			Ping:             c.Conn.Ping,
			PingTimeout:      c.Conn.PingTimeout,
			HandshakeTimeout: c.Conn.HandshakeTimeout,
			MaxHeader:        int(c.Conn.MaxHeader),
			MaxAge:           c.Conn.MaxAge,
			Renew:            c.Presence.Renew,
			FramesPerSecond:  c.Limits.FramesPerSecond,
		},
		admin:    admin.Access{Token: c.Admin.Token, Pprof: c.Admin.Pprof},
		shutdown: c.Shutdown,
		level:    levelOf(c.Log),
	}
}

// change gives the parts what may change. Where it returns an error nothing has changed.
// It is called by the goroutine of run.
func (p *pod) change(to live) error {
	if p.tokens != nil {
		tokens, err := p.tokens.With(to.tokens)
		if err != nil {
			return err
		}
		to.hub.Tokens = tokens
	}
	// From here on nothing fails.
	p.redis.SetAccounts(to.accounts)
	p.store.SetLimit(to.perUser)
	p.server.Set(to.conn)
	p.hub.Set(to.hub)
	p.admin.Set(to.admin)
	p.shutdown.Store(&to.shutdown)
	return nil
}

// reloads is what has become of the configuration since the start.
type reloads struct {
	applied, rejected atomic.Uint64

	running atomic.Pointer[running]
	failing bool // the last one was rejected; owned by run
}

// running is what the pod runs with.
type running struct {
	config  config.Config
	pending []config.Change // what the file wants and only a restart brings
}

// counts are for metrics.
func (r *reloads) counts() (applied, rejected uint64) { return r.applied.Load(), r.rejected.Load() }

// askReload has the configuration read again: SIGHUP.
func (p *pod) askReload() {
	p.systemd.Reloading()
	if err := p.source.Again(); err != nil {
		defer p.systemd.Ready()
		p.log.Info().Str("reason", err.Error()).Msg("SIGHUP: nothing to reload")
	}
}

// reload takes over what was read: all of it that may change, or nothing.
func (p *pod) reload(r config.Reading) {
	if r.Asked {
		defer p.systemd.Ready()
	}
	before := p.reloads.running.Load().config
	now, changes, err := r.Over(before)
	if err == nil {
		err = p.change(liveOf(&now))
	}
	if err != nil {
		p.rejectReload(err)
		return
	}
	to := &running{config: now}
	for _, c := range changes {
		if c.Restart {
			to.pending = append(to.pending, c)
		}
	}
	p.reloads.running.Store(to)
	p.reloads.applied.Add(1)
	told := r.Asked || p.reloads.failing
	p.reloads.failing = false

	// Said also where the new level is above it, or the old one was.
	level := levelOf(now.Log)
	setLevel(min(levelOf(before.Log), level))
	p.logReload(changes, told)
	setLevel(level)
}

// logReload says what has changed, and what would with a restart.
func (p *pod) logReload(changes []config.Change, told bool) {
	var applied, restart []string
	for _, c := range changes {
		if c.Restart {
			restart = append(restart, c.String())
		} else {
			applied = append(applied, c.String())
		}
	}
	file := p.source.File()
	switch {
	case len(restart) > 0:
		p.log.Warn().Str("file", file).Strs("changed", applied).Strs("needs_restart", restart).
			Msg("configuration reloaded; keys that need a restart keep their old values")
	case len(applied) > 0:
		p.log.Info().Str("file", file).Strs("changed", applied).Msg("configuration reloaded")
	case told:
		p.log.Info().Str("file", file).Msg("configuration reloaded: nothing has changed")
	default:
		p.log.Debug().Str("file", file).Msg("configuration reloaded: nothing has changed")
	}
}

// mostProblems bounds the lines about one rejected configuration.
const mostProblems = 20

// rejectReload says, problem by problem, why the configuration stays as it is.
func (p *pod) rejectReload(err error) {
	p.reloads.rejected.Add(1)
	p.reloads.failing = true
	const message = "configuration not reloaded; the pod goes on with the one it has"
	var problems *config.Problems
	if !errors.As(err, &problems) {
		p.log.Error().Str("file", p.source.File()).Err(err).Msg(message)
		return
	}
	for i, q := range problems.List {
		if i == mostProblems {
			p.log.Error().Str("file", p.source.File()).Int("problems", len(problems.List)-i).Msg(message + ": there are more problems; pushpod config check names them")
			return
		}
		p.log.Error().Str("source", q.Source).Str("key", q.Key).Str("value", q.Value).Str("reason", q.Message).Str("allowed", q.Allowed).Msg(message)
	}
}

// shownConfig is what operators see of the configuration. Secrets are hidden.
type shownConfig struct {
	File    string           `json:"file"` // "": none
	Keys    []config.Setting `json:"keys"`
	Pending []config.Change  `json:"pending"` // what the file has and only a restart brings
}

// showConfig may be called from any goroutine.
func (p *pod) showConfig() any {
	now := p.reloads.running.Load()
	return shownConfig{File: p.source.File(), Keys: now.config.Settings(), Pending: append([]config.Change{}, now.pending...)}
}
