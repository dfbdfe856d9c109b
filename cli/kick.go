package cli

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"pushpod/presence"
	"pushpod/producer"
)

type kickOptions struct {
	lasts  time.Duration // of the block; 0: none
	reason string
	asJSON bool
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
		done, err := s.producer().Kick(cmd.Context(), args[0], producer.Kick{Lasts: o.lasts, Reason: o.reason})
		if err != nil {
			return s.failed(fmt.Errorf("kick: %w", err))
		}
		if o.asJSON {
			return writeJSON(cmd.OutOrStdout(), done)
		}
		return writeLine(cmd.OutOrStdout(), "%s", kickedText(done))
	}
	return cmd
}

func (o kickOptions) check(block bool) error {
	switch {
	case block && o.lasts < time.Millisecond:
		return usagef("kick: --for is %s; it must be more than nothing, such as 1h", o.lasts)
	case !utf8.ValidString(o.reason) || len(o.reason) > producer.MaxReason:
		return usagef("kick: --reason must be UTF-8 of at most %d bytes", producer.MaxReason)
	}
	return nil
}

func kickedText(k producer.Kicked) string {
	text := fmt.Sprintf("%d connections closed", k.Closed)
	if k.Closed == 1 {
		text = "1 connection closed"
	}
	if k.Blocked > 0 {
		text += fmt.Sprintf(", user blocked for %s", time.Duration(k.Blocked)*time.Millisecond)
	}
	return text
}
