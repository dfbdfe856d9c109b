package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pushpod/config"
)

// A usageError is a wrong call of a command: a missing argument, an unknown flag, data
// that is not JSON.
type usageError struct{ Err error }

func (e *usageError) Error() string { return e.Err.Error() }
func (e *usageError) Unwrap() error { return e.Err }

// usagef returns a usageError with this text.
func usagef(format string, args ...any) error {
	return &usageError{Err: fmt.Errorf(format, args...)}
}

// ExitCode returns the exit status for a command's error: 0 for nil, 2 for wrong usage or
// a wrong configuration, 1 for everything else.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var (
		usage    *usageError
		wrong    *config.Problems
		noFlag   *pflag.NotExistError
		noValue  *pflag.ValueRequiredError
		badValue *pflag.InvalidValueError
		badFlag  *pflag.InvalidSyntaxError
	)
	if errors.As(err, &usage) || errors.As(err, &wrong) || errors.As(err, &noFlag) ||
		errors.As(err, &noValue) || errors.As(err, &badValue) || errors.As(err, &badFlag) {
		return 2
	}
	return 1
}

// NoArgs refuses arguments with a usageError; it is for cobra.Command.Args. On
// a root, an argument is a command that does not exist.
func NoArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		return usagef("%s: unknown command %q; see %s --help", cmd.CommandPath(), args[0], cmd.Root().Name())
	}
	return usagef("%s: unexpected argument %q", cmd.CommandPath(), args[0])
}

// exactArgs takes as many arguments as there are names.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s: %s is missing", cmd.CommandPath(), names[len(args)])
		}
		return NoArgs(cmd, args[len(names):])
	}
}

// dashHint is for commands whose arguments may begin with a dash.
func dashHint(cmd *cobra.Command, err error) error {
	return usagef("%s: %w; put -- before an argument that begins with a dash", cmd.CommandPath(), err)
}
