package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"pushpod/presence"
	"pushpod/redisconn"
)

// Bounds of an envelope's members, as push.lua has them.
const (
	maxText = 256             // bytes of an id, a collapse key
	minTime = 100_000_000_000 // Unix ms: what is below is a duration by mistake
	maxTime = 1 << 53
)

// pushToOne pushes to one connection of a user's, on the channel of the pod that presence
// names for it. It returns 1, or 0 where the user has no such connection, or its pod does
// not listen.
func (s *server) pushToOne(ctx context.Context, user, uuid, data string, pairs []string) (addressed int64, err error) {
	found, err := presence.Lookup(ctx, s.redis, s.keys, user)
	if err != nil {
		return 0, &notPublished{err}
	}
	envelope, err := s.envelope(ctx, target{To: uuid, Of: user}, data, pairs)
	if err != nil {
		return 0, err
	}
	for _, l := range found {
		if presence.FormatUUID(l.UUID) != uuid {
			continue
		}
		n, err := s.publishTo(ctx, l.Channel, envelope)
		return min(n, 1), err
	}
	return 0, nil
}

// publishTo publishes on a pod's own channel, and returns how many are subscribed.
func (s *server) publishTo(ctx context.Context, channel string, envelope []byte) (n int64, err error) {
	if s.cfg.PubSub == "sharded" {
		cmd := redis.NewIntCmd(ctx, "spublish", channel, envelope)
		err = s.redis.Process(ctx, channel, cmd)
		return cmd.Val(), err
	}
	return s.publishOnce(ctx, channel, envelope)
}

// pushToPods publishes on push:all: to everybody, or to one connection, whoever holds it.
// It returns how many pods are subscribed.
func (s *server) pushToPods(ctx context.Context, uuid, data string, pairs []string) (pods int64, err error) {
	whom := target{To: uuid, All: uuid == ""}
	envelope, err := s.envelope(ctx, whom, data, pairs)
	if err != nil {
		return 0, err
	}
	return s.publishOnce(ctx, s.keys.AllChannel(), envelope)
}

// publishOnce publishes, and never twice, and returns how many are subscribed. In a
// Cluster PUBLISH counts those at one node only, so all are asked; where that is not
// allowed its own count is returned.
func (s *server) publishOnce(ctx context.Context, channel string, envelope []byte) (n int64, err error) {
	all, known := int64(0), false
	if m := s.redis.Map(); m.Kind == redisconn.Cluster {
		all, known = s.subscribers(ctx, m, channel)
	}
	cmd := redis.NewIntCmd(ctx, "publish", channel, envelope)
	if err := s.redis.Process(ctx, channel, cmd); err != nil {
		return 0, err
	}
	if known {
		return all, nil
	}
	return cmd.Val(), nil
}

// subscribers counts who is subscribed to a channel at any node (PUBSUB NUMSUB).
func (s *server) subscribers(ctx context.Context, m *redisconn.Map, channel string) (n int64, known bool) {
	pipe := s.redis.Pipeline(true)
	counts := make([]*redis.MapStringIntCmd, len(m.Masters))
	for i, node := range m.Masters {
		counts[i] = redis.NewMapStringIntCmd(ctx, "pubsub", "numsub", channel)
		pipe.AddTo(node, counts[i])
	}
	pipe.Exec(ctx)
	for _, c := range counts {
		if c.Err() != nil {
			return 0, false
		}
		n += c.Val()[channel]
	}
	return n, true
}

// target says whom an envelope is for.
type target struct {
	To  string `json:"to,omitempty"`
	Of  string `json:"of,omitempty"`
	All bool   `json:"all,omitempty"`
}

// envelope makes what is published, as push.lua does: data as it was given, and what the
// pairs say. at and ttl go by Redis's clock.
func (s *server) envelope(ctx context.Context, whom target, data string, pairs []string) ([]byte, error) {
	more, err := readPairs(pairs)
	if err != nil {
		return nil, err
	}
	clock := redis.NewTimeCmd(ctx, "time")
	if err := s.do(ctx, s.keys.Pods(), clock); err != nil {
		return nil, &notPublished{err}
	}
	now := clock.Val().UnixMilli()
	if more.ttl > 0 {
		more.Expires = now + more.ttl
	}
	more.target, more.At, more.Data = whom, now, json.RawMessage(data)
	b, err := more.encode()
	if max := int(s.cfg.MaxEnvelope); err == nil && len(b) > max {
		return nil, badInput("the envelope has %d bytes; redis.max_envelope allows %d", len(b), max)
	}
	return b, err
}

// pushed is an envelope, in the order in which push.lua writes it.
type pushed struct {
	target
	ID       string          `json:"id,omitempty"`
	At       int64           `json:"at"`
	Expires  int64           `json:"expires,omitempty"`
	Collapse string          `json:"collapse,omitempty"`
	Data     json.RawMessage `json:"-"`

	ttl int64 // ms; 0: none
}

// encode splices the data: encoding/json would write it anew.
func (p *pushed) encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	b = append(b[:len(b)-1], `,"data":`...)
	return append(append(b, p.Data...), '}'), nil
}

// badInput is an error of the form in which push.lua refuses what it was given.
func badInput(format string, args ...any) error {
	return errors.New("pushpod: " + fmt.Sprintf(format, args...))
}

// readPairs reads what stands behind the data, by the rules of push.lua.
func readPairs(pairs []string) (p pushed, err error) {
	given := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		if _, twice := given[name]; twice {
			return p, badInput("%s is given twice", name)
		}
		given[name] = value
		switch name {
		case "id":
			p.ID, err = textOf(name, value)
		case "collapse":
			p.Collapse, err = textOf(name, value)
		case "ttl":
			if p.ttl = whole(value); p.ttl == 0 || p.ttl >= maxTime/2 {
				err = badInput("ttl '%s' is not a whole number of milliseconds above 0", value)
			}
		case "expires":
			if p.Expires = whole(value); p.Expires < minTime || p.Expires >= maxTime {
				err = badInput("expires '%s' is not a time in Unix milliseconds, from 10^11 to 2^53; for milliseconds from now use ttl", value)
			}
		default:
			err = badInput("unknown name '%s'; known are id, ttl, expires, collapse", shown(name))
		}
		if err != nil {
			return p, err
		}
	}
	if p.ttl > 0 && p.Expires > 0 {
		return p, badInput("ttl and expires are given together; one is enough")
	}
	return p, nil
}

func textOf(name, value string) (string, error) {
	if len(value) == 0 || len(value) > maxText {
		return "", badInput("%s has %d bytes; allowed are 1 to %d", name, len(value), maxText)
	}
	if !utf8.ValidString(value) {
		return "", badInput("%s is not valid UTF-8", name)
	}
	return value, nil
}

// whole reads a whole number above 0; 0: it is none.
func whole(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || text[0] == '+' || text[0] == '0' {
		return 0
	}
	return n
}
