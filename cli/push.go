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
	"pushpod/producer"
	"pushpod/scripts"
)

type pushOptions struct {
	id, collapse, to string
	ttl              time.Duration
	all, asJSON      bool
}

func (d deps) newPushCommand() *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use: `push USER JSON [NAME VALUE]...
  pushpod push --to UUID [USER] JSON [NAME VALUE]...
  pushpod push --all JSON [NAME VALUE]...`,
		Short: "Push JSON to a user, a connection or everybody",
		Long: `Push JSON to every connection of a user, in one atomic call. Prints how many
connections were addressed on pods that are subscribed. 0 means that the user is
not online; that is no error.

--to UUID pushes to one connection alone (pushpod presence USER lists them). With USER
its pod is looked up, and 1 or 0 printed. Without, all pods are told, since nothing says
which of them holds it: prints how many they are, and each that does not hold it counts
a miss.

--all pushes to everybody, on push:all. Prints how many pods were told.

After the JSON you can give the pairs of push.lua: id, ttl (milliseconds from
now), expires (Unix milliseconds), collapse. --id, --ttl and --collapse do the same.

Exit status 2: the user, the JSON or a pair is not allowed, and nothing was
published. 1: Redis could not be reached, or it refused; after a timeout it is
not known whether the message was published.

Put -- before a user or JSON that begins with a dash:
    pushpod push -- -x -1`,
		Args: func(_ *cobra.Command, args []string) error { return o.checkArgs(args) },
	}
	cmd.Flags().StringVar(&o.to, "to", "", "UUID of the one connection to push to")
	cmd.Flags().BoolVar(&o.all, "all", false, "push to every connection of every pod")
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

// checkArgs checks what can be checked without Redis. Where push.lua publishes, it checks
// all of it again, and the pairs.
func (o *pushOptions) checkArgs(args []string) error {
	user, data, pairs, err := o.split(args)
	if err != nil {
		return err
	}
	if user != "" || !o.anonymous(args) {
		if err := presence.ValidUser(user); err != nil {
			return &usageError{Err: err}
		}
	}
	if err := validJSON(data); err != nil {
		return usagef("push: the data is not JSON: %w", err)
	}
	if len(pairs)%2 != 0 {
		return usagef("push: %q has no value; after %sJSON come pairs: NAME VALUE", pairs[len(pairs)-1], map[bool]string{false: "USER and "}[o.all])
	}
	return nil
}

// anonymous reports whether the arguments name no user: behind JSON, and before it where
// a user stands there, they are pairs.
func (o *pushOptions) anonymous(args []string) bool { return o.all || o.to != "" && len(args)%2 == 1 }

// split tells the arguments apart.
func (o *pushOptions) split(args []string) (user, data string, pairs []string, err error) {
	_, isUUID := presence.ParseUUID(o.to)
	switch {
	case o.all && o.to != "":
		return "", "", nil, usagef("push: --all and --to are given together; one of them says whom")
	case o.to != "" && !isUUID:
		return "", "", nil, usagef("push: --to %q is no UUID of a connection: 36 characters in lower case, as pushpod presence USER lists them", o.to)
	case o.anonymous(args) && len(args) > 0:
		return "", args[0], args[1:], nil
	case o.all, o.to != "" && len(args) == 0:
		return "", "", nil, usagef("pushpod push: JSON is missing")
	case len(args) == 0:
		return "", "", nil, usagef("pushpod push: USER is missing")
	case len(args) == 1:
		return "", "", nil, usagef("pushpod push: JSON is missing")
	}
	return args[0], args[1], args[2:], nil
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
	user, data, pairs, err := o.split(args)
	if err != nil {
		return err
	}
	for flag, value := range map[string]string{
		"id": o.id, "ttl": strconv.FormatInt(o.ttl.Milliseconds(), 10), "collapse": o.collapse,
	} {
		if cmd.Flags().Changed(flag) {
			pairs = append(pairs, flag, value)
		}
	}
	var (
		n    int64
		said any
	)
	switch ctx := cmd.Context(); {
	case o.all || o.to != "" && user == "":
		n, err = s.pushToPods(ctx, o.to, data, pairs)
		said = struct {
			Pods int64 `json:"pods"`
		}{n}
	default:
		n, err = s.pushToUser(ctx, user, o.to, data, pairs)
		said = struct {
			Addressed int64 `json:"addressed"`
		}{n}
	}
	switch {
	case err != nil && producer.IsBadInput(err):
		return &usageError{Err: err}
	case err != nil:
		return s.failed(pushError(err))
	case o.asJSON:
		return writeJSON(cmd.OutOrStdout(), said)
	}
	return writeLine(cmd.OutOrStdout(), "%d", n)
}

// pushToPods pushes to everybody, or to one connection, whoever holds it. It returns how
// many pods were told.
func (s *server) pushToPods(ctx context.Context, uuid, data string, pairs []string) (pods int64, err error) {
	m := producer.Message{All: uuid == "", Data: data, Pairs: pairs}
	if u, ok := presence.ParseUUID(uuid); ok {
		m.Connections = []presence.UUID{u}
	}
	sent, err := s.producer().Push(ctx, m)
	if err != nil {
		return 0, err
	}
	return sent[0].Subscribers, nil
}

// pushToUser pushes to what a user has: to all of it, or to one connection. It returns how
// many connections were addressed.
func (s *server) pushToUser(ctx context.Context, user, uuid, data string, pairs []string) (addressed int64, err error) {
	if uuid != "" {
		return s.producer().ToConnection(ctx, user, uuid, data, pairs)
	}
	argv := make([]any, 0, len(pairs)+1)
	argv = append(argv, data)
	for _, p := range pairs {
		argv = append(argv, p)
	}
	if s.cfg.PubSub == "sharded" {
		return s.pushSharded(ctx, s.keys.User(user), argv)
	}
	return s.pushPlain(ctx, s.keys.User(user), argv)
}

// pushPlain has the message published by push.lua.
func (s *server) pushPlain(ctx context.Context, key string, argv []any) (addressed int64, err error) {
	eval := redis.NewCmd(ctx, append([]any{"eval", scripts.Push(), 1, key}, argv...)...)
	_ = s.redis.Process(ctx, key, eval) // it has the error
	addressed, err = eval.Int64()
	return addressed, scriptError(err)
}

// A scriptRefusal is an error reply of a script's without Redis's code, so that it reads
// as this program's own refusals.
type scriptRefusal struct{ err error }

func (r *scriptRefusal) Error() string { return strings.TrimPrefix(r.err.Error(), "ERR ") }
func (r *scriptRefusal) Unwrap() error { return r.err }

func scriptError(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "ERR pushpod: ") {
		return &scriptRefusal{err}
	}
	return err
}

// pushSharded asks where the message goes, and publishes it to the shard of each channel.
func (s *server) pushSharded(ctx context.Context, key string, argv []any) (addressed int64, err error) {
	eval := redis.NewStringSliceCmd(ctx, append([]any{"eval", scripts.Route(), 1, key}, argv...)...)
	if err := s.redis.Process(ctx, key, eval); err != nil {
		return 0, scriptError(err)
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

// pushError says whether the message may have been published all the same.
func pushError(err error) error {
	var (
		reply  redis.Error
		before *producer.NotPublished
	)
	switch {
	case errors.As(err, &before):
		return fmt.Errorf("push: nothing was published: %w", before.Err)
	case errors.As(err, &reply):
		return fmt.Errorf("push: %w", err)
	case notDialled(err):
		return fmt.Errorf("push: nothing was published: %w", err)
	}
	return fmt.Errorf("push: it is not known whether it was published: %w", err)
}
