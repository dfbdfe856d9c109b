package cli

import (
	"github.com/spf13/cobra"

	"pushpod/scripts"
)

func (d deps) newFunctionsCommand() *cobra.Command {
	var asJSON bool
	load := &cobra.Command{
		Use:   "load",
		Short: "Load the function library pushpod if it is newer",
		Long: `Load the function library pushpod into Redis (into every master of a Cluster),
for FCALL pushpod_push. An equal or newer version is kept. A library of this name
that is not pushpod's is kept too, and is an error. Needs Redis 7 or later, or Valkey.`,
		Args: NoArgs,
	}
	jsonFlag(load, &asJSON)
	s := newServer(load)
	load.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.open(cmd.Context(), d.environ()); err != nil {
			return err
		}
		defer s.redis.Close()
		var servers []scripts.FunctionServer
		for _, n := range s.redis.Map().Masters {
			servers = append(servers, n.Client())
		}
		loaded, found, err := scripts.LoadFunctions(cmd.Context(), servers...)
		if err != nil {
			return s.failed(err)
		}
		out := cmd.OutOrStdout()
		switch {
		case asJSON:
			return writeJSON(out, struct {
				Loaded  bool `json:"loaded"`
				Found   int  `json:"found"`   // version before; 0: none
				Version int  `json:"version"` // this program's
			}{loaded, found, scripts.LibraryVersion})
		case !loaded:
			return writeLine(out, "not loaded: Redis has version %d, this program has version %d", found, scripts.LibraryVersion)
		case found == 0:
			return writeLine(out, "loaded version %d", scripts.LibraryVersion)
		}
		return writeLine(out, "loaded version %d in place of version %d", scripts.LibraryVersion, found)
	}
	return newGroup("functions", "Manage the function library in Redis", load)
}
