package cli

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"pushpod/presence"
)

// A connection is a row of `pushpod presence`.
type connection struct {
	UUID    string `json:"uuid"`
	Pod     string `json:"pod"`               // address; empty where the channel is not a pod's
	Channel string `json:"channel"`           // to PUBLISH to
	Since   int64  `json:"since"`             // Unix ms, from the UUID
	Expires *int64 `json:"expires,omitempty"` // ms until the entry expires unless it is renewed; absent: not known
}

func (d deps) newPresenceCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "presence USER",
		Short: "List a user's connections",
		Long: `List a user's connections, oldest first: UUID, pod, time of connecting, and time
until the entry expires unless it is renewed. The entry of a pod that died stays
until then. If the user is not online, only the head of the table is printed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs("USER")(cmd, args); err != nil {
				return err
			}
			if err := presence.ValidUser(args[0]); err != nil {
				return &usageError{Err: err}
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.SetFlagErrorFunc(dashHint)
	s := newServer(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := s.open(cmd.Context(), d.environ()); err != nil {
			return err
		}
		defer s.redis.Close()
		list, err := s.connections(cmd.Context(), args[0])
		if err != nil {
			return s.failed(err)
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), list)
		}
		rows := make([][]string, 0, len(list))
		for _, c := range list {
			rows = append(rows, []string{c.UUID, shown(podName(c.Pod, c.Channel)), instant(c.Since), expiry(c.Expires)})
		}
		colours := coloursFor(cmd.OutOrStdout(), d.environ())
		return colours.writeTable(cmd.OutOrStdout(), []string{"UUID", "POD", "CONNECTED SINCE", "EXPIRES IN"}, rows, nil)
	}
	return cmd
}

// connections reads a user's entries, and when they expire.
func (s *server) connections(ctx context.Context, user string) ([]connection, error) {
	found, err := presence.Lookup(ctx, s.redis, s.keys, user)
	if err != nil {
		return nil, err
	}
	list := make([]connection, 0, len(found))
	fields := make([]string, 0, len(found))
	for _, l := range found {
		list = append(list, connection{
			UUID: presence.FormatUUID(l.UUID), Pod: s.address(l.Channel), Channel: l.Channel, Since: presence.UUIDTime(l.UUID),
		})
		fields = append(fields, presence.FormatUUID(l.UUID))
	}
	if len(list) > 0 {
		s.addExpiry(ctx, s.keys.User(user), fields, list)
	}
	return list, nil
}

// addExpiry sets when the entries expire: each field's own time (HPTTL, Redis 7.4,
// Valkey 9), or the key's (PTTL). Without an answer it stays unknown.
func (s *server) addExpiry(ctx context.Context, key string, fields []string, list []connection) {
	args := []any{"hpttl", key, "fields", len(fields)}
	for _, f := range fields {
		args = append(args, f)
	}
	each := redis.NewIntSliceCmd(ctx, args...)
	if err := s.do(ctx, key, each); err == nil && len(each.Val()) == len(list) {
		for i, ms := range each.Val() {
			if ms >= 0 {
				list[i].Expires = &ms
			}
		}
	}
	whole := redis.NewIntCmd(ctx, "pttl", key)
	if err := s.do(ctx, key, whole); err != nil || whole.Val() < 0 {
		return
	}
	ms := whole.Val()
	for i := range list {
		if list[i].Expires == nil || *list[i].Expires > ms {
			list[i].Expires = &ms
		}
	}
}

// podName is a pod's address, or the channel where that is not a pod's.
func podName(address, channel string) string {
	if address != "" {
		return address
	}
	return channel
}

func expiry(ms *int64) string {
	if ms == nil {
		return "-"
	}
	return (time.Duration(*ms) * time.Millisecond).Round(100 * time.Millisecond).String()
}
