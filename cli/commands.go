package cli

import (
	"os"

	"github.com/spf13/cobra"
)

// deps is what the commands get from outside.
type deps struct {
	version string
	environ func() []string // NAME=VALUE pairs
}

// Commands returns the commands to add to the root: push, kick, connect,
// presence, pods, health, drain, functions, token, config, conformance, version, top and the hidden man. The version is
// the program's own, as `pushpod version` prints it.
//
// The root must have SilenceErrors and SilenceUsage set. Its owner prints the error and
// exits with ExitCode.
func Commands(version string) []*cobra.Command {
	return deps{version: version, environ: os.Environ}.commands()
}

func (d deps) commands() []*cobra.Command {
	list := []*cobra.Command{
		d.newPushCommand(),
		d.newKickCommand(),
		newConnectCommand(IsTerminal),
		d.newPresenceCommand(),
		d.newPodsCommand(),
		d.newHealthCommand(),
		d.newDrainCommand(),
		d.newFunctionsCommand(),
		d.newTokenCommand(),
		d.newConfigCommand(),
		newConformanceCommand(),
		d.newVersionCommand(),
		d.newTopCommand(),
		d.newManCommand(),
	}
	d.addCompletion(list)
	return list
}

// newGroup returns a command that only holds others.
func newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	names := ""
	for _, c := range commands {
		names += " " + c.Name()
	}
	group := &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s: unknown command %q; there are:%s", cmd.CommandPath(), args[0], names)
			}
			return usagef("%s: a command is missing; there are:%s", cmd.CommandPath(), names)
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args lets nothing through
	}
	group.AddCommand(commands...)
	return group
}
