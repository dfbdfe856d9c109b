package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pushpod/conformance"
)

// errNotConform is the failure of a client under test; what failed has been printed by then.
var errNotConform = errors.New("conformance: the client breaks rules")

type conformanceOptions struct {
	listen, query string
	rules         []string
	asJSON        bool
	wait          time.Duration
}

// conformanceResult is what --json prints.
type conformanceResult struct {
	OK       bool                  `json:"ok"`
	Verdicts []conformance.Verdict `json:"verdicts"`
}

func newConformanceCommand() *cobra.Command {
	o := conformanceOptions{}
	var names []string
	for _, r := range conformance.Rules() {
		names = append(names, r.Rule)
	}
	cmd := &cobra.Command{
		Use:   "conformance [flags] [-- COMMAND [ARG]...]",
		Short: "Play a pod for a client under test, and say which rules of the protocol it keeps",
		Long: `Play a pod for a client under test, and say for each rule of docs/protocol.md whether
the client keeps it. No Redis and no pod is needed.

COMMAND is a program that connects to a pod and stays connected. It finds the URL in
the variable PUSHPOD_URL and in the place of {url} in its arguments, and is started
anew for each rule. Without COMMAND the URL is printed, and you start the client, and
again where a rule has ended it.

Its application should send the data of each message back as the data of a request, and
repeat what is unavailable: that shows what it was handed. What the client does not ask
for by ?goaway=1, ?ping=app or ?refuse=close is skipped; --query puts them into the URL.

Exit status: 0 it breaks no rule, 1 it breaks one, or the test could not be made, 2 wrong
usage.

Rules: ` + strings.Join(names, ", ") + ".",
		Example: `  pushpod conformance --query 'ping=app&goaway=1&refuse=close' -- node my-client.js {url}
  pushpod conformance --rule pings,goaway`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usagef("conformance: put -- before the command of the client: -- %s", strings.Join(args, " "))
			}
			return o.check(names)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8081", "where the client connects, host:port on loopback")
	flags.StringVar(&o.query, "query", "", "what to add to the query of the URL, such as ping=app&goaway=1")
	flags.StringSliceVar(&o.rules, "rule", nil, "play these rules only")
	flags.DurationVar(&o.wait, "wait", 10*time.Second, "how long to wait for what a client must do; without COMMAND also for you")
	jsonFlag(cmd, &o.asJSON)
	cmd.RunE = func(cmd *cobra.Command, command []string) error { return o.run(cmd, command) }
	return cmd
}

func (o conformanceOptions) check(names []string) error {
	for _, rule := range o.rules {
		if !slices.Contains(names, rule) {
			return usagef("conformance: there is no rule %q; there are: %s", rule, strings.Join(names, ", "))
		}
	}
	host, _, err := net.SplitHostPort(o.listen)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usagef("conformance: --listen is %q; a host and port on loopback are allowed, such as 127.0.0.1:8081", o.listen)
	}
	if o.wait < time.Second || o.wait > 10*time.Minute {
		return usagef("conformance: --wait is %s; 1s to 10m are allowed", o.wait)
	}
	return nil
}

func (o conformanceOptions) run(cmd *cobra.Command, command []string) error {
	options := conformance.Options{Listen: o.listen, Query: o.query, Only: o.rules, Wait: o.wait}
	if len(command) > 0 {
		options.Start = func(ctx context.Context, url string) (func(), error) {
			return startClient(ctx, command, url, cmd.ErrOrStderr())
		}
	} else {
		options.Again = func(url string) { fmt.Fprintf(cmd.ErrOrStderr(), "start the client now: %s\n", url) }
	}
	var failed error
	if !o.asJSON {
		options.OnVerdict = func(v conformance.Verdict) {
			if err := writeVerdict(cmd.OutOrStdout(), v); err != nil {
				failed = err
			}
		}
	}
	verdicts, err := conformance.Run(cmd.Context(), options)
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	result := conformanceResult{OK: true, Verdicts: verdicts}
	for _, v := range verdicts {
		result.OK = result.OK && v.Result != conformance.Fail
	}
	if o.asJSON {
		if err := writeJSON(cmd.OutOrStdout(), result); err != nil {
			return err
		}
	}
	if !result.OK {
		return errNotConform
	}
	return nil
}

func writeVerdict(w io.Writer, v conformance.Verdict) error {
	text := fmt.Sprintf("%-4s  %-15s %s", v.Result, v.Rule, v.About)
	if v.Reason != "" {
		text += "\n      " + strings.Repeat(" ", 16) + shown(v.Reason)
	}
	return writeLine(w, "%s", text)
}

// startClient starts the client under test. What it says goes to stderr.
func startClient(ctx context.Context, command []string, url string, stderr io.Writer) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	args := make([]string, len(command))
	for i, a := range command {
		args[i] = strings.ReplaceAll(a, "{url}", url)
	}
	client := exec.CommandContext(ctx, args[0], args[1:]...)
	client.Env = append(os.Environ(), "PUSHPOD_URL="+url)
	client.Stdout, client.Stderr = stderr, stderr
	client.WaitDelay = time.Second // for children that hold its output
	if err := client.Start(); err != nil {
		cancel()
		return nil, err
	}
	return func() {
		cancel()
		_ = client.Wait() // how it ended is no rule
	}, nil
}
