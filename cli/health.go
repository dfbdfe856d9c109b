package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// health is what a pod says of itself at /readyz and /healthz.
type health struct {
	Status   string    `json:"status"`
	Problems []problem `json:"problems,omitempty"` // why it is not ready
	Warnings []problem `json:"warnings,omitempty"` // what does not hinder it now
}

type problem struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// maxHealth bounds what is read of an answer, in bytes.
const maxHealth = 1 << 20

func (d deps) newHealthCommand() *cobra.Command {
	var (
		live, asJSON bool
		timeout      time.Duration
	)
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the pod on this machine whether it is ready",
		Long: `Ask the pod on this machine, at admin.listen, whether it is ready (/readyz), or with
--live only whether its process answers (/healthz). It finds the pod by its own
configuration: the same file, variables or flags. admin.token is not needed.

It needs no shell and no curl, so it serves as HEALTHCHECK of an image and as exec probe
of Kubernetes, also where admin.listen is on loopback. Probe liveness with --live: a pod
that has lost Redis is not ready, and to restart it would cut its clients off.

Exit status 0: ready. 1: not ready, each reason on a line of stderr, or no answer.
2: wrong usage or configuration.`,
		Args: NoArgs,
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the process answers")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Second, "how long to wait for the answer")
	jsonFlag(cmd, &asJSON)
	l := newLocal(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if timeout <= 0 {
			return usagef("health: --timeout is %s; it must be more than nothing, such as 2s", timeout)
		}
		if err := l.open(d.environ(), true); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		path := "/readyz"
		if live {
			path = "/healthz"
		}
		said, good, err := l.health(ctx, path)
		if err != nil {
			return fmt.Errorf("health: %w", err)
		}
		if asJSON {
			err = writeJSON(cmd.OutOrStdout(), said)
		} else if good {
			err = writeLine(cmd.OutOrStdout(), "%s", said.text())
		}
		if !good {
			err = errors.Join(err, errors.New(said.text()))
		}
		return err
	}
	return cmd
}

// health asks a pod how it is. good: it is what the path stands for.
func (l *local) health(ctx context.Context, path string) (said health, good bool, err error) {
	answer, err := l.ask(ctx, http.MethodGet, path)
	if err != nil {
		return said, false, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxHealth))
	switch {
	case ctx.Err() != nil:
		return said, false, errors.New("no whole answer in time")
	case err != nil:
		return said, false, fmt.Errorf("read the answer: %w", err)
	case json.Unmarshal(text, &said) != nil || said.Status == "":
		return said, false, fmt.Errorf("who answers at admin.listen (%s) is no pod: HTTP status %s", l.cfg.Admin.Listen, answer.Status)
	}
	return said, answer.StatusCode == http.StatusOK, nil
}

// text is a line for the status, and one for each problem and warning.
func (h health) text() string {
	lines := []string{shown(h.Status)}
	for _, p := range h.Problems {
		lines = append(lines, shown(p.Name)+": "+shown(p.Reason))
	}
	for _, w := range h.Warnings {
		lines = append(lines, "warning: "+shown(w.Name)+": "+shown(w.Reason))
	}
	return strings.Join(lines, "\n")
}
