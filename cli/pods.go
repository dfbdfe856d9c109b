package cli

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"pushpod/presence"
)

// A pod is a row of `pushpod pods`.
type pod struct {
	Address      string `json:"address"` // empty where the channel is not a pod's
	Channel      string `json:"channel"`
	Connections  int    `json:"connections"`
	Version      string `json:"version"`
	Started      int64  `json:"started"`       // Unix ms
	HeartbeatAge int64  `json:"heartbeat_age"` // ms, by Redis's TIME; 0 where there is no score
	Draining     bool   `json:"draining"`
	State        string `json:"state"` // alive, draining, conflict or dead
}

func (d deps) newPodsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pods",
		Short: "List the pods",
		Long: `List the pods that are registered in Redis: address, connections, version, start
time, age of the last heartbeat by Redis's clock, and state:

alive     its heartbeat comes
draining  it leaves
conflict  it sees another instance under its address: give each its own pod.address
dead      its heartbeat is older than presence.lease, or it has none; its entries are
          removed by the other pods, or expire

On a terminal dead pods and those in conflict are red, and draining ones yellow, unless
NO_COLOR is set. The pods must have the same presence.lease as this command. The exit
status says nothing of states: pushpod pods --json is for scripts.`,
		Args: NoArgs,
	}
	jsonFlag(cmd, &asJSON)
	s := newServer(cmd, "presence.lease", "presence.heartbeat")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.open(cmd.Context(), d.environ()); err != nil {
			return err
		}
		defer s.redis.Close()
		pods, err := presence.ListPods(cmd.Context(), s.redis, s.keys)
		if err != nil {
			return s.failed(err)
		}
		list := make([]pod, 0, len(pods))
		rows := make([][]string, 0, len(pods))
		for _, p := range pods {
			address := s.address(p.Channel)
			list = append(list, pod{
				Address: address, Channel: p.Channel, Connections: p.Info.Connections, Version: p.Info.Version,
				Started: p.Info.Started, HeartbeatAge: p.Age.Milliseconds(), Draining: p.Info.Draining, State: p.State(s.lease),
			})
			rows = append(rows, []string{
				shown(podName(address, p.Channel)), strconv.Itoa(p.Info.Connections), shown(p.Info.Version),
				instant(p.Info.Started), heartbeat(p), p.State(s.lease),
			})
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), list)
		}
		colours := coloursFor(cmd.OutOrStdout(), d.environ())
		return colours.writeTable(cmd.OutOrStdout(), []string{"POD", "CONNECTIONS", "VERSION", "STARTED", "HEARTBEAT", "STATE"}, rows,
			func(row int) colour { return stateColour(list[row].State) })
	}
	return cmd
}

// heartbeat is how long ago the last one was.
func heartbeat(p presence.Pod) string {
	if p.Beat == 0 {
		return "-"
	}
	return p.Age.Round(100 * time.Millisecond).String()
}
