package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"pushpod/config"
)

// A diffResult is what `pushpod config diff --json` prints.
type diffResult struct {
	OK       bool            `json:"ok"` // a reload would take FILE over
	Changes  []config.Change `json:"changes"`
	Problems []configProblem `json:"problems"`
}

func (d deps) newConfigDiffCommand() *cobra.Command {
	var asJSON bool
	var current string
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Say what a reload would change",
		Long: `Say what a pod would do that runs with the file given by --config, or with the
defaults, if FILE took its place: which keys would change, at once or with a restart
only. Both are read together with the environment (PUSHPOD_... and POD_IP), which wins
over files, as a pod would.

The exit status is 0 whether or not there are differences, and 2 where a pod would
reject FILE: each problem is printed on a line of its own.`,
		Args: exactArgs("FILE"),
	}
	cmd.Flags().StringVar(&current, "config", "", "configuration file (YAML) that the pod runs with")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return usagef("config diff: FILE is empty")
		}
		running, err := config.Load(config.LoadOptions{File: current, Environ: d.environ()})
		if err != nil {
			return err
		}
		_, changes, err := config.Read(config.LoadOptions{File: args[0], Environ: d.environ()}).Over(running)
		if asJSON {
			result := diffResult{OK: err == nil, Changes: append([]config.Change{}, changes...), Problems: problemsOf(err)}
			return errors.Join(err, writeJSON(cmd.OutOrStdout(), result))
		}
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return writeLine(cmd.OutOrStdout(), "%s: nothing would change", shown(args[0]))
		}
		for _, c := range changes {
			how := "applied at once"
			if c.Restart {
				how = "needs a restart"
			}
			if err := writeLine(cmd.OutOrStdout(), "%s (%s)", c, how); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}
