// Command pushpod is a push server: end users hold WebSocket connections to
// it, and producers push to them through Redis. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"pushpod/cli"
	"pushpod/config"
)

// version is set by the build (-ldflags "-X main.version=…").
var version = ""

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program. It returns the exit code: 0, 1 (failure) or 2 (wrong usage or
// configuration).
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	redis.SetLogger(redisLog{zerolog.Nop()}) // commands return the error; a pod sets its log
	signals := make(chan os.Signal, 4)
	root := newRoot(signals)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	var ended *podError
	if errors.As(err, &ended) {
		fatal(err, ended.json, stderr)
	} else if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return cli.ExitCode(err)
}

// podError is why a pod has ended, or not begun.
type podError struct {
	error
	json bool // its log is, or would be, lines of JSON
}

func (e *podError) Unwrap() error { return e.error }

// newRoot makes the command tree. Without a command the root runs a pod.
func newRoot(signals chan os.Signal) *cobra.Command {
	var file string
	serveCommand := func(cmd *cobra.Command, _ []string) error {
		source, cfg, err := config.Open(config.LoadOptions{File: file, Flags: cmd.Flags(), Environ: os.Environ()})
		if err != nil {
			var problems *config.Problems
			asked := ""
			if errors.As(err, &problems) {
				asked = problems.LogFormat
			}
			return &podError{err, logsJSON(asked, cmd.ErrOrStderr())}
		}
		// A closed log pipe must not end the pod.
		signal.Ignore(syscall.SIGPIPE)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		defer signal.Stop(signals)
		p := &pod{cfg: cfg, source: source, version: versionOf(), signals: signals, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr()}
		if err := p.run(cmd.Context()); err != nil {
			return &podError{err, logsJSON(cfg.Log.Format, cmd.ErrOrStderr())}
		}
		return nil
	}
	root := &cobra.Command{
		Use:           "pushpod",
		Short:         "A push server: clients connect by WebSocket, backends push through Redis",
		Args:          cli.NoArgs,
		RunE:          serveCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionOf(),
	}
	root.SetVersionTemplate(cli.VersionLine(versionOf()) + "\n")
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Run a pod (the default command)",
		Args:  cli.NoArgs,
		RunE:  serveCommand,
	}
	for _, c := range []*cobra.Command{root, serve} {
		c.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
		config.AddFlags(c.Flags())
		cli.CompleteFlags(c)
	}
	root.AddCommand(serve)
	root.AddCommand(cli.Commands(versionOf())...)
	return root
}

// versionOf returns the version set by the build, else the commit that Go recorded.
func versionOf() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}
