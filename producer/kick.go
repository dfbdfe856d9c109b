package producer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"pushpod/presence"
	"pushpod/redisconn"
)

const codeRevoked = 4500 // the client stays away

// MaxReason bounds Kick.Reason, in bytes: it must fit into a close frame.
const MaxReason = 100

// Kick says how to close a user's connections.
type Kick struct {
	Lasts  time.Duration // of the block that comes first, in milliseconds; 0: none
	Reason string        // that clients are told; UTF-8 of MaxReason bytes at most
	// Connection is the only one to close; nil: all of them.
	Connection *presence.UUID
}

// Kicked is what [Producer.Kick] has done.
type Kicked struct {
	Closed  int    `json:"closed"`               // connections, on pods that are subscribed
	Blocked int64  `json:"blocked_ms,omitempty"` // for how long the user is blocked; absent: not
	Sent    []Sent `json:"-"`
}

// Check says what of it is not allowed, as [IsBadInput].
func (k Kick) Check(user string) error {
	if err := presence.ValidUser(user); err != nil {
		return badInput("%w", err)
	}
	if k.Lasts != 0 && k.Lasts < time.Millisecond {
		return badInput("a block lasts %s; it must be a millisecond or more", k.Lasts)
	}
	if !utf8.ValidString(k.Reason) || len(k.Reason) > MaxReason {
		return badInput("the reason must be UTF-8 of at most %d bytes", MaxReason)
	}
	return nil
}

// Kick blocks the user, where that is asked for, and then closes what presence names: a
// connection that the block does not stop is in presence by then.
func (p *Producer) Kick(ctx context.Context, user string, o Kick) (done Kicked, err error) {
	what := "kicked"
	if o.Lasts > 0 {
		what = "blocked"
		key := p.Keys.Block(user)
		if err := p.do(ctx, key, redis.NewStatusCmd(ctx, "set", key, o.Reason, "px", o.Lasts.Milliseconds())); err != nil {
			return done, fmt.Errorf("nothing was done: block the user: %w", err)
		}
		done.Blocked = o.Lasts.Milliseconds()
	}
	if o.Reason != "" {
		what += ": " + o.Reason
	}
	found, err := presence.Lookup(ctx, p.Redis, p.Keys, user)
	if err != nil {
		return done, err
	}
	envelope, err := closing(user, o.Connection, what)
	if err != nil {
		return done, err
	}
	connections := map[string]int{} // by the pod's channel
	for _, l := range found {
		if o.Connection != nil && l.UUID != *o.Connection {
			continue
		}
		connections[l.Channel]++
	}
	for channel, n := range connections {
		on, told, err := p.tell(ctx, channel, envelope)
		if err != nil {
			return done, fmt.Errorf("%d connections were closed before: %w", done.Closed, err)
		}
		done.Sent = append(done.Sent, Sent{Channel: on, Envelope: string(envelope), Subscribers: told, Connections: n})
		if told > 0 {
			done.Closed += n
		}
	}
	return done, nil
}

// closing is the envelope that closes a user's connections, or one of them.
func closing(user string, only *presence.UUID, reason string) ([]byte, error) {
	var e struct {
		target
		Close struct {
			Code   int    `json:"code"`
			Reason string `json:"reason"`
		} `json:"close"`
	}
	if e.User = user; only != nil {
		e.target = target{To: names{presence.FormatUUID(*only)}, Of: user}
	}
	e.Close.Code, e.Close.Reason = codeRevoked, reason
	return json.Marshal(e)
}

// tell publishes to the pod with this channel, on its control channel where it is
// subscribed to it. It returns on which channel it did, and how many were told.
func (p *Producer) tell(ctx context.Context, channel string, envelope []byte) (on string, told int64, err error) {
	if address := p.address(channel); address != "" {
		on = p.Keys.ControlChannel(address)
		n, err := p.publish(ctx, on, envelope)
		if p.Control || err == nil && n > 0 {
			return on, n, err
		}
		// Whoever may not publish there may do so on the other one, where that is obeyed.
	}
	told, err = p.publish(ctx, channel, envelope)
	return channel, told, err
}

// publish returns how many are subscribed, in a Cluster at any node; one that does not say
// how many counts as one of them.
func (p *Producer) publish(ctx context.Context, channel string, envelope []byte) (n int64, err error) {
	m := p.Redis.Map()
	inCluster := m.Kind == redisconn.Cluster // where PUBLISH counts the subscribers of one node only
	if inCluster {
		counted, unknown := p.subscribers(ctx, m, channel)
		n = counted + unknown
	}
	cmd := redis.NewIntCmd(ctx, "publish", channel, envelope)
	if err = p.do(ctx, channel, cmd); !inCluster {
		n = cmd.Val()
	}
	return n, err
}

// Block is a user's block: how long it lasts still, 0: for ever, and the reason. false:
// there is none.
func (p *Producer) Block(ctx context.Context, user string) (reason string, lasts time.Duration, blocked bool, err error) {
	key := p.Keys.Block(user)
	value, rest := redis.NewStringCmd(ctx, "get", key), redis.NewIntCmd(ctx, "pttl", key)
	pipe := p.Redis.Pipeline(true)
	pipe.Add(key, value, rest)
	pipe.Exec(ctx)
	switch {
	case errors.Is(value.Err(), redis.Nil):
		return "", 0, false, nil
	case value.Err() != nil:
		return "", 0, false, value.Err()
	}
	return value.Val(), time.Duration(max(0, rest.Val())) * time.Millisecond, true, nil
}

// Unblock ends a user's block, and reports whether there was one.
func (p *Producer) Unblock(ctx context.Context, user string) (was bool, err error) {
	if err := presence.ValidUser(user); err != nil {
		return false, badInput("%w", err)
	}
	key := p.Keys.Block(user)
	gone := redis.NewIntCmd(ctx, "del", key)
	err = p.do(ctx, key, gone)
	return gone.Val() > 0, err
}
