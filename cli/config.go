package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"pushpod/config"
)

func (d deps) newConfigCommand() *cobra.Command {
	return newGroup("config", "Check, compare and explain configurations", d.newConfigCheckCommand(), d.newConfigDiffCommand(), newConfigReferenceCommand(), newConfigSchemaCommand())
}

// A checkResult is what `pushpod config check --json` prints.
type checkResult struct {
	OK       bool            `json:"ok"`
	Problems []configProblem `json:"problems"`
}

type configProblem struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Source  string `json:"source"`
	Message string `json:"message"`
	Allowed string `json:"allowed"`
}

func (d deps) newConfigCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file",
		Long: `Check a configuration file as a pod would at its start, together with the
environment (PUSHPOD_... and POD_IP). Each problem is printed on a line of its own,
and the exit status is 2.`,
		Args: exactArgs("FILE"),
	}
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return usagef("config check: FILE is empty")
		}
		_, err := config.Load(config.LoadOptions{File: args[0], Environ: d.environ()})
		if !asJSON {
			if err != nil {
				return err
			}
			return writeLine(cmd.OutOrStdout(), "%s: ok", shown(args[0]))
		}
		return errors.Join(err, writeJSON(cmd.OutOrStdout(), checkResult{OK: err == nil, Problems: problemsOf(err)}))
	}
	return cmd
}

// problemsOf lists what is wrong; nothing where err is nil.
func problemsOf(err error) []configProblem {
	list := []configProblem{}
	var problems *config.Problems
	if errors.As(err, &problems) {
		for _, p := range problems.List {
			list = append(list, configProblem(p))
		}
	}
	return list
}

func newConfigReferenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reference",
		Short: "Print a configuration file with all keys, their defaults and descriptions",
		Args:  NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), config.Reference())
			return written(err)
		},
	}
}

func newConfigSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of configuration files, for editors",
		Long: `Print the JSON Schema of configuration files. An editor that knows schemas of YAML
completes and checks a file that names it in its first line:

  # yaml-language-server: $schema=pushpod.schema.json`,
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), config.Schema())
			return written(err)
		},
	}
}
