package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// drained is what `pushpod drain --json` prints.
type drained struct {
	Status string `json:"status"`              // draining or left
	Within int64  `json:"within_ms,omitempty"` // while it drains: so long it takes at most
}

const (
	drainAnswer = 5 * time.Second  // until the pod says that it leaves
	drainSpare  = 10 * time.Second // beyond what the pod says that it takes
)

func (d deps) newDrainCommand() *cobra.Command {
	var (
		wait   time.Duration
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Have the pod on this machine leave, and wait until it has",
		Long: `Have the pod on this machine leave as by SIGTERM (POST /drain at admin.listen): not ready
for shutdown.delay, then its connections are closed one by one over shutdown.drain, then
it leaves Redis and ends. It finds the pod by the pod's own configuration: the same file,
variables or flags; admin.token too, where one is given.

By default it waits as long as the pod says that leaving takes at most, and 10s more.
--wait 0 does not wait. Where it waits in vain, or is interrupted, the pod goes on leaving.
To ask again is no second signal: it waits anew.

Whoever starts the pod may start it again: systemd does so with Restart=always, Kubernetes
wherever the Pod itself stays.

Exit status 0: the pod has left, or with --wait 0 leaves. 1: no pod answers, it refuses, it
has not left in time, or it ended otherwise. 2: wrong usage or configuration.`,
		Args: NoArgs,
	}
	cmd.Flags().DurationVar(&wait, "wait", -1, "how long to wait until the pod has left, such as 1m; 0: not at all (by default as long as the pod says)")
	cmd.Flags().Lookup("wait").DefValue = "0s" // so that help shows none
	jsonFlag(cmd, &asJSON)
	l := newLocal(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("wait") && wait < 0 {
			return usagef("drain: --wait is %s; it must be 0 or more, such as 1m", wait)
		}
		if err := l.open(d.environ(), false); err != nil {
			return err
		}
		done, err := l.drain(cmd.Context(), wait)
		if err != nil {
			return fmt.Errorf("drain: %w", err)
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), done)
		}
		if done.Status == "left" {
			return writeLine(cmd.OutOrStdout(), "left")
		}
		return writeLine(cmd.OutOrStdout(), "draining, for %s at most", time.Duration(done.Within)*time.Millisecond)
	}
	return cmd
}

// drain asks the pod to leave, and waits until it has: below 0 for as long as the pod says.
func (l *local) drain(ctx context.Context, wait time.Duration) (done drained, err error) {
	path := "/drain"
	if wait != 0 {
		path += "?wait=1"
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(drainAnswer, func() { cancel(errNoAnswer) })
	defer late.Stop()
	answer, err := l.ask(ctx, http.MethodPost, path)
	if err != nil {
		return done, because(ctx, err)
	}
	defer answer.Body.Close()
	if err := l.refused(answer); err != nil {
		return done, err
	}
	lines := bufio.NewReader(answer.Body)
	if done, err = nextLine(lines); err != nil || done.Status != "draining" {
		return done, because(ctx, fmt.Errorf("the pod's answer is not understood: %w", err))
	}
	if wait == 0 {
		return done, nil
	}
	if wait < 0 {
		wait = time.Duration(done.Within)*time.Millisecond + drainSpare
	}
	late.Stop()
	late = time.AfterFunc(wait, func() { cancel(fmt.Errorf("the pod has not left within %s; it goes on leaving", wait)) })
	defer late.Stop()
	if done, err = nextLine(lines); err != nil || done.Status != "left" {
		return done, because(ctx, errors.New("the pod ended, or its connection did, before it had left in order: see its log"))
	}
	return done, nil
}

var errNoAnswer = errors.New("the pod does not answer at admin.listen")

// because returns what has ended ctx, where something has, else err.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func nextLine(r *bufio.Reader) (line drained, err error) {
	text, err := r.ReadBytes('\n')
	if err != nil {
		return line, err
	}
	return line, json.Unmarshal(text, &line)
}

// refused says why a pod does not do what it is asked for; nil: it does.
func (l *local) refused(answer *http.Response) error {
	switch answer.StatusCode {
	case http.StatusAccepted:
		return nil
	case http.StatusUnauthorized:
		return errors.New("the pod wants another admin.token than the one that is configured here, if any (PUSHPOD_ADMIN_TOKEN)")
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return fmt.Errorf("who answers at admin.listen (%s) can't be asked to leave: send its process SIGTERM", l.cfg.Admin.Listen)
	}
	var why struct {
		Reason string `json:"reason"`
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxHealth))
	_ = json.Unmarshal(text, &why)
	return fmt.Errorf("the pod refuses: HTTP status %s: %s", answer.Status, shown(why.Reason))
}
