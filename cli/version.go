package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"pushpod/scripts"
)

const platform = runtime.GOOS + "/" + runtime.GOARCH

// VersionLine is what `pushpod version` and `pushpod --version` print.
func VersionLine(version string) string {
	return fmt.Sprintf("pushpod %s (%s, %s)", version, runtime.Version(), platform)
}

func (d deps) newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), struct {
					Version  string `json:"version"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
					Library  int    `json:"library"` // version of the function library
				}{d.version, runtime.Version(), platform, scripts.LibraryVersion})
			}
			return writeLine(cmd.OutOrStdout(), "%s", VersionLine(d.version))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
