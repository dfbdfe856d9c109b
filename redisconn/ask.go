package redisconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Kind is what Redis is.
type Kind uint8

const (
	Unknown    Kind = iota // it has not answered yet
	Standalone             // one server, or the master that Sentinels name; also what does not say what it is: old servers, proxies
	Cluster
	Sentinel
)

func (k Kind) String() string {
	return [...]string{"unknown", "standalone", "cluster", "sentinel"}[k]
}

// Role is what a server is to its data.
type Role uint8

const (
	RoleUnknown Role = iota
	Master
	Replica
)

func (r Role) String() string {
	switch r {
	case Master:
		return "master"
	case Replica:
		return "replica"
	}
	return "unknown"
}

// Server is what a server says of itself, as far as it says so.
type Server struct {
	Kind    Kind
	Role    Role
	Name    string // "redis", "valkey", …; "": not known
	Version string // as in 7.0.15; "": not known
	ID      string // of this run of the server: no other has it; "": not known
}

// askable is a connection.
type askable interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}

// String is the server's name and version, as in redis 7.0.15.
func (s Server) String() string {
	if s.Version == "" {
		return "Redis"
	}
	return cmp.Or(s.Name, "Redis") + " " + s.Version
}

// Ask asks the first of the addresses that answers what it is. The error is that of a
// connection or a login that has failed; a server may refuse to say anything. ctx bounds
// the call, and must have a deadline.
func Ask(ctx context.Context, o Options) (Server, error) {
	var failures []error
	for _, addr := range o.Addresses {
		o.Addresses = []string{addr}
		c, s, err := o.login(ctx, func(ctx context.Context, c askable) (Server, error) { return ask(ctx, c, new(atomic.Bool)) })
		if err == nil {
			c.Close()
			return s, nil
		}
		failures = append(failures, fmt.Errorf("ask %s what it is: %w", addr, err))
	}
	return Server{}, errors.Join(failures...)
}

// ask asks a server what it is, over a connection that is logged in: HELLO, and INFO
// for the rest; where these are refused or unknown, ROLE and CLUSTER INFO. What it does
// not say is zero in the answer. noInfo says not to ask by INFO, and is set where that is
// refused.
func ask(ctx context.Context, c askable, noInfo *atomic.Bool) (Server, error) {
	a := asking{ctx: ctx, c: c, noInfo: noInfo}
	s := Server{Kind: Standalone}
	known := s.learn(a.hello())
	known = s.learn(a.info("server")) || known
	if s.Role == RoleUnknown && s.Kind != Sentinel {
		known = s.learn(a.info("replication")) || known
	}
	if s.Role == RoleUnknown && s.Kind != Sentinel {
		s.learn(a.role())
	}
	if !known {
		s.learn(a.cluster())
	}
	return s, a.err
}

// askRole asks a server, over a connection that is logged in, for its role alone.
func askRole(ctx context.Context, c askable) (Role, error) {
	a := asking{ctx: ctx, c: c, noInfo: new(atomic.Bool)}
	var s Server
	for _, question := range []func() map[string]string{a.hello, a.role, func() map[string]string { return a.info("replication") }} {
		if s.Role == RoleUnknown {
			s.learn(question())
		}
	}
	return s.Role, a.err
}

// learn takes what is said, under the names that INFO and HELLO have for it, and
// reports whether the kind was.
func (s *Server) learn(said map[string]string) (kind bool) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := said[n]; v != "" {
				return v
			}
		}
		return ""
	}
	if mode := first("mode", "server_mode", "redis_mode"); mode != "" {
		kind = true
		switch mode {
		case "cluster":
			s.Kind = Cluster
		case "sentinel":
			s.Kind = Sentinel
		}
	}
	switch first("role") {
	case "master", "primary":
		s.Role = Master
	case "slave", "replica":
		s.Role = Replica
	}
	if s.Name == "" {
		s.Name = first("server", "server_name")
	}
	if s.Version == "" {
		s.Version = first("version", "valkey_version", "redis_version")
	}
	if s.ID == "" {
		s.ID = first("run_id")
	}
	return kind
}

// asking is a conversation with a server, which ends at the first error of the
// connection.
type asking struct {
	ctx    context.Context
	c      askable
	noInfo *atomic.Bool
	err    error
}

// do returns what a command was answered; nil for a refusal.
func (a *asking) do(args ...any) any {
	if a.err != nil {
		return nil
	}
	reply, err := a.c.Do(a.ctx, args...).Result()
	if IsReply(err) {
		if args[0] == "info" && redis.IsPermissionError(err) {
			a.noInfo.Store(true)
		}
		return nil
	}
	a.err = err
	return reply
}

// hello is HELLO in the protocol that the connections of this package speak.
func (a *asking) hello() map[string]string {
	said := map[string]string{}
	switch v := a.do("hello", "2").(type) {
	case []any: // RESP2
		for i := 0; i+1 < len(v); i += 2 {
			said[fmt.Sprint(v[i])] = fmt.Sprint(v[i+1])
		}
	case map[any]any:
		for name, value := range v {
			said[fmt.Sprint(name)] = fmt.Sprint(value)
		}
	}
	return said
}

// info is a section of INFO.
func (a *asking) info(section string) map[string]string {
	if a.noInfo.Load() {
		return nil
	}
	return lines(a.do("info", section))
}

// role is ROLE, for whom INFO is refused.
func (a *asking) role() map[string]string {
	if v, ok := a.do("role").([]any); ok && len(v) > 0 {
		return map[string]string{"role": fmt.Sprint(v[0])}
	}
	return nil
}

// cluster is CLUSTER INFO, which only a Cluster's node answers.
func (a *asking) cluster() map[string]string {
	if lines(a.do("cluster", "info"))["cluster_state"] != "" {
		return map[string]string{"mode": "cluster"}
	}
	return nil
}

// lines reads lines of the form name:value.
func lines(reply any) map[string]string {
	text, _ := reply.(string)
	said := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			said[name] = value
		}
	}
	return said
}
