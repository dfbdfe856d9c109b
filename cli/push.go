package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"pushpod/presence"
	"pushpod/scripts"
)

type pushOptions struct {
	id, collapse string
	ttl          time.Duration
	asJSON       bool
}

func (d deps) newPushCommand() *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push USER JSON [NAME VALUE]...",
		Short: "Push JSON to every connection of a user",
		Long: `Push JSON to every connection of a user, in one atomic call. Prints how many
connections were addressed on pods that are subscribed. 0 means that the user is
not online; that is no error.

After the JSON you can give the pairs of push.lua: id, ttl (milliseconds from
now), expires (Unix milliseconds), collapse. --id, --ttl and --collapse do the same.

Exit status 2: the user, the JSON or a pair is not allowed, and nothing was
published. 1: Redis could not be reached, or it refused; after a timeout it is
not known whether the message was published.

Put -- before a user or JSON that begins with a dash:
    pushpod push -- -x -1`,
		Args: pushArgs,
	}
	cmd.Flags().StringVar(&o.id, "id", "", "your name for the message, 1 to 256 bytes; clients drop an id that they have seen")
	cmd.Flags().DurationVar(&o.ttl, "ttl", 0, "how long the message may still be delivered, such as 30s")
	cmd.Flags().StringVar(&o.collapse, "collapse", "", "while the message waits for a slow client, a newer one with the same key replaces it")
	jsonFlag(cmd, &o.asJSON)
	cmd.SetFlagErrorFunc(dashHint)
	s := newServer(cmd, "redis.pubsub")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := s.open(cmd.Context(), d.environ()); err != nil {
			return err
		}
		defer s.redis.Close()
		return s.push(cmd, o, args)
	}
	return cmd
}

// pushArgs checks what can be checked without Redis. The script checks all of
// it again, and the pairs.
func pushArgs(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return exactArgs("USER", "JSON")(cmd, args)
	}
	if err := presence.ValidUser(args[0]); err != nil {
		return &usageError{Err: err}
	}
	if err := validJSON(args[1]); err != nil {
		return usagef("push: the data is not JSON: %w", err)
	}
	if len(args)%2 != 0 {
		return usagef("push: %q has no value; after USER and JSON come pairs: NAME VALUE", args[len(args)-1])
	}
	return nil
}

func validJSON(data string) error {
	if !utf8.ValidString(data) {
		return errors.New("it is not valid UTF-8")
	}
	var value json.RawMessage
	err := json.Unmarshal([]byte(data), &value)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("%w (byte %d)", err, syntax.Offset)
	}
	return err
}

func (s *server) push(cmd *cobra.Command, o pushOptions, args []string) error {
	argv := make([]any, 0, len(args)+5)
	for _, arg := range args[1:] {
		argv = append(argv, arg)
	}
	for flag, value := range map[string]string{
		"id": o.id, "ttl": strconv.FormatInt(o.ttl.Milliseconds(), 10), "collapse": o.collapse,
	} {
		if cmd.Flags().Changed(flag) {
			argv = append(argv, flag, value)
		}
	}
	push := s.pushPlain
	if s.cfg.PubSub == "sharded" {
		push = s.pushSharded
	}
	n, err := push(cmd.Context(), s.keys.User(args[0]), argv)
	switch {
	case err != nil && isBadInput(err):
		return &usageError{Err: err}
	case err != nil:
		return s.failed(pushError(err))
	case o.asJSON:
		return writeJSON(cmd.OutOrStdout(), struct {
			Addressed int64 `json:"addressed"`
		}{n})
	}
	return writeLine(cmd.OutOrStdout(), "%d", n)
}

// pushPlain has the message published by push.lua.
func (s *server) pushPlain(ctx context.Context, key string, argv []any) (addressed int64, err error) {
	eval := redis.NewCmd(ctx, append([]any{"eval", scripts.Push(), 1, key}, argv...)...)
	_ = s.redis.Process(ctx, key, eval) // it has the error
	return eval.Int64()
}

// pushSharded asks where the message goes, and publishes it to the shard of each channel.
func (s *server) pushSharded(ctx context.Context, key string, argv []any) (addressed int64, err error) {
	eval := redis.NewStringSliceCmd(ctx, append([]any{"eval", scripts.Route(), 1, key}, argv...)...)
	if err := s.redis.Process(ctx, key, eval); err != nil {
		return 0, err
	}
	list := eval.Val()
	for i := 0; i+1 < len(list); i += 2 {
		spublish := redis.NewIntCmd(ctx, "spublish", list[i], list[i+1])
		if err := s.redis.Process(ctx, list[i], spublish); err != nil {
			return addressed, fmt.Errorf("%d connections were addressed before: %w", addressed, err)
		}
		if spublish.Val() > 0 {
			addressed += s.addressedBy(ctx, key, list[i], list[i+1])
		}
	}
	return addressed, nil
}

// addressedBy is how many connections an envelope of route.lua's addresses: those that it
// names, or all that the user has on the pod.
func (s *server) addressedBy(ctx context.Context, key, channel, envelope string) (n int64) {
	var e struct {
		To json.RawMessage `json:"to"`
	}
	var many []json.RawMessage
	switch {
	case json.Unmarshal([]byte(envelope), &e) != nil || e.To == nil:
		values := redis.NewStringSliceCmd(ctx, "hvals", key)
		_ = s.do(ctx, key, values) // without an answer there is none
		for _, c := range values.Val() {
			if c == channel {
				n++
			}
		}
		return n
	case json.Unmarshal(e.To, &many) == nil:
		return int64(len(many))
	}
	return 1
}

// isBadInput tells the script's refusals of what it was given from its reports
// of what it could not do.
func isBadInput(err error) bool {
	reason, ok := strings.CutPrefix(err.Error(), "pushpod: ")
	return ok && !strings.HasPrefix(reason, "cannot ")
}

// pushError says whether the message may have been published all the same.
func pushError(err error) error {
	var reply redis.Error
	switch {
	case errors.As(err, &reply):
		return fmt.Errorf("push: %w", err)
	case notDialled(err):
		return fmt.Errorf("push: nothing was published: %w", err)
	}
	return fmt.Errorf("push: it is not known whether it was published: %w", err)
}
