package cli

import (
	"time"

	"github.com/spf13/cobra"

	"pushpod/presence"
)

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
		list, err := s.producer().Connections(cmd.Context(), args[0])
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
