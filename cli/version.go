package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"pushpod/scripts"
)

func (d deps) newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), struct {
					Version  string `json:"version"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
					Library  int    `json:"library"` // version of the function library
				}{d.version, runtime.Version(), platform, scripts.LibraryVersion})
			}
			return writeLine(cmd.OutOrStdout(), "pushpod %s (%s, %s)", d.version, runtime.Version(), platform)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
