package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"pushpod/presence"
	"pushpod/redisconn"
)

const (
	codeRevoked = 4500 // the client stays away
	maxWhy      = 100  // of --reason, in bytes: it must fit into a close frame
)

type kickOptions struct {
	lasts  time.Duration // of the block; 0: none
	reason string
	asJSON bool
}

// kicked is what `pushpod kick` has done.
type kicked struct {
	Closed  int   `json:"closed"`               // connections, on pods that are subscribed
	Blocked int64 `json:"blocked_ms,omitempty"` // for how long the user is blocked; absent: not
}

func (d deps) newKickCommand() *cobra.Command {
	var o kickOptions
	cmd := &cobra.Command{
		Use:   "kick USER",
		Short: "Close every connection of a user",
		Long: `Close every connection of a user with 4500, after which clients stay away. Prints how
many there were on pods that are subscribed. 0 means that the user is not online;
that is no error.

With --for the user is blocked first: handshakes are refused with 403 until the time
is over. To end a block before, delete its key: DEL 'push:block:{USER}'.

The pods are told on push:ctl:ADDRESS, and those that are not subscribed to it, since
redis.control is off, on push:pod:ADDRESS. With --redis.control=on, only on the first.

Exit status 2: the user or a flag is not allowed, and nothing was done. 1: Redis could
not be reached, or it refused; some connections may be closed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs("USER")(cmd, args); err != nil {
				return err
			}
			if err := presence.ValidUser(args[0]); err != nil {
				return &usageError{Err: err}
			}
			return o.check(cmd.Flags().Changed("for"))
		},
	}
	cmd.Flags().DurationVar(&o.lasts, "for", 0, "also block the user for so long, such as 1h")
	cmd.Flags().StringVar(&o.reason, "reason", "", "reason that clients are told, 100 bytes at most")
	jsonFlag(cmd, &o.asJSON)
	cmd.SetFlagErrorFunc(dashHint)
	s := newServer(cmd, "redis.control")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := s.open(cmd.Context(), d.environ()); err != nil {
			return err
		}
		defer s.redis.Close()
		done, err := s.kick(cmd.Context(), args[0], o)
		if err != nil {
			return s.failed(fmt.Errorf("kick: %w", err))
		}
		if o.asJSON {
			return writeJSON(cmd.OutOrStdout(), done)
		}
		return writeLine(cmd.OutOrStdout(), "%s", done.text())
	}
	return cmd
}

func (o kickOptions) check(block bool) error {
	switch {
	case block && o.lasts < time.Millisecond:
		return usagef("kick: --for is %s; it must be more than nothing, such as 1h", o.lasts)
	case !utf8.ValidString(o.reason) || len(o.reason) > maxWhy:
		return usagef("kick: --reason must be UTF-8 of at most %d bytes", maxWhy)
	}
	return nil
}

func (k kicked) text() string {
	text := fmt.Sprintf("%d connections closed", k.Closed)
	if k.Closed == 1 {
		text = "1 connection closed"
	}
	if k.Blocked > 0 {
		text += fmt.Sprintf(", user blocked for %s", time.Duration(k.Blocked)*time.Millisecond)
	}
	return text
}

// kick blocks the user, where that is asked for, and then closes what presence names: a
// connection that the block does not stop is in presence by then.
func (s *server) kick(ctx context.Context, user string, o kickOptions) (done kicked, err error) {
	what := "kicked"
	if o.lasts > 0 {
		what = "blocked"
		key := s.keys.Block(user)
		if err := s.do(ctx, key, redis.NewStatusCmd(ctx, "set", key, o.reason, "px", o.lasts.Milliseconds())); err != nil {
			return done, fmt.Errorf("nothing was done: block the user: %w", err)
		}
		done.Blocked = o.lasts.Milliseconds()
	}
	if o.reason != "" {
		what += ": " + o.reason
	}
	found, err := presence.Lookup(ctx, s.redis, s.keys, user)
	if err != nil {
		return done, err
	}
	envelope, err := closing(user, what)
	if err != nil {
		return done, err
	}
	connections := map[string]int{} // by the pod's channel
	for _, l := range found {
		connections[l.Channel]++
	}
	for channel, n := range connections {
		told, err := s.tell(ctx, channel, envelope)
		if err != nil {
			return done, fmt.Errorf("%d connections were closed before: %w", done.Closed, err)
		}
		if told {
			done.Closed += n
		}
	}
	return done, nil
}

// closing is the envelope that closes a user's connections.
func closing(user, reason string) ([]byte, error) {
	var e struct {
		User  string `json:"user"`
		Close struct {
			Code   int    `json:"code"`
			Reason string `json:"reason"`
		} `json:"close"`
	}
	e.User, e.Close.Code, e.Close.Reason = user, codeRevoked, reason
	return json.Marshal(e)
}

// tell publishes to the pod with this channel, on its control channel where it is
// subscribed to it. It reports whether anybody was told.
func (s *server) tell(ctx context.Context, channel string, envelope []byte) (bool, error) {
	if address := s.address(channel); address != "" {
		n, err := s.publish(ctx, s.keys.ControlChannel(address), envelope)
		if s.cfg.Control || err == nil && n > 0 {
			return n > 0, err
		}
		// Whoever may not publish there may do so on the other one, where that is obeyed.
	}
	n, err := s.publish(ctx, channel, envelope)
	return n > 0, err
}

// publish returns how many are subscribed, in a Cluster at any node.
func (s *server) publish(ctx context.Context, channel string, envelope []byte) (n int64, err error) {
	if m := s.redis.Map(); m.Kind == redisconn.Cluster {
		return s.publishInCluster(ctx, m, channel, envelope)
	}
	cmd := redis.NewIntCmd(ctx, "publish", channel, envelope)
	err = s.do(ctx, channel, cmd)
	return cmd.Val(), err
}

// publishInCluster is publish where PUBLISH counts the subscribers of one node only: the
// nodes are asked who is subscribed (PUBSUB NUMSUB).
func (s *server) publishInCluster(ctx context.Context, m *redisconn.Map, channel string, envelope []byte) (n int64, err error) {
	pipe := s.redis.Pipeline(true)
	counts := make([]*redis.MapStringIntCmd, len(m.Masters))
	for i, node := range m.Masters {
		counts[i] = redis.NewMapStringIntCmd(ctx, "pubsub", "numsub", channel)
		pipe.AddTo(node, counts[i])
	}
	pipe.Exec(ctx)
	for _, c := range counts {
		n += c.Val()[channel]
		if c.Err() != nil {
			n++ // not known
		}
	}
	cmd := redis.NewIntCmd(ctx, "publish", channel, envelope)
	err = s.do(ctx, channel, cmd)
	return n, err
}
