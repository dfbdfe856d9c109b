package producer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
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

// ToConnection pushes to one connection of a user's, on the channel of the pod that presence
// names for it. It returns 1, or 0 where the user has no such connection, or its pod does
// not listen.
func (p *Producer) ToConnection(ctx context.Context, user, uuid, data string, pairs []string) (addressed int64, err error) {
	found, err := presence.Lookup(ctx, p.Redis, p.Keys, user)
	if err != nil {
		return 0, &NotPublished{err}
	}
	envelope, err := p.envelope(ctx, target{To: names{uuid}, Of: user}, data, pairs)
	if err != nil {
		return 0, err
	}
	for _, l := range found {
		if presence.FormatUUID(l.UUID) != uuid {
			continue
		}
		n, err := p.publishTo(ctx, l.Channel, envelope)
		return min(n, 1), err
	}
	return 0, nil
}

// A Message is what [Producer.Push] pushes, and to whom: a user, some of a user's
// connections, connections of whomever, or everybody. Exactly one of them is given.
type Message struct {
	User        string          // alone: all of the user's connections
	Connections []presence.UUID // of User, where that is given too
	All         bool
	Data        string   // JSON, as it is to be delivered
	Pairs       []string // what may stand behind it: name, value, …, as for push.lua
}

// Sent is one PUBLISH.
type Sent struct {
	Channel     string `json:"channel"`
	Envelope    string `json:"envelope"`
	Subscribers int64  `json:"subscribers"` // who heard it; in a Cluster, at the one node that was asked
	Connections int    `json:"connections"` // that were addressed, where presence tells; of whoever did not hear it too
}

// Push looks up where the message goes, and publishes it there. It returns what has been
// published, also beside an error; [NotPublished] says that nothing was, and [IsBadInput]
// that it can't be.
func (p *Producer) Push(ctx context.Context, m Message) (sent []Sent, err error) {
	whom, err := p.aim(ctx, m)
	if err != nil {
		return nil, err
	}
	for _, a := range whom {
		envelope, err := p.envelope(ctx, a.target, m.Data, m.Pairs)
		if err != nil && len(sent) == 0 {
			return nil, err
		} else if err != nil {
			return sent, err
		}
		n, err := p.publishOnce(ctx, a.channel, envelope)
		if err != nil {
			return sent, err
		}
		sent = append(sent, Sent{Channel: a.channel, Envelope: string(envelope), Subscribers: n, Connections: a.connections})
	}
	return sent, nil
}

// aimed is a target on one channel.
type aimed struct {
	target
	channel     string
	connections int
}

// aim says on which channels a message goes to whom, the channels in order.
func (p *Producer) aim(ctx context.Context, m Message) ([]aimed, error) {
	var to names
	for _, u := range m.Connections {
		to = append(to, presence.FormatUUID(u))
	}
	switch {
	case m.All && (m.User != "" || len(to) > 0):
		return nil, badInput("all and somebody are given together")
	case !m.All && m.User == "" && len(to) == 0:
		return nil, badInput("nobody is given: a user, connections or all")
	case m.User == "":
		return []aimed{{target{To: to, All: m.All}, p.Keys.AllChannel(), len(to)}}, nil
	}
	if err := presence.ValidUser(m.User); err != nil {
		return nil, badInput("%w", err)
	}
	// Bad pairs are bad also where nobody is online.
	if _, err := readPairs(m.Pairs); err != nil {
		return nil, err
	}
	found, err := presence.Lookup(ctx, p.Redis, p.Keys, m.User)
	if err != nil {
		return nil, &NotPublished{err}
	}
	var list []aimed
	for _, l := range found {
		if len(to) > 0 && !slices.Contains(m.Connections, l.UUID) {
			continue
		}
		i := slices.IndexFunc(list, func(a aimed) bool { return a.channel == l.Channel })
		if i < 0 {
			i = len(list)
			list = append(list, aimed{channel: l.Channel})
		}
		if list[i].connections++; len(to) > 0 {
			list[i].To, list[i].Of = append(list[i].To, presence.FormatUUID(l.UUID)), m.User
		} else {
			list[i].User = m.User
		}
	}
	return list, nil
}

// publishTo publishes on a pod's own channel, and returns how many are subscribed.
func (p *Producer) publishTo(ctx context.Context, channel string, envelope []byte) (n int64, err error) {
	if p.Sharded {
		cmd := redis.NewIntCmd(ctx, "spublish", channel, envelope)
		err = p.Redis.Process(ctx, channel, cmd)
		return cmd.Val(), err
	}
	return p.publishOnce(ctx, channel, envelope)
}

// publishOnce publishes, and never twice, and returns how many are subscribed. In a
// Cluster PUBLISH counts those at one node only, so all are asked; where that is not
// allowed its own count is returned.
func (p *Producer) publishOnce(ctx context.Context, channel string, envelope []byte) (n int64, err error) {
	var counted int64
	known := false
	if m := p.Redis.Map(); m.Kind == redisconn.Cluster {
		var unknown int64
		counted, unknown = p.subscribers(ctx, m, channel)
		known = unknown == 0
	}
	cmd := redis.NewIntCmd(ctx, "publish", channel, envelope)
	if err := p.Redis.Process(ctx, channel, cmd); err != nil {
		return 0, err
	}
	if known {
		return counted, nil
	}
	return cmd.Val(), nil
}

// subscribers counts who is subscribed to a channel at any node (PUBSUB NUMSUB), and the
// nodes that do not say so.
func (p *Producer) subscribers(ctx context.Context, m *redisconn.Map, channel string) (n, unknown int64) {
	pipe := p.Redis.Pipeline(true)
	counts := make([]*redis.MapStringIntCmd, len(m.Masters))
	for i, node := range m.Masters {
		counts[i] = redis.NewMapStringIntCmd(ctx, "pubsub", "numsub", channel)
		pipe.AddTo(node, counts[i])
	}
	pipe.Exec(ctx)
	for _, c := range counts {
		n += c.Val()[channel]
		if c.Err() != nil {
			unknown++
		}
	}
	return n, unknown
}

// target says whom an envelope is for.
type target struct {
	To   names  `json:"to,omitempty"`
	Of   string `json:"of,omitempty"`
	User string `json:"user,omitempty"`
	All  bool   `json:"all,omitempty"`
}

// names are one text in JSON, or an array of several.
type names []string

// MarshalJSON implements json.Marshaler.
func (n names) MarshalJSON() ([]byte, error) {
	if len(n) == 1 {
		return json.Marshal(n[0])
	}
	return json.Marshal([]string(n))
}

// envelope makes what is published, as push.lua does: data as it was given, and what the
// pairs say. at and ttl go by Redis's clock.
func (p *Producer) envelope(ctx context.Context, whom target, data string, pairs []string) ([]byte, error) {
	more, err := readPairs(pairs)
	if err != nil {
		return nil, err
	}
	clock := redis.NewTimeCmd(ctx, "time")
	if err := p.do(ctx, p.Keys.Pods(), clock); err != nil {
		return nil, &NotPublished{err}
	}
	now := clock.Val().UnixMilli()
	if more.ttl > 0 {
		more.Expires = now + more.ttl
	}
	more.target, more.At, more.Data = whom, now, json.RawMessage(data)
	b, err := more.encode()
	if max := p.MaxEnvelope; err == nil && len(b) > max {
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
	return fmt.Errorf("pushpod: "+format, args...)
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
			err = badInput("unknown name '%s'; known are id, ttl, expires, collapse", printable(name))
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

// printable is text for one line of an error.
func printable(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	return strconv.Quote(text)
}
